//! Blocking queries and variables.

use std::time::Duration;

use nomad_api::{PutOutcome, QueryOptions, VARIABLE_BYTES_MAX};

use crate::{BOUND, Cluster, map};

const PATH: &str = "lamplighter/pools/rack";

pub(crate) async fn a_blocking_query_waits_for_a_change_and_wakes_with_it(cluster: Cluster) {
    let api = cluster.server.api();
    let first = api.put_variable(PATH, &map(&[("desired", "1")]), 0).await.unwrap();
    let PutOutcome::Written(index) = first else { panic!("{first:?}") };

    // Nothing changes: it answers after the wait, with the same index.
    let short = QueryOptions::after(index, Duration::from_millis(200));
    let (same, meta) = api.watch_variable(PATH, &short).await.unwrap();
    assert_eq!(same.unwrap().modify_index, index);
    assert_eq!((meta.index, meta.next), (index, index));
    assert!(meta.known_leader);

    // Something changes: it answers long before the wait is over, with what changed.
    let long = QueryOptions::after(index, Duration::from_secs(300));
    let items = map(&[("desired", "2")]);
    let both = async {
        tokio::join!(api.watch_variable(PATH, &long), api.put_variable(PATH, &items, index))
    };
    let (woken, written) = tokio::time::timeout(BOUND, both).await.expect("the query never woke");
    let (woken, meta) = woken.unwrap();
    let PutOutcome::Written(newer) = written.unwrap() else { panic!("the write lost") };
    assert_eq!((woken.unwrap().items, meta.index), (items, newer));
    assert!(newer > index);
}

pub(crate) async fn an_index_from_the_future_is_told_to_start_again(cluster: Cluster) {
    let far = QueryOptions::after(1_000_000, Duration::from_millis(200));
    let (_, meta) = cluster.server.api().nodes(&far).await.unwrap();
    assert_eq!(meta.next, 0);
    assert!(meta.index < 1_000_000);
}

pub(crate) async fn a_compare_and_set_loses_to_a_newer_write_and_is_told_what_stands(
    cluster: Cluster,
) {
    let api = cluster.server.api();
    assert_eq!(api.variable(PATH).await.unwrap(), None);

    let first = map(&[("desired", "1")]);
    let PutOutcome::Written(index) = api.put_variable(PATH, &first, 0).await.unwrap() else {
        panic!("a variable that did not exist was not created");
    };
    let stands = api.variable(PATH).await.unwrap().unwrap();
    assert_eq!((stands.items.clone(), stands.modify_index), (first.clone(), index));

    // Created already, and written since: both are conflicts that show what stands.
    let second = map(&[("desired", "2")]);
    for stale in [0, index - 1] {
        let lost = api.put_variable(PATH, &second, stale).await.unwrap();
        assert_eq!(lost, PutOutcome::Conflict(stands.clone()), "cas={stale}");
    }

    // An equal write raises the index too.
    let PutOutcome::Written(newer) = api.put_variable(PATH, &first, index).await.unwrap() else {
        panic!("the current index lost");
    };
    assert!(newer > index);

    // Gone is a conflict as well, with an index of 0.
    api.delete_variable(PATH).await.unwrap();
    api.delete_variable(PATH).await.expect("removing what is not there is no error");
    let PutOutcome::Conflict(gone) = api.put_variable(PATH, &second, newer).await.unwrap() else {
        panic!("a variable that is gone was written by compare-and-set");
    };
    assert_eq!((gone.modify_index, gone.items.len()), (0, 0));
}

pub(crate) async fn a_variable_holds_as_much_as_we_say_and_not_a_byte_more(cluster: Cluster) {
    let api = cluster.server.api();
    let full = "x".repeat(VARIABLE_BYTES_MAX - 1);
    let written = api.put_variable(PATH, &map(&[("k", &full)]), 0).await.unwrap();
    assert!(matches!(written, PutOutcome::Written(_)), "{written:?}");
    let over = "x".repeat(VARIABLE_BYTES_MAX);
    let error = api.put_variable(PATH, &map(&[("k", &over)]), 0).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "variable {PATH:?} would hold 65537 bytes of items; Nomad takes at most 65536 bytes"
        )
    );
}

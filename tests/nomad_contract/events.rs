//! The event stream and its resumption.

use nomad_api::{Eligibility, Error, EventBatch, EventStream, Payload, StreamItem, Topic};
use testkit::wait::{Probe, eventually};

use crate::{BOUND, Cluster};

/// Follows the stream to the batch of this index.
async fn batch_at(stream: &mut EventStream, index: u64) -> EventBatch {
    let following = async {
        loop {
            match stream.next().await.unwrap() {
                StreamItem::Batch(batch) if batch.index == index => return batch,
                StreamItem::Batch(_) | StreamItem::Connected => {}
            }
        }
    };
    tokio::time::timeout(BOUND, following).await.expect("the batch never came")
}

#[tokio::test]
async fn the_stream_carries_our_event_and_resumes_after_the_server_was_gone() {
    let mut cluster = Cluster::start().await;
    let (_machine, _on, id) = cluster.machine("node1").await;
    let mut stream = cluster.server.api().events(&[Topic::Node], 0);
    assert_eq!(stream.next().await.unwrap(), StreamItem::Connected);

    let change = cluster.server.api().set_eligibility(&id, &Eligibility::Ineligible).await.unwrap();
    let batch = batch_at(&mut stream, change.index).await;
    assert_eq!((&*batch.events[0].kind, &batch.events[0].key), ("NodeDrain", &id));
    let Payload::Node(node) = &batch.events[0].payload else { panic!("{batch:?}") };
    assert_eq!(node.eligibility, Eligibility::Ineligible);
    assert_eq!(node.events.last().unwrap().create_index, change.index);

    // The server goes: the stream says so, and says so again while it can not connect.
    cluster.server.stop().await.unwrap();
    let broken = loop {
        match stream.next().await {
            Ok(_before) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(broken, Error::Unreachable { .. }), "{broken}");
    let again = stream.next().await.unwrap_err();
    assert!(matches!(again, Error::Unreachable { .. }), "{again}");

    // The server is back: the stream connects, and what happens then arrives.
    cluster.server.run().await.unwrap();
    eventually("the stream to connect again", BOUND, async || {
        let item = stream.next().await?;
        let connected = item == StreamItem::Connected;
        Ok(Probe::of(connected.then_some(()), || format!("{item:?}")))
    })
    .await
    .unwrap();
    let change = cluster.server.api().set_eligibility(&id, &Eligibility::Eligible).await.unwrap();
    let batch = batch_at(&mut stream, change.index).await;
    assert_eq!(batch.events[0].key, id);
}

#[tokio::test]
async fn what_happened_while_nobody_listened_is_repeated_from_the_index() {
    let cluster = Cluster::start().await;
    let api = cluster.server.api();
    let (_machine, _on, id) = cluster.machine("node1").await;
    let first = api.set_eligibility(&id, &Eligibility::Ineligible).await.unwrap();
    let second = api.set_eligibility(&id, &Eligibility::Eligible).await.unwrap();
    let third = api.set_eligibility(&id, &Eligibility::Ineligible).await.unwrap();

    let mut stream = api.events(&[Topic::Node, Topic::Evaluation, Topic::Allocation], first.index);
    for (index, expected) in
        [(second.index, Eligibility::Eligible), (third.index, Eligibility::Ineligible)]
    {
        let batch = batch_at(&mut stream, index).await;
        let Payload::Node(node) = &batch.events[0].payload else { panic!("{batch:?}") };
        assert_eq!(node.eligibility, expected);
    }
}

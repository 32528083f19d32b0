//! What the journal costs: syncs and bytes of each write and of a whole order, and the file's size after very many.

use std::time::Duration;

use fleet::arbiter::OPERATIONS_MAX;
use fleet::{Fence, FenceNumber, MachineName, Moment, OperationId, Order, Origin, Reason, Verb};

use super::tape::Tape;
use super::{RUNS, number, prepared, store};
use crate::book::Book;
use crate::memory::{Change, Ended, MachineMemory, Operation};
use crate::store::Store;

/// How many orders a run makes where nobody asks for more: the list of operations is full after 4 096.
const ORDERS: u64 = 600;

/// How large the file may get, in bytes: the full list of operations with long reasons, twice, because a write never
/// overwrites what it replaces.
const FILE_BYTES_MAX: usize = 16 << 20;

/// How many syncs one write may cost: each is a wait for the card, and wear.
const SYNCS_MAX: u64 = 2;

fn order(number: u64) -> Order {
    let name = |text: &str| format!("{text}{}", number % 64);
    Order {
        operation: OperationId::new(format!("operation-{number}")).expect("an id"),
        machine: MachineName::new(name("machine")).expect("a name"),
        verb: Verb::Cycle,
        reason: Reason::new(
            "demand fell below the machines that are on, and this one was idle for longest",
        ),
        origin: Origin::Autoscaler(Fence {
            cluster: fleet::ClusterId::new("global").expect("a name"),
            pool: fleet::PoolName::new("rack").expect("a name"),
            number: FenceNumber(number / 100),
        }),
        valid_for: Duration::from_secs(30),
        on_soft_off_timeout: fleet::OnSoftOffTimeout::Cut,
        force: false,
        drain: false,
        plan: None,
    }
}

/// As the agent writes a cycle: taken, cut, dwelling, closing, ended.
fn cycle(journal: &Store, book: &mut Book, number: u64) {
    let order = order(number);
    let at = Moment::from_millis(number);
    let (place, forgotten) = book.next_place();
    let operation = Operation::begun(&order, at);
    let memory = MachineMemory::default();
    let machine = || Some((order.machine.clone(), memory.clone()));
    let fence = match &order.origin {
        Origin::Autoscaler(fence) => Some(fence.clone()),
        Origin::Person(_) | Origin::Agent => None,
    };
    let taken = Change {
        machine: machine(),
        operation: Some((place, operation.clone())),
        forgotten,
        fence,
        ..Change::default()
    };
    journal.commit(&taken).expect("written");
    if let Some(place) = forgotten {
        book.forget(place);
    }
    book.insert(place, operation);
    for _ in 0..3 {
        journal.commit(&Change { machine: machine(), ..Change::default() }).expect("written");
    }
    let evidence = "read back on".to_owned();
    let ended = book.ended(&order.operation, Ended { well: true, changed: true, evidence, at });
    let change = Change { machine: machine(), operation: ended, ..Change::default() };
    journal.commit(&change).expect("written");
}

#[test]
fn writes_cost_few_syncs_and_the_file_stays_small() {
    const WRITES: u64 = 5;
    let orders = number(RUNS).unwrap_or(ORDERS);
    let tape = Tape::default();
    prepared(tape.clone()).expect("a journal").close().expect("closed");
    let journal = store(&tape).expect("it opens");
    let mut book = Book::default();
    let before = tape.count();
    let (mut largest, mut syncs_max) = (0, 0);
    for number in 0..orders {
        let syncs = tape.count().syncs;
        cycle(&journal, &mut book, number);
        syncs_max = syncs_max.max(tape.count().syncs - syncs);
        largest = largest.max(tape.length());
    }
    let spent = tape.count();
    let syncs = spent.syncs - before.syncs;
    let bytes = spent.bytes_written - before.bytes_written;
    let kept = orders.min(u64::try_from(OPERATIONS_MAX).expect("a number"));
    println!(
        "journal costs: {orders} cycles of {WRITES} writes each, {kept} kept: {:.2} syncs per write, at most {syncs_max} per cycle; \
         {} bytes per write, {} per cycle; the file was at most {largest} bytes",
        f64::from(u32::try_from(syncs).expect("a number"))
            / f64::from(u32::try_from(orders * WRITES).expect("a number")),
        bytes / (orders * WRITES),
        bytes / orders
    );
    assert!(syncs_max <= SYNCS_MAX * WRITES, "{syncs_max} syncs");
    assert!(largest <= FILE_BYTES_MAX, "{largest} bytes");
}

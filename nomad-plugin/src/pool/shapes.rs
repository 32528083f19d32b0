//! Which shapes of machines their agents have been told: one call at a time for each machine, and one that
//! failed is made again after a while.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::{MachineName, Moment, Shape};

/// How long a call that failed rests: a shape is for machines that are dark, which is not soon.
const SHAPE_RETRY: Duration = Duration::from_secs(30);

/// What was told of each machine.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    told: BTreeMap<MachineName, Told>,
}

#[derive(Debug)]
enum Told {
    UnderWay,
    Kept(Shape),
    Failed(Moment),
}

impl Shapes {
    /// Whether this shape is to be told now; then a call is under way until [`Shapes::ended`].
    pub(super) fn begin(&mut self, name: &MachineName, seen: &Shape, now: Moment) -> bool {
        let is_due = match self.told.get(name) {
            None => true,
            Some(Told::UnderWay) => false,
            Some(Told::Kept(shape)) => shape != seen,
            Some(Told::Failed(at)) => now.since(*at) >= SHAPE_RETRY,
        };
        if is_due {
            self.told.insert(name.clone(), Told::UnderWay);
        }
        is_due
    }

    /// A call has ended: whether its agent keeps the shape.
    pub(super) fn ended(&mut self, name: &MachineName, shape: Shape, kept: bool, now: Moment) {
        let told = if kept { Told::Kept(shape) } else { Told::Failed(now) };
        self.told.insert(name.clone(), told);
    }

    /// Calls that were under way are not any more, and nobody knows how they ended.
    pub(super) fn broken_off(&mut self) {
        self.told.retain(|_, told| !matches!(told, Told::UnderWay));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_that_was_not_kept_is_told_again_after_a_rest_and_one_that_was_is_not() {
        let name = MachineName::new("node1").unwrap();
        let (small, big) = (
            Shape { node_class: "small".to_owned(), ..Shape::default() },
            Shape { node_class: "big".to_owned(), ..Shape::default() },
        );
        let at = |seconds: u64| Moment::from_millis(seconds * 1000);
        let mut shapes = Shapes::default();
        assert!(shapes.begin(&name, &small, at(0)));
        assert!(!shapes.begin(&name, &small, at(1)), "one call at a time");
        shapes.ended(&name, small.clone(), false, at(2));
        assert!(!shapes.begin(&name, &small, at(31)), "it rests");
        assert!(shapes.begin(&name, &small, at(32)));
        shapes.ended(&name, small.clone(), true, at(33));
        assert!(!shapes.begin(&name, &small, at(9999)));
        assert!(shapes.begin(&name, &big, at(10_000)));
        shapes.broken_off();
        assert!(shapes.begin(&name, &big, at(10_001)));
    }
}

//! What every driver of the table owes: the same tests for each, run against a device that is
//! modelled below the driver, at its port. The table expands to them, so a driver without a bench does not compile.

use std::future::Future;
use std::time::Duration;

use fleet::PowerState;

use super::{Driver, DriverError, OUTLETS_MAX, OutletNumber};

/// A device with its driver. Fresh, all outlets are off.
pub(crate) trait Bench: Sized {
    type Driver: Driver;

    /// Runs a test where the device can be: here, or in a kernel of its own.
    fn on_its_host<F: FnOnce() -> anyhow::Result<()>>(body: F) -> anyhow::Result<()> {
        body()
    }

    /// One bench for each dialect or kind of device that the driver speaks to.
    fn each_kind() -> Vec<Self>;
    fn driver(&mut self) -> &mut Self::Driver;
    /// The agent dies and comes again: a new driver on the same device.
    fn restart_driver(&mut self);
    /// How the device's contacts really stand.
    fn relays(&self) -> Vec<(OutletNumber, PowerState)>;
    /// How often one of them has moved.
    fn edges(&self) -> usize;
    /// Commands that the device did not hear, because they came too soon.
    fn lost_frames(&self) -> usize;
    /// The way to the device breaks.
    fn unplug(&mut self);
    /// The way to the device is there again.
    fn plug_in(&mut self);
}

pub(crate) async fn set_moves_the_named_outlets_and_no_other<B: Bench>() {
    for mut bench in B::each_kind() {
        let outlets = outlets(&bench);
        let (second, last) = (outlets[1], outlets[outlets.len() - 1]);
        set(&mut bench, &[(second, PowerState::On), (last, PowerState::On)]).await.unwrap();
        for (outlet, state) in bench.relays() {
            let wanted = outlet == second || outlet == last;
            assert_eq!(state == PowerState::On, wanted, "outlet {outlet}");
        }
        assert_eq!(bench.edges(), 2);
        assert_eq!(bench.lost_frames(), 0, "the gap is kept");
    }
}

pub(crate) async fn a_repeated_set_moves_nothing<B: Bench>() {
    for mut bench in B::each_kind() {
        let first = outlets(&bench)[0];
        for _ in 0..3 {
            set(&mut bench, &[(first, PowerState::On)]).await.unwrap();
        }
        assert_eq!(bench.edges(), 1);
    }
}

pub(crate) async fn a_reading_is_what_the_contacts_are<B: Bench>() {
    for mut bench in B::each_kind() {
        let wanted = [(outlets(&bench)[1], PowerState::On)];
        set(&mut bench, &wanted).await.unwrap();
        for _ in 0..2 {
            let readings = bench.driver().read_all().await.unwrap();
            for (outlet, state) in bench.relays() {
                let can_read_back = bench.driver().capabilities(outlet).reads.is_some();
                assert_eq!(readings.of(outlet), can_read_back.then_some(state), "outlet {outlet}");
            }
        }
        assert_eq!(bench.edges(), 1, "reading moves nothing");
        assert_eq!(bench.lost_frames(), 0, "the gap is kept between set and query");
    }
}

pub(crate) async fn a_new_driver_moves_nothing<B: Bench>() {
    for mut bench in B::each_kind() {
        let wanted: Vec<_> =
            outlets(&bench).into_iter().map(|outlet| (outlet, PowerState::On)).collect();
        set(&mut bench, &wanted).await.unwrap();
        let edges = bench.edges();
        bench.restart_driver();
        bench.driver().read_all().await.unwrap();
        assert_eq!(bench.edges(), edges);
        assert!(bench.relays().iter().all(|(_, state)| *state == PowerState::On));
    }
}

pub(crate) async fn a_device_that_is_gone_is_unreachable_and_found_again<B: Bench>() {
    for mut bench in B::each_kind() {
        let first = outlets(&bench)[0];
        set(&mut bench, &[(first, PowerState::On)]).await.unwrap();
        bench.unplug();
        tokio::task::yield_now().await;
        let refused = set(&mut bench, &[(first, PowerState::Off)]).await;
        assert!(matches!(refused, Err(DriverError::Unreachable { .. })), "{refused:?}");
        let unread = bench.driver().read_all().await;
        assert!(matches!(unread, Err(DriverError::Unreachable { .. })), "{unread:?}");
        bench.plug_in();
        assert_eq!(bench.edges(), 1, "nothing was sent late");
        set(&mut bench, &[(first, PowerState::Off)]).await.unwrap();
        bench.driver().read_all().await.unwrap();
        assert_eq!(bench.edges(), 2);
    }
}

pub(crate) async fn a_device_that_was_swapped_at_rest_is_opened_anew<B: Bench>() {
    for mut bench in B::each_kind() {
        let first = outlets(&bench)[0];
        set(&mut bench, &[(first, PowerState::On)]).await.unwrap();
        bench.unplug();
        tokio::task::yield_now().await;
        bench.plug_in();
        set(&mut bench, &[(first, PowerState::Off)]).await.unwrap();
        assert_eq!(bench.edges(), 2, "no frame went to the line that is gone");
    }
}

pub(crate) async fn a_device_that_comes_back_within_the_patience_is_waited_for<B: Bench>() {
    for mut bench in B::each_kind() {
        let first = outlets(&bench)[0];
        bench.unplug();
        let before = tokio::time::Instant::now();
        let refused = set(&mut bench, &[(first, PowerState::On)]).await;
        assert!(matches!(refused, Err(DriverError::Unreachable { .. })));
        let waited = before.elapsed();
        assert!(waited > Duration::from_millis(500), "a USB board needs a moment: {waited:?}");
        assert!(waited < Duration::from_secs(10), "and no request hangs: {waited:?}");
    }
}

pub(crate) async fn an_outlet_that_the_device_has_not_is_refused<B: Bench>() {
    for mut bench in B::each_kind() {
        let beyond = OutletNumber::new(OUTLETS_MAX).unwrap();
        let refused = set(&mut bench, &[(beyond, PowerState::On)]).await;
        assert!(matches!(refused, Err(DriverError::Misconfigured { .. })), "{refused:?}");
        assert_eq!(bench.edges(), 0);
    }
}

pub(crate) async fn a_set_that_was_given_up_does_not_spoil_the_next<B: Bench>() {
    for mut bench in B::each_kind() {
        let outlets = outlets(&bench);
        let wanted: Vec<_> = outlets.iter().map(|outlet| (*outlet, PowerState::On)).collect();
        let patience = Duration::from_millis(150);
        let given_up = tokio::time::timeout(patience, bench.driver().set(&wanted)).await;
        assert!(given_up.is_err(), "the gaps alone take longer");
        set(&mut bench, &wanted).await.unwrap();
        assert!(bench.relays().iter().all(|(_, state)| *state == PowerState::On));
        assert_eq!(bench.edges(), outlets.len(), "each moved once");
    }
}

/// Runs a test on a clock of its own, which stands while something happens.
pub(crate) fn run(test: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build()?.block_on(test);
    Ok(())
}

fn outlets<B: Bench>(bench: &B) -> Vec<OutletNumber> {
    let outlets: Vec<OutletNumber> = bench.relays().into_iter().map(|(outlet, _)| outlet).collect();
    assert!(outlets.len() > 1, "a bench has at least two outlets");
    outlets
}

/// Sets, and lets the device hear it.
async fn set<B: Bench>(
    bench: &mut B,
    wanted: &[(OutletNumber, PowerState)],
) -> Result<(), DriverError> {
    let result = bench.driver().set(wanted).await;
    heard().await;
    result
}

/// Long enough for a device to hear the last bytes; the clock of these tests is virtual.
fn heard() -> impl Future<Output = ()> {
    tokio::time::sleep(Duration::from_millis(1))
}

/// The tests of one driver, in the module where this stands.
macro_rules! suite {
    ($bench:ty) => {
        $crate::drivers::conformance::suite!($bench:
            set_moves_the_named_outlets_and_no_other
            a_repeated_set_moves_nothing
            a_reading_is_what_the_contacts_are
            a_new_driver_moves_nothing
            a_device_that_is_gone_is_unreachable_and_found_again
            a_device_that_was_swapped_at_rest_is_opened_anew
            a_device_that_comes_back_within_the_patience_is_waited_for
            an_outlet_that_the_device_has_not_is_refused
            a_set_that_was_given_up_does_not_spoil_the_next
        );
    };
    ($bench:ty: $($test:ident)*) => {$(
        #[test]
        fn $test() {
            use $crate::drivers::conformance::{self, Bench as _};
            <$bench>::on_its_host(|| conformance::run(conformance::$test::<$bench>())).unwrap();
        }
    )*};
}
pub(crate) use suite;

//! One task owns one device: its queue is bounded, its requests come one after the other, each with a deadline.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fleet::{DeviceName, PowerState};
use tokio::sync::{Mutex, MutexGuard, Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::descriptors::Descriptors;
use crate::drivers::{
    AnyDriver, Capabilities, Driver, DriverConfig, DriverError, OutletNumber, Readings,
    wol::WakeCall,
};

/// Requests that may wait for one device. Each outlet has one sequence at a time and the poll one
/// reading; the largest device has fewer outlets that move at once.
const QUEUE_MAX: usize = 64;

/// What is asked of a device.
enum Request {
    Set {
        wanted: Vec<(OutletNumber, PowerState)>,
        deadline: Instant,
        reply: oneshot::Sender<Result<(), DriverError>>,
    },
    ReadAll {
        deadline: Instant,
        reply: oneshot::Sender<Result<Readings, DriverError>>,
    },
    Wake {
        call: WakeCall,
        deadline: Instant,
        reply: oneshot::Sender<Result<(), DriverError>>,
    },
}

/// The way to a device; cheap to clone. The device's task ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct DeviceHandle {
    name: DeviceName,
    capabilities: BTreeMap<OutletNumber, Capabilities>,
    requests: mpsc::Sender<Request>,
    /// Told by the task when the way to the device has broken or is there again.
    stirred: Arc<Notify>,
    /// Held from the question to the note of its answer, so that no older reading is noted after a newer one.
    reading: Arc<Mutex<()>>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Request::Set { wanted, .. } => f.debug_tuple("Set").field(wanted).finish(),
            Request::ReadAll { .. } => f.write_str("ReadAll"),
            Request::Wake { call, .. } => f.debug_tuple("Wake").field(call).finish(),
        }
    }
}

/// A device's handle and its task, which the caller spawns and joins. Opens nothing before the first request.
pub fn own(
    name: DeviceName,
    config: &DriverConfig,
    descriptors: &Descriptors,
) -> (DeviceHandle, impl Future<Output = ()> + Send + use<>) {
    let mut driver: AnyDriver = config.driver();
    driver.introduce(&name, descriptors);
    own_driver(name, config.outlet_count(), driver)
}

fn own_driver<D: Driver>(
    name: DeviceName,
    outlet_count: u16,
    driver: D,
) -> (DeviceHandle, impl Future<Output = ()> + Send) {
    let (requests, queue) = mpsc::channel(QUEUE_MAX);
    let outlets = (1..=outlet_count).filter_map(OutletNumber::new);
    let capabilities = outlets.map(|outlet| (outlet, driver.capabilities(outlet))).collect();
    let stirred = Arc::new(Notify::new());
    let task = serve(name.clone(), driver, queue, Arc::clone(&stirred));
    let reading = Arc::new(Mutex::new(()));
    (DeviceHandle { name, capabilities, requests, stirred, reading }, task)
}

impl DeviceHandle {
    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &DeviceName {
        &self.name
    }

    /// Whether both lead to the same task.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.requests.same_channel(&other.requests)
    }

    /// What an outlet can do; `None`: the device has no such outlet.
    #[must_use]
    pub fn capabilities(&self, outlet: OutletNumber) -> Option<Capabilities> {
        self.capabilities.get(&outlet).copied()
    }

    /// Sets outlets to states, in the given order. `Ok` says that the commands went out whole;
    /// whether they were obeyed, only [`DeviceHandle::read_all`] says.
    ///
    /// # Errors
    /// `Unreachable`: nothing was sent, also where the deadline passed in the queue.
    /// `Indeterminate`: something may have been sent; read back first.
    pub async fn set(
        &self,
        wanted: Vec<(OutletNumber, PowerState)>,
        patience: Duration,
    ) -> Result<(), DriverError> {
        let deadline = Instant::now() + patience;
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Set { wanted, deadline, reply })?;
        answer
            .await
            .unwrap_or_else(|_stopped| Err(indeterminate(&self.name, "its task has stopped")))
    }

    /// Sends one wake packet. `Ok` says that it went out, and nothing of the machine.
    ///
    /// # Errors
    /// `Unreachable` or `Misconfigured`: nothing was sent.
    pub async fn wake(&self, call: WakeCall, patience: Duration) -> Result<(), DriverError> {
        let deadline = Instant::now() + patience;
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Wake { call, deadline, reply })?;
        answer.await.unwrap_or_else(|_stopped| Err(self.unreachable("its task has stopped")))
    }

    /// Asks for the state of all outlets; an outlet that can not be told has no entry.
    ///
    /// # Errors
    /// `Unreachable` or `Rejected`; nothing has moved.
    pub async fn read_all(&self, patience: Duration) -> Result<Readings, DriverError> {
        let deadline = Instant::now() + patience;
        let (reply, answer) = oneshot::channel();
        self.ask(Request::ReadAll { deadline, reply })?;
        answer.await.unwrap_or_else(|_stopped| Err(self.unreachable("its task has stopped")))
    }

    /// The turn to read it and to note what it says.
    pub(crate) async fn turn_to_read(&self) -> MutexGuard<'_, ()> {
        self.reading.lock().await
    }

    /// Ready when the way to the device has broken or is there again since the last time. For one who waits.
    pub(crate) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    fn ask(&self, request: Request) -> Result<(), DriverError> {
        self.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                self.unreachable(&format!("{QUEUE_MAX} requests wait for it already"))
            }
            mpsc::error::TrySendError::Closed(_) => self.unreachable("its task has stopped"),
        })
    }

    fn unreachable(&self, what: &str) -> DriverError {
        unreachable(&self.name, what)
    }
}

/// The device's task: one request after the other, until the last handle is gone.
async fn serve<D: Driver>(
    name: DeviceName,
    mut driver: D,
    mut queue: mpsc::Receiver<Request>,
    stirred: Arc<Notify>,
) {
    let mut used = false;
    loop {
        let request = tokio::select! {
            biased;
            request = queue.recv() => request,
            () = driver.stirs(), if used => {
                stirred.notify_one();
                continue;
            }
        };
        let Some(request) = request else { return };
        used = true;
        match request {
            Request::Set { wanted, deadline, reply } => {
                answer(reply, set(&name, &mut driver, &wanted, deadline).await);
            }
            Request::Wake { call, deadline, reply } => {
                let woken = timeout_at(deadline, driver.wake(&call)).await;
                let late = |_elapsed| Err(unreachable(&name, "the deadline passed"));
                answer(reply, woken.unwrap_or_else(late));
            }
            Request::ReadAll { deadline, reply } => {
                answer(reply, read_all(&name, &mut driver, deadline).await);
            }
        }
    }
}

async fn set<D: Driver>(
    name: &DeviceName,
    driver: &mut D,
    wanted: &[(OutletNumber, PowerState)],
    deadline: Instant,
) -> Result<(), DriverError> {
    if Instant::now() >= deadline {
        return Err(unreachable(
            name,
            "the deadline passed while others used it; nothing was sent",
        ));
    }
    match timeout_at(deadline, driver.set(wanted)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(indeterminate(name, "the deadline passed during the command")),
    }
}

async fn read_all<D: Driver>(
    name: &DeviceName,
    driver: &mut D,
    deadline: Instant,
) -> Result<Readings, DriverError> {
    match timeout_at(deadline, driver.read_all()).await {
        Ok(result) => result,
        Err(_elapsed) => Err(unreachable(name, "the deadline passed without an answer")),
    }
}

fn answer<T>(reply: oneshot::Sender<Result<T, DriverError>>, result: Result<T, DriverError>) {
    if reply.send(result).is_err() {
        tracing::debug!("nobody waited for the answer of a device any more");
    }
}

fn unreachable(name: &DeviceName, what: &str) -> DriverError {
    DriverError::Unreachable { what: what.to_owned(), who: format!("device {name}"), source: None }
}

fn indeterminate(name: &DeviceName, what: &str) -> DriverError {
    DriverError::Indeterminate {
        what: what.to_owned(),
        who: format!("device {name}"),
        source: None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::task::JoinSet;

    use super::*;
    use crate::drivers::OwnerGone;

    /// A driver that takes its time and notes what it was asked.
    struct Slow {
        takes: Duration,
        asked: Arc<Mutex<Vec<PowerState>>>,
    }

    impl Driver for Slow {
        async fn set(&mut self, wanted: &[(OutletNumber, PowerState)]) -> Result<(), DriverError> {
            for (_, state) in wanted {
                self.asked.lock().unwrap().push(*state);
            }
            tokio::time::sleep(self.takes).await;
            Ok(())
        }

        async fn read_all(&mut self) -> Result<Readings, DriverError> {
            tokio::time::sleep(self.takes).await;
            Ok(Readings::default())
        }

        fn capabilities(&self, _outlet: OutletNumber) -> Capabilities {
            Capabilities {
                can_cut: true,
                reads: None,
                gap_min: Duration::ZERO,
                owner_gone: OwnerGone::Stays,
            }
        }
    }

    fn slow(takes: Duration) -> (DeviceHandle, JoinSet<()>, Arc<Mutex<Vec<PowerState>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let driver = Slow { takes, asked: asked.clone() };
        let (handle, task) = own_driver(DeviceName::new("board-a").unwrap(), 4, driver);
        let mut tasks = JoinSet::new();
        tasks.spawn(task);
        (handle, tasks, asked)
    }

    fn on(number: u16) -> Vec<(OutletNumber, PowerState)> {
        vec![(OutletNumber::new(number).unwrap(), PowerState::On)]
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_request_whose_deadline_passed_in_the_queue_is_never_sent() {
        let (handle, _tasks, asked) = slow(10 * SECOND);
        let (first, second) =
            tokio::join!(handle.set(on(1), 60 * SECOND), handle.set(on(2), 5 * SECOND));
        first.unwrap();
        let error = second.unwrap_err();
        assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
        assert_eq!(asked.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_was_cut_short_may_have_been_obeyed() {
        let (handle, _tasks, _asked) = slow(10 * SECOND);
        let error = handle.set(on(1), SECOND).await.unwrap_err();
        assert!(matches!(error, DriverError::Indeterminate { .. }), "{error}");
        let error = handle.read_all(SECOND).await.unwrap_err();
        assert!(matches!(error, DriverError::Unreachable { .. }), "reading moves nothing: {error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_is_full_refuses_at_once() {
        let (handle, _tasks, _asked) = slow(SECOND);
        let mut asking = JoinSet::new();
        for _ in 0..=QUEUE_MAX {
            let handle = handle.clone();
            asking.spawn(async move { handle.read_all(1000 * SECOND).await });
        }
        tokio::task::yield_now().await;
        let mut refused = 0;
        while let Some(answer) = asking.join_next().await {
            if let Err(error) = answer.unwrap() {
                assert!(error.to_string().contains("64 requests wait"), "{error}");
                refused += 1;
            }
        }
        assert!(refused > 0, "the queue is bounded");
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_ends_with_its_last_handle() {
        let (handle, mut tasks, _asked) = slow(SECOND);
        assert_eq!(
            handle.capabilities(OutletNumber::new(4).unwrap()).map(|c| c.can_cut),
            Some(true)
        );
        assert_eq!(handle.capabilities(OutletNumber::new(5).unwrap()), None);
        drop(handle);
        tasks.join_next().await.unwrap().unwrap();
    }
}

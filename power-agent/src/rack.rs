//! What the rack file says, as it is in force: machines with their devices, and Nomad. A reload replaces it whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use fleet::feeds::Ledger;
use fleet::{DeviceName, FeedName, MachineName, Milliamps};

use crate::config::{
    AgentConfig, Config, MachineConfig, Network, NomadConfig, OutletPath, PageConfig,
};
use crate::device::DeviceHandle;
use crate::drivers::DriverConfig;
use crate::machine::{Machine, MachineOutlet};
use crate::memory::MachineMemory;
use crate::node::Nodes;

/// A device with what the file says of it.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) settings: DriverConfig,
    pub(crate) handle: DeviceHandle,
}

/// The rack.
#[derive(Debug)]
pub(crate) struct Rack {
    pub(crate) config: AgentConfig,
    pub(crate) network: Option<Network>,
    pub(crate) page: Option<PageConfig>,
    pub(crate) nomad: Option<NomadConfig>,
    pub(crate) nodes: Nodes,
    pub(crate) devices: BTreeMap<DeviceName, Device>,
    pub(crate) feeds: BTreeMap<FeedName, Milliamps>,
    pub(crate) machines: BTreeMap<MachineName, Arc<Machine>>,
}

/// What is on the way from one rack to the next.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) config: &'a Config,
    pub(crate) nodes: Nodes,
    pub(crate) devices: BTreeMap<DeviceName, Device>,
}

impl Draft<'_> {
    /// A machine's outlets with the ways to their devices.
    pub(crate) fn outlets(&self, machine: &MachineConfig) -> Vec<MachineOutlet> {
        let outlet = |path: &OutletPath| {
            let device = self.devices.get(&path.device)?.handle.clone();
            let source = device.capabilities(path.outlet).and_then(|outlet| outlet.reads);
            let can_read_back = source.is_some();
            let source = source.unwrap_or_default();
            Some(MachineOutlet { path: path.clone(), device, can_read_back, source })
        };
        machine.outlets.iter().filter_map(outlet).collect()
    }

    /// A machine with its memory, as none stood there before.
    pub(crate) fn machine(&self, machine: &MachineConfig, memory: MachineMemory) -> Arc<Machine> {
        let (outlets, waker) = (self.outlets(machine), self.waker(machine));
        Arc::new(Machine::new(machine.clone(), outlets, waker, memory))
    }

    /// The way to the device that wakes it.
    pub(crate) fn waker(&self, machine: &MachineConfig) -> Option<DeviceHandle> {
        let wake = machine.wake.as_ref()?;
        self.devices.get(&wake.device).map(|device| device.handle.clone())
    }

    pub(crate) fn rack(self, machines: BTreeMap<MachineName, Arc<Machine>>) -> Rack {
        Rack {
            config: self.config.agent.clone(),
            network: self.config.network.clone(),
            page: self.config.page.clone(),
            nomad: self.config.nomad.clone(),
            nodes: self.nodes,
            devices: self.devices,
            feeds: self.config.feeds.clone(),
            machines,
        }
    }
}

impl Rack {
    /// How all machines stand towards their feeds at this moment. Who acts on it asks under the book's lock.
    pub(crate) fn ledger(&self) -> Ledger {
        let loads = self.machines.iter();
        let loads = loads.filter_map(|(name, machine)| Some((name.clone(), machine.load()?)));
        Ledger::new(self.feeds.clone(), loads.collect())
    }

    /// Whether this device is the one of that name, and not one of an earlier reading of the file.
    pub(crate) fn has(&self, device: &DeviceHandle) -> bool {
        self.devices.get(device.name()).is_some_and(|here| here.handle.is_same(device))
    }
}

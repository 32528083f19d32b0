//! GPIO devices: whether their lines can be used, what becomes of them without the agent, and the wiring that makes it
//! safe.

use super::{Grade, Looked};
use crate::drivers::gpio::{self, Config, Standing};

/// What a line does when nobody drives it is decided by wiring, and by nothing else for sure.
const SAFE_WIRING: &str = "what must stay on is wired to the relay's NC contact; else the active level is the opposite of the \
     pull (GPIO 0 to 8 are pulled up by default, 9 to 27 down; a resistor decides it for sure)";

pub(super) fn look(device: &str, config: &Config) -> Vec<Looked> {
    let seen = gpio::look_at(config);
    let what = format!("lines of {device}");
    let mut looked: Vec<Looked> = seen
        .lines
        .into_iter()
        .map(|(standing, found)| match standing {
            Standing::Free => Looked::ok(&what, found),
            Standing::Doubtful => {
                Looked::bad(Grade::Warn, &what, found, "wire it to another pin: 4 to 13, 16 to 27")
            }
            Standing::Unusable => Looked::bad(
                Grade::Fail,
                &what,
                found,
                "look with `gpiodetect` and `gpioinfo` what there is, and who holds it",
            ),
        })
        .collect();
    let what = format!("{device} without the agent");
    looked.push(if seen.stays {
        Looked::ok(&what, seen.owner_gone)
    } else {
        let remedy = format!(
            "{SAFE_WIRING}; or run the agent as a service whose unit says FileDescriptorStoreMax="
        );
        Looked::bad(Grade::Warn, &what, seen.owner_gone, remedy)
    });
    for line in seen.on_by_default {
        let found = format!("{line}: it is on from power-on until the agent has it");
        looked.push(Looked::bad(Grade::Warn, &what, found, SAFE_WIRING));
    }
    looked
}

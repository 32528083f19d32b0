//! Devices of single lines: whether their lines can be used, what becomes of them without the agent, and the wiring that
//! makes it safe.

use super::service::Service;
use super::{Grade, Looked};
use fleet::ReadSource;

use crate::drivers::OwnerGone;
use crate::drivers::gpio::{Looked as Seen, Standing};

/// What a line does when nobody drives it is decided by wiring, and by nothing else for sure.
const SAFE_WIRING: &str = "what must stay on is wired to the relay's NC contact; else the active level is the opposite of the \
     pull (GPIO 0 to 8 are pulled up by default, 9 to 27 down; a resistor decides it for sure)";

/// The same for everybody: what no program can do anything about.
const REBOOT: &str =
    "from a reboot until the agent has them they are inputs, which follow their pulls";

pub(super) fn tell(device: &str, seen: Seen, service: Option<&Service>) -> Vec<Looked> {
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
    looked.push(Looked::ok(format!("what is read of {device}"), of(seen.reads)));
    looked.push(alone(&what, seen.gone, &seen.because, service));
    for line in seen.on_by_default {
        let found = format!("{line}: it is on from power-on until the agent has it");
        looked.push(Looked::bad(Grade::Warn, &what, found, SAFE_WIRING));
    }
    looked
}

/// What a reading of the lines is of.
fn of(source: ReadSource) -> &'static str {
    match source {
        ReadSource::Pin => {
            "the level at the pin, whoever makes it: a short and another hand are seen"
        }
        ReadSource::Written => {
            "what was written last: this chip does not read its pins, so a short or a pull that wins is not seen"
        }
        ReadSource::Device | ReadSource::Unsaid => {
            "the level at the pin or what was written last: of this chip's driver it is not known here"
        }
    }
}

/// What the lines do at a stop, a crash and a reboot.
fn alone(what: &str, gone: OwnerGone, because: &str, service: Option<&Service>) -> Looked {
    let kept = service.filter(|service| service.keeps > 0);
    match (gone, kept) {
        (OwnerGone::Stays, _) => Looked::ok(
            what,
            format!("a stop and a crash leave its outputs as they are ({because}); {REBOOT}"),
        ),
        (_, Some(Service { unit, stored, preserves: true, .. })) => Looked::ok(
            what,
            format!(
                "systemd keeps its lines over a crash, a restart and a stop of {unit} ({stored} kept now); {REBOOT}"
            ),
        ),
        (_, Some(Service { unit, stored, .. })) => Looked::ok(
            what,
            format!(
                "systemd keeps its lines over a crash and a restart of {unit} ({stored} kept now); `systemctl stop {unit}` \
                 lets them fall back to their pulls ({because}); {REBOOT}"
            ),
        ),
        (OwnerGone::StaysOverRestart, None) => Looked::ok(
            what,
            format!(
                "the service manager says that it keeps its lines over a restart; a stop lets them fall back to their pulls \
                     ({because}); {REBOOT}"
            ),
        ),
        (gone, None) => {
            let found = match gone {
                OwnerGone::Undefined => format!(
                    "its lines fall back to their pulls whenever the agent ends, also by a crash ({because}), unless the \
                     service manager keeps them, which it does not say; {REBOOT}"
                ),
                _ => format!(
                    "its lines fall back to their pulls whenever the agent ends, also by a crash ({because}); {REBOOT}"
                ),
            };
            let remedy = format!(
                "{SAFE_WIRING}; or run the agent as a service whose unit says FileDescriptorStoreMax="
            );
            Looked::bad(Grade::Warn, what, found, remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_lines_is_told_by_what_keeps_them() {
        let service = |keeps, preserves| Service {
            unit: "power-agent.service".to_owned(),
            keeps,
            stored: 2,
            preserves,
        };
        let falls = OwnerGone::FallsBack;
        for (gone, service, grade, expected) in [
            (OwnerGone::Stays, None, Grade::Ok, "a stop and a crash leave"),
            (
                falls,
                Some(service(8, false)),
                Grade::Ok,
                "`systemctl stop power-agent.service` lets",
            ),
            (
                falls,
                Some(service(8, true)),
                Grade::Ok,
                "a restart and a stop of power-agent.service",
            ),
            (falls, Some(service(0, false)), Grade::Warn, "whenever the agent ends"),
            (falls, None, Grade::Warn, "whenever the agent ends"),
            (OwnerGone::Undefined, None, Grade::Warn, "which it does not say"),
        ] {
            let looked = alone("header", gone, "because", service.as_ref());
            assert_eq!(looked.grade, grade, "{looked:?}");
            assert!(looked.found.contains(expected) && looked.found.contains(REBOOT), "{looked:?}");
        }
    }
}

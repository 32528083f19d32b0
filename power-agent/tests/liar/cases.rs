//! The liars, what is said of each, and what may be said.

use virtual_rack::relay::Power;
use virtual_rack::relay::Power::{Off, On};

/// One liar and one order.
pub(crate) struct Case {
    pub(crate) liar: &'static str,
    pub(crate) faults: &'static [&'static str],
    pub(crate) speaks: bool,
    /// The machine is found so, and the other is ordered.
    pub(crate) found: Power,
    /// Exit code, outcome, and what the power is called then.
    pub(crate) says: (i32, &'static str, &'static str),
    /// A part of the sentence that the agent gives as evidence.
    pub(crate) evidence: &'static str,
    /// Whether the contact moved as ordered.
    pub(crate) moved: bool,
    /// What the table says of it.
    pub(crate) verdict: &'static str,
}

pub(crate) const RIGHT: &str = "right";
const BY_LINE: &str = "indistinguishable on the line from a board that obeyed: only another kind of evidence (the node, \
                       watts) can tell";
const BY_SILENCE: &str = "said to be unproven: a silent board that obeys looks the same";
const CONTRARY: &str = "right: the board contradicts the order; whether relay or reply is wrong only another kind of \
                        evidence can tell";

const BY_WIRE: &str = "indistinguishable on the line: as a board whose machine is wired to the other contact; only \
                       another kind of evidence (the node, watts) can tell";

const fn case(liar: &'static str, faults: &'static [&'static str], found: Power) -> Case {
    Case {
        liar,
        faults,
        speaks: true,
        found,
        says: (0, "done", ""),
        evidence: "",
        moved: true,
        verdict: RIGHT,
    }
}

const fn refuses(
    liar: &'static str,
    faults: &'static [&'static str],
    found: Power,
    power: &'static str,
    moved: bool,
) -> Case {
    Case {
        says: (1, "failed", power),
        evidence: "but it reads otherwise",
        moved,
        verdict: CONTRARY,
        ..case(liar, faults, found)
    }
}

const fn fooled(liar: &'static str, faults: &'static [&'static str], found: Power) -> Case {
    let (power, evidence) = match found {
        Off => ("on", "read back on"),
        On => ("off", "read back off"),
    };
    Case {
        says: (0, "done", power),
        evidence,
        moved: false,
        verdict: BY_LINE,
        ..case(liar, faults, found)
    }
}

const fn undone(liar: &'static str, faults: &'static [&'static str]) -> Case {
    Case {
        says: (1, "failed", "unknown"),
        evidence: "nothing was done: ",
        moved: false,
        ..case(liar, faults, Off)
    }
}

const fn silent(liar: &'static str, faults: &'static [&'static str], moved: bool) -> Case {
    Case {
        says: (4, "unverified", "assumed on"),
        evidence: "assumed on: the board can not be read",
        speaks: false,
        moved,
        verdict: BY_SILENCE,
        ..case(liar, faults, Off)
    }
}

const fn seen(liar: &'static str, faults: &'static [&'static str], found: Power) -> Case {
    Case { moved: true, verdict: RIGHT, ..fooled(liar, faults, found) }
}

/// All of them, in the order of the table.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        seen("none: an honest board", &[], Off),
        seen("none: an honest board", &[], On),
        fooled("acks and does nothing", &["a ignores-frames", "a echoes"], Off),
        fooled("acks and does nothing", &["a ignores-frames", "a echoes"], On),
        refuses(
            "does nothing and tells so",
            &["a ignores-frames"],
            Off,
            "off (commanded on)",
            false,
        ),
        refuses(
            "does nothing and tells so",
            &["a ignores-frames"],
            On,
            "on (commanded off)",
            false,
        ),
        undone("acts and never answers", &["a mute"]),
        silent("silent by nature, acts", &[], true),
        silent("silent by nature, does nothing", &["a ignores-frames"], false),
        seen("acts late", &["a acts-late 700ms"], Off),
        seen("acts late, twice", &["a acts-late 700ms", "a acts-again 500ms"], On),
        seen("answers late", &["a answers-late 800ms"], Off),
        refuses("stale", &["a stale"], Off, "off (commanded on)", true),
        refuses("stale", &["a stale"], On, "on (commanded off)", true),
    ];
    cases.extend([
        Case {
            evidence: "read on before; nothing was driven",
            ..fooled("answers inverted", &["a inverted-answers"], Off)
        },
        refuses("relays inverted", &["a inverted-relays"], Off, "off (commanded on)", false),
        refuses("relays inverted", &["a inverted-relays"], On, "on (commanded off)", false),
        Case {
            verdict: BY_WIRE,
            ..fooled("inverted and consistent", &["a inverted-relays", "a echoes"], Off)
        },
        fooled("welded open", &["a:1 welded-open"], Off),
        fooled("welded closed", &["a:1 welded-closed"], On),
        undone("garbles every byte", &["a noisy 100"]),
        undone("unplugged", &["a unplugged"]),
    ]);
    cases
}

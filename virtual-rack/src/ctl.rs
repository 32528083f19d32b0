//! What `virtual-rack ctl` prints for people.

use std::fmt::Write;

use crate::control::CommandState;
use crate::control::MachineState;
use crate::control::RackState;
use crate::control::Reply;
use crate::edges::Cause;
use crate::edges::EdgeRecord;
use crate::fault::Fault;
use crate::moment::Moment;

/// A reply as text, lines ended.
#[must_use]
pub fn render(reply: &Reply) -> String {
    let mut text = String::new();
    let written = match reply {
        Reply::State(state) => render_state(&mut text, state),
        Reply::Edges(edges) => edges.iter().try_for_each(|edge| render_edge(&mut text, edge)),
        Reply::Machine(machine) => render_machine(&mut text, "", machine),
        Reply::Faults(faults) => render_faults(&mut text, faults),
        Reply::Done => writeln!(text, "done"),
        Reply::Ended(ended) => writeln!(text, "ended after {}", seconds(ended.at_us)),
        Reply::Error(reason) => writeln!(text, "{reason}"),
    };
    debug_assert!(written.is_ok(), "writing to a string never fails");
    text
}

fn render_state(text: &mut String, state: &RackState) -> std::fmt::Result {
    for (name, board) in &state.boards {
        let relays: Vec<String> = board.relays.iter().map(ToString::to_string).collect();
        let heard = board.frames;
        writeln!(
            text,
            "board {name}  {}  {}  accepted {} queries {} lost {} bad {} ignored {}",
            if board.port.is_some() {
                board.link.display().to_string()
            } else {
                "unplugged".to_owned()
            },
            relays.join(" "),
            heard.accepted,
            heard.queries,
            heard.lost,
            heard.bad,
            heard.ignored
        )?;
    }
    let width = state.machines.keys().map(String::len).max().unwrap_or_default();
    for (name, machine) in &state.machines {
        render_machine(text, &format!("{name:width$}  "), machine)?;
    }
    for fault in &state.faults {
        writeln!(text, "fault {fault}")?;
    }
    writeln!(text, "{:.1} W at {}", state.watts, seconds(state.at_us))
}

fn render_faults(text: &mut String, faults: &[Fault]) -> std::fmt::Result {
    if faults.is_empty() {
        return writeln!(text, "nothing is wrong");
    }
    faults.iter().try_for_each(|fault| writeln!(text, "fault {fault}"))
}

fn render_machine(text: &mut String, name: &str, machine: &MachineState) -> std::fmt::Result {
    let command = match &machine.command {
        CommandState::None => String::new(),
        CommandState::Running { pid } => format!("  command runs, pid {pid}"),
        CommandState::Exited { outcome } => format!("  command ended: {outcome}"),
        CommandState::Failed { reason } => format!("  command did not start: {reason}"),
    };
    writeln!(
        text,
        "{name}{:13} since {:>10}  {:6.1} W  {} {}{command}",
        machine.state,
        seconds(machine.since_us),
        machine.watts,
        machine.board,
        machine.channel
    )
}

fn render_edge(text: &mut String, edge: &EdgeRecord) -> std::fmt::Result {
    let machine = edge.machine.as_deref().unwrap_or("-");
    writeln!(
        text,
        "{:>10}  {} {}  {machine}  {}{}",
        seconds(edge.at_us),
        edge.board,
        edge.channel,
        edge.edge,
        match edge.cause {
            Cause::Frame => "",
            Cause::Late => "  (late: a fault)",
            Cause::Fault => "  (a fault)",
            Cause::Mains => "  (mains)",
            Cause::Hand => "  (by hand)",
        }
    )
}

fn seconds(at: Moment) -> String {
    let millis = at.as_micros() / 1000;
    format!("{}.{:03}s", millis / 1000, millis % 1000)
}

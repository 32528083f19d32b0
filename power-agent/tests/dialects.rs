//! Goal: the three ways in which LCUS boards answer are read for what they are. Method: the real agent on one virtual board
//! of each.

use fleet::{PowerState, Verb};
use testkit::bench::{Bench, order, person, reading};
use virtual_rack::relay::Power;

const DIALECTS: [(&str, &str); 3] =
    [("lcus-ascii", "ascii"), ("lcus-bytes", "bytes"), ("lcus-silent", "none")];

#[tokio::test]
async fn each_dialect_is_driven_and_read_back_or_assumed() {
    let mut boards = "socket = \"rack.sock\"\nedge_log = \"edges.jsonl\"\n".to_owned();
    let mut rack =
        "[agent]\nname = \"bench\"\nsocket = \"agent.sock\"\nstate = \"state\"\npoll = \"1s\"\n"
            .to_owned();
    for (kind, status) in DIALECTS {
        boards += &format!(
            "[boards.{status}]\nkind = \"{kind}\"\nchannels = 8\nlink = \"{status}.tty\"\n"
        );
        rack += &format!(
            "[devices.{status}]\ndriver = \"lcus\"\nport = \"{status}.tty\"\nchannels = 8\nstatus = \"{status}\"\n\
             [machines.{status}-2]\noutlets = [{{ device = \"{status}\", outlet = 2 }}]\n\
             [machines.{status}-7]\noutlets = [{{ device = \"{status}\", outlet = 7 }}]\n"
        );
    }
    let mut bench = Bench::new(&boards, &rack).await;
    bench.start_agent().await;
    for (_, status) in DIALECTS {
        let [lit, dark] = [2, 7].map(|channel| format!("{status}-{channel}"));
        bench.done(&order(&format!("light-{status}"), &lit, Verb::On, person())).await;
        let (on, off) = if status == "none" { ("assumed on", "unknown") } else { ("on", "off") };
        bench.until_power(&lit, on).await;
        bench.until_power(&dark, off).await;
        let told = (status != "none").then_some(PowerState::On);
        assert_eq!(reading(&bench.machine(&lit).await), told, "{status}");
    }
    let lit = DIALECTS.map(|(_, status)| (status.to_owned(), 2, Power::On));
    assert_eq!(bench.moves().await, lit);
}

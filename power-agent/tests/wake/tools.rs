//! Goal: our packets are those that the tools of every distribution send. Method: `etherwake` and `wakeonlan` beside the
//! real agent on one wire, compared byte for byte.

use fleet::{Phase, Verb};
use testkit::bench::{order, person, until};
use testkit::network::{SHELF, in_own_network, sh};
use testkit::process::on_path;
use testkit::skip::skip;

use crate::packets::{MINI, Wire, closet, start};

/// What stands before the data of a datagram: Ethernet, IPv4 and UDP. The sender's port and the packet's id are each
/// program's own.
const BEFORE_DATA: usize = 14 + 20 + 8;

/// A tool's packet and ours for the same card: the agent's file is made of these parts.
async fn both(tool: &str, lan: &str, password: &str) -> [Vec<u8>; 2] {
    let wire = Wire::on("lan");
    sh(tool).await;
    let theirs = until("the tool has sent", async || wire.magic(MINI).first().cloned()).await;
    let bench = start(&closet(lan, "", password)).await;
    let on = order("op-1", "mini", Verb::On, person());
    let (ended, ours) = tokio::join!(bench.done(&on), async {
        let ours = until("the agent has sent", async || wire.magic(MINI).get(1).cloned()).await;
        sh("ip -n shelf address add 10.9.0.21/24 dev nic").await;
        ours
    });
    assert_eq!(ended.phase, Phase::Done, "{}", ended.evidence);
    sh("ip -n shelf address flush dev nic").await;
    [theirs, ours]
}

#[tokio::test]
async fn our_packets_are_those_of_etherwake_and_wakeonlan_byte_for_byte() {
    let name = "tools::our_packets_are_those_of_etherwake_and_wakeonlan_byte_for_byte";
    for tool in ["etherwake", "wakeonlan"] {
        if on_path(tool).is_none() {
            return skip(name, &format!("{tool} is missing; on Debian `apt-get install {tool}`"));
        }
    }
    in_own_network(name, SHELF, async || {
        let mac = "52:54:00:12:34:56";
        for (option, password) in [
            ("", ""),
            ("-p 01:02:03:04:05:06", ", password = \"01:02:03:04:05:06\""),
            ("-p 192.168.1.5", ", password = \"192.168.1.5\""),
        ] {
            let tool = format!("etherwake -b -i lan {option} {mac}");
            let [theirs, ours] = both(&tool, "", password).await;
            assert_eq!(ours, theirs, "{tool}");
        }
        for port in [7, 9] {
            let tool = format!("wakeonlan -i 10.9.0.255 -p {port} {mac}");
            let lan = format!("via = \"udp\"\nbroadcast = \"10.9.0.255\"\nport = {port}");
            let [theirs, ours] = both(&tool, &lan, "").await;
            assert_eq!(ours[BEFORE_DATA..], theirs[BEFORE_DATA..], "{tool}");
            // To whom: all cards, all of the network, and the port.
            for part in [0..6, 30..34, 36..40] {
                assert_eq!(ours[part.clone()], theirs[part], "{tool}");
            }
        }
    })
    .await;
}

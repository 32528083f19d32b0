//! Machines that are woken by magic packets. Goal: the real agent's packets arrive as sent across a bridge, and what is
//! told of a machine is what it answers. Method: each test runs itself once more in network namespaces of its own; the
//! machine is one of them, which answers as soon as a packet for its card has arrived, by a raw socket on its port.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};

use agent_api::Machine;
use fleet::{Observed, Phase, Power, PowerState, RefusalCode, Verb};
use socket2::{Domain, Protocol, Socket, Type};
use testkit::bench::{Bench, ended, order, person, until};
use testkit::network::{SHELF, in_own_network, sh};

const RACK: &str = r#"
socket = "rack.sock"
edge_log = "edges.jsonl"
[boards.a]
kind = "lcus-ascii"
channels = 2
link = "a.tty"
"#;

/// A closet of machines that are only woken, one of them behind a relay.
const CLOSET: &str = r#"
[agent]
name = "closet"
socket = "agent.sock"
state = "state"
poll = "200ms"
[devices.a]
driver = "lcus"
port = "a.tty"
channels = 2
status = "ascii"
[devices.lan]
driver = "wol"
interface = "lan"
LAN
[pools.closet]
off_dwell = "100ms"
cycles_per_hour = 0
settle = "300ms"
soft_off = { exec = ["ip", "-n", "shelf", "address", "flush", "dev", "nic"], deadline = "20s" }
[machines.mini]
pool = "closet"
MINI
wake = { device = "lan", mac = "52:54:00:12:34:56", deadline = "60s" PASSWORD }
presence = { address = "10.9.0.21", by = ["ping", "arp"] }
[machines.stranger]
wake = { device = "lan", mac = "52:54:00:99:99:99", deadline = "2s" }
presence = { address = "10.9.0.99", by = ["ping", "tcp:22"] }
"#;

/// What passes one interface, in its order, whether or not anybody heard it.
pub(super) struct Wire {
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Wire {
    /// All Ethernet frames.
    const ALL: u16 = 0x0003;
    const FRAME_BYTES_MAX: usize = 1600;

    pub(super) fn on(interface: &str) -> Self {
        let protocol = Protocol::from(i32::from(Self::ALL.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).unwrap();
        let link = link(interface);
        nix::sys::socket::bind(socket.as_raw_fd(), &link).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let socket = UdpSocket::from(socket);
        // Ends with the test's own process, which is alone in its namespaces.
        std::thread::spawn(move || {
            let mut frame = [0; Self::FRAME_BYTES_MAX];
            while let Ok(length) = socket.recv(&mut frame) {
                kept.lock().unwrap().push(frame[..length].to_vec());
            }
        });
        Self { seen }
    }

    /// The magic packets for a card, whole, however they are wrapped.
    pub(super) fn magic(&self, mac: [u8; 6]) -> Vec<Vec<u8>> {
        let magic = [vec![0xff; 6], mac.repeat(16)].concat();
        let seen = self.seen.lock().unwrap();
        let has = |frame: &&Vec<u8>| frame.windows(magic.len()).any(|window| window == magic);
        seen.iter().filter(has).cloned().collect()
    }
}

fn link(interface: &str) -> nix::sys::socket::LinkAddr {
    let mut all = nix::ifaddrs::getifaddrs().unwrap().filter(|one| one.interface_name == interface);
    let found = all.find_map(|one| one.address.and_then(|address| address.as_link_addr().copied()));
    found.unwrap_or_else(|| panic!("no interface {interface}"))
}

pub(super) const MINI: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

/// The machine's firmware: boots on a packet that arrives at its port; the first `lost` it does not hear.
async fn boots_on_a_packet(lost: usize) {
    let port = Wire::on("nic-port");
    until("a packet has arrived", async || (port.magic(MINI).len() > lost).then_some(())).await;
    sh("ip -n shelf address add 10.9.0.21/24 dev nic").await;
}

pub(super) fn closet(lan: &str, mini: &str, password: &str) -> String {
    CLOSET.replace("LAN", lan).replace("MINI", mini).replace("PASSWORD", password)
}

pub(super) async fn start(file: &str) -> Bench {
    let mut bench = Bench::new(RACK, file).await;
    bench.start_agent().await;
    bench
}

pub(super) fn observed(machine: &Machine) -> Observed {
    let now = fleet::Moment::ZERO;
    let commanded = machine.commanded.as_ref().map(|commanded| fleet::Commanded {
        state: commanded.state,
        at: now,
        origin: commanded.origin.clone(),
        operation: commanded.operation.clone(),
    });
    Power { reading: machine.reading.map(|(state, _)| (state, now)), commanded }.observed()
}

#[tokio::test]
async fn a_magic_packet_wakes_a_machine_that_is_shut_down_and_woken_again() {
    in_own_network(
        "packets::a_magic_packet_wakes_a_machine_that_is_shut_down_and_woken_again",
        SHELF,
        async || {
            let bench = start(&closet("", "", "")).await;
            assert_eq!(observed(&bench.machine("mini").await), Observed::Unknown);
            for round in ["1", "2"] {
                let order_on = order(&format!("on-{round}"), "mini", Verb::On, person());
                let (on, ()) = tokio::join!(bench.done(&order_on), boots_on_a_packet(2));
                assert_eq!(on.phase, Phase::Done, "{}", on.evidence);
                assert!(on.evidence.starts_with("awake after "), "{}", on.evidence);
                let seen = bench.machine("mini").await;
                assert_eq!(observed(&seen), Observed::Read(PowerState::On));
                let again =
                    bench.done(&order(&format!("again-{round}"), "mini", Verb::On, person())).await;
                assert!(again.evidence.starts_with("awake before: "), "{}", again.evidence);
                let off =
                    bench.done(&order(&format!("off-{round}"), "mini", Verb::Off, person())).await;
                assert_eq!(off.evidence, "shut down; nothing cuts its power");
                let seen = bench.machine("mini").await;
                assert_eq!(
                    observed(&seen),
                    Observed::Assumed(PowerState::Off),
                    "silence is no off"
                );
            }
        },
    )
    .await;
}

#[tokio::test]
async fn the_frame_on_the_wire_is_the_one_of_the_file() {
    in_own_network("packets::the_frame_on_the_wire_is_the_one_of_the_file", SHELF, async || {
        let wire = Wire::on("lan");
        let own = link("lan").addr().unwrap().to_vec();
        let payload = [vec![0xff; 6], MINI.repeat(16)].concat();
        let password = [1, 2, 3, 4, 5, 6].to_vec();
        let secure = ", password = \"01:02:03:04:05:06\"";
        let bare = [vec![0xff; 6], own.clone(), vec![0x08, 0x42], payload.clone()].concat();
        let tagged =
            [vec![0xff; 6], own, vec![0x81, 0, 0, 12, 8, 0x42], payload.clone(), password.clone()];
        for (lan, password_key, wanted) in [("", "", bare), ("vlan = 12", secure, tagged.concat())]
        {
            let before = wire.magic(MINI).len();
            let bench = start(&closet(lan, "", password_key)).await;
            let on = order("op-1", "mini", Verb::On, person());
            let (ended, frame) = tokio::join!(bench.done(&on), async {
                let frame =
                    until("a frame is sent", async || wire.magic(MINI).get(before).cloned()).await;
                sh("ip -n shelf address add 10.9.0.21/24 dev nic").await;
                frame
            });
            assert_eq!(ended.phase, Phase::Done, "{}", ended.evidence);
            assert_eq!(frame, wanted);
            sh("ip -n shelf address flush dev nic").await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_datagram_goes_to_the_networks_own_broadcast_address() {
    in_own_network(
        "packets::a_datagram_goes_to_the_networks_own_broadcast_address",
        SHELF,
        async || {
            let lan = "via = \"udp\"\nbroadcast = \"10.9.0.255\"\nport = 7";
            let bench = start(&closet(lan, "", "")).await;
            let wire = Wire::on("lan");
            let on = order("op-1", "mini", Verb::On, person());
            let (ended, ()) = tokio::join!(bench.done(&on), boots_on_a_packet(0));
            assert_eq!(ended.phase, Phase::Done, "{}", ended.evidence);
            let frame =
                until("it is on the wire", async || wire.magic(MINI).first().cloned()).await;
            assert_eq!(frame[..6], [0xff; 6]);
            assert_eq!(frame[12..14], [0x08, 0x00], "IPv4");
            assert_eq!(frame[30..34], [10, 9, 0, 255]);
            assert_eq!(frame[36..38], [0, 7]);
            assert_eq!(frame.len(), 14 + 20 + 8 + 102);
        },
    )
    .await;
}

#[tokio::test]
async fn a_switch_port_that_sleeps_delays_the_waking_and_no_more() {
    in_own_network(
        "packets::a_switch_port_that_sleeps_delays_the_waking_and_no_more",
        SHELF,
        async || {
            let bench = start(&closet("", "", "")).await;
            sh("bridge link set dev nic-port state 0").await;
            let wire = Wire::on("lan");
            let on = order("op-1", "mini", Verb::On, person());
            let (ended, ()) = tokio::join!(bench.done(&on), async {
                let port = Wire::on("nic-port");
                until("the burst is over", async || (wire.magic(MINI).len() > 4).then_some(()))
                    .await;
                assert_eq!(port.magic(MINI).len(), 0, "a port that sleeps forwards nothing");
                sh("bridge link set dev nic-port state 3").await;
                boots_on_a_packet(0).await;
            });
            assert_eq!(ended.phase, Phase::Done, "{}", ended.evidence);
        },
    )
    .await;
}

#[tokio::test]
async fn a_card_that_nobody_has_fails_with_what_was_tried_and_seen() {
    in_own_network(
        "packets::a_card_that_nobody_has_fails_with_what_was_tried_and_seen",
        SHELF,
        async || {
            let bench = start(&closet("", "", "")).await;
            let failed = bench.done(&order("op-1", "stranger", Verb::On, person())).await;
            assert_eq!(failed.phase, Phase::Failed);
            let said = &failed.evidence;
            assert!(
                said.contains("it did not wake in time") && said.contains("wake packets"),
                "{said}"
            );
            assert!(said.contains("ping: ") && said.contains("tcp:22: "), "{said}");
            // It has neither an outlet nor a soft off.
            for verb in [Verb::Off, Verb::Cycle] {
                let id = format!("no-{}", verb.as_str());
                match bench.client.set_power(&order(&id, "stranger", verb, person())).await.unwrap()
                {
                    agent_api::Answer::Refused(refusal) => {
                        assert_eq!(refusal.code, RefusalCode::NeverOff);
                        assert!(refusal.text.contains("`soft_off`"), "{}", refusal.text);
                    }
                    agent_api::Answer::Accepted { .. } => panic!("nothing can do that"),
                }
            }
            let why = bench.run(&["why", "stranger"]).await.out;
            for part in ["woken by lan (", "nothing can switch it off", "no sign of life, "] {
                assert_eq!(why.matches(part).count(), 1, "{part:?} once in\n{why}");
            }
            sh("ip link set lan down").await;
            let failed = bench.done(&order("op-2", "stranger", Verb::On, person())).await;
            assert!(failed.evidence.contains("ip link set lan up"), "{}", failed.evidence);
        },
    )
    .await;
}

#[tokio::test]
async fn an_off_while_it_wakes_ends_the_packets_and_waits_for_what_they_may_wake() {
    let name = "packets::an_off_while_it_wakes_ends_the_packets_and_waits_for_what_they_may_wake";
    in_own_network(name, SHELF, async || {
        let bench = start(&closet("", "", "").replace("\"60s\"", "\"12s\"")).await;
        let wire = Wire::on("lan");
        let mut watch = bench.client.watch().await.unwrap();
        let on = bench.accepted(&order("op-1", "mini", Verb::On, person())).await;
        until("packets are sent", async || (wire.magic(MINI).len() > 1).then_some(())).await;
        let would = bench.run(&["plan", "off", "mini"]).await.out;
        assert!(would.contains("called off by "), "{would}");
        let off = bench.accepted(&order("op-2", "mini", Verb::Off, person())).await;
        let called_off = ended(&mut watch, &on.id).await;
        assert_eq!(called_off.phase, Phase::Failed);
        let (by, rest) = called_off.evidence.split_once("; ").unwrap();
        let (count, said) = rest.split_once(' ').unwrap();
        let sent: usize = count.parse().unwrap();
        assert_eq!(by, "called off by ada's `off`");
        assert_eq!(said, "wake packets were sent, and it may wake by them");
        until("as many are on the wire", async || (wire.magic(MINI).len() == sent).then_some(()))
            .await;
        bench
            .until_status("mini", "it waits", |mini| {
                mini["operation"]["phase"] == "waiting"
                    && mini["operation"]["progress"]
                        .as_str()
                        .is_some_and(|said| said.contains("may still wake"))
            })
            .await;
        // It has heard one of them.
        sh("ip -n shelf address add 10.9.0.21/24 dev nic").await;
        let off = ended(&mut watch, &off.id).await;
        assert_eq!(off.evidence, "shut down; nothing cuts its power");
        assert_eq!(wire.magic(MINI).len(), sent, "no packet more");
        assert_eq!(observed(&bench.machine("mini").await), Observed::Assumed(PowerState::Off));
    })
    .await;
}

#[tokio::test]
async fn packets_are_counted_by_device_also_those_that_could_not_be_sent() {
    let name = "packets::packets_are_counted_by_device_also_those_that_could_not_be_sent";
    in_own_network(name, SHELF, async || {
        let file = closet("", "", "").replace("poll =", "metrics = \"127.0.0.1:0\"\npoll =");
        let bench = start(&file).await;
        let counted = async |series: &str| {
            let text = bench.scraped("/metrics").await;
            let line = format!("lamplighter_agent_wake_{series}_total{{device=\"lan\"}} ");
            let count = text.lines().find_map(|told| told.strip_prefix(&line));
            count.unwrap_or_else(|| panic!("no {line}:\n{text}")).parse::<usize>().unwrap()
        };
        assert_eq!((counted("packets").await, counted("packet_errors").await), (0, 0));
        let wire = Wire::on("lan");
        bench.done(&order("op-1", "stranger", Verb::On, person())).await;
        let sent = counted("packets").await;
        assert!(sent > 0, "{sent}");
        assert_eq!(counted("packet_errors").await, 0);
        until("as many are on the wire", async || {
            (wire.magic([0x52, 0x54, 0, 0x99, 0x99, 0x99]).len() == sent).then_some(())
        })
        .await;
        sh("ip link set lan down").await;
        bench.done(&order("op-2", "stranger", Verb::On, person())).await;
        assert_eq!(counted("packets").await, sent);
        assert!(counted("packet_errors").await > 0);
    })
    .await;
}

#[tokio::test]
async fn doctor_says_whether_packets_can_leave_and_signs_be_seen() {
    let name = "packets::doctor_says_whether_packets_can_leave_and_signs_be_seen";
    in_own_network(name, SHELF, async || {
        let bench = start(&closet("", "", "")).await;
        let file = bench.path("agent.toml").display().to_string();
        let doctor = async || bench.run(&["doctor", "--config", &file]).await.out;
        let said = doctor().await;
        for line in [
            "ok    wake packets of lan: interface lan is up and has a link; its address is ",
            "ok    wake packets of lan: this user may send frames\n",
            "ok    sign of life ping: this user may look for it\n",
            "ok    sign of life arp: this user may look for it\n",
        ] {
            assert!(said.contains(line), "{line:?} in\n{said}");
        }
        sh("ip link set lan-port down").await;
        let said = doctor().await;
        assert!(said.contains("FAIL  wake packets of lan: interface lan is up and has no link\n"), "{said}");
        sh("ip link set lan-port up; ip link set lan down").await;
        let said = doctor().await;
        assert!(said.contains("FAIL  wake packets of lan: interface lan") && said.contains("ip link set lan up"), "{said}");
        sh("ip link set lan up").await;
        let udp = "via = \"udp\"\nbroadcast = \"10.9.1.255\"";
        bench.write_agent_file(&closet(udp, "", ""));
        let said = doctor().await;
        let wrong = "warn  wake packets of lan: 10.9.1.255 is no broadcast address of lan; it has 10.9.0.255\n";
        assert!(said.contains(wrong), "{said}");
        // Without the right to raw sockets: only the group's range of ping sockets is left.
        bench.write_agent_file(&closet("", "", ""));
        let program = bench.program().display().to_string();
        let dropped = ["--bounding-set=-net_raw", "--inh-caps=-net_raw", &program, "doctor", "--config", &file];
        let said = tokio::process::Command::new("setpriv").args(dropped).output().await.unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        for line in [
            "FAIL  wake packets of lan: this user may not send frames: ",
            "AmbientCapabilities=CAP_NET_RAW",
            "FAIL  sign of life arp: not allowed",
        ] {
            assert!(said.contains(line), "{line:?} in\n{said}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_relay_in_front_closes_first_and_opens_only_as_the_last_resort() {
    in_own_network(
        "packets::a_relay_in_front_closes_first_and_opens_only_as_the_last_resort",
        SHELF,
        async || {
            let mini = "outlets = [{ device = \"a\", outlet = 1 }]\ncut = \"last-resort\"";
            let bench = start(&closet("", mini, "")).await;
            assert_eq!(observed(&bench.machine("mini").await), Observed::Read(PowerState::Off));
            let on = order("op-1", "mini", Verb::On, person());
            let (ended, ()) = tokio::join!(bench.done(&on), boots_on_a_packet(1));
            assert_eq!(ended.phase, Phase::Done, "{}", ended.evidence);
            let off = bench.done(&order("op-2", "mini", Verb::Off, person())).await;
            assert_eq!(off.evidence, "shut down; its outlets stay closed");
            let seen = bench.machine("mini").await;
            assert_eq!(
                observed(&seen),
                Observed::Assumed(PowerState::Off),
                "a closed relay is not on"
            );
            assert_eq!(seen.drift, None);
            assert_eq!(bench.moves().await.len(), 1, "closed once, and never opened");
        },
    )
    .await;
}

#[tokio::test]
async fn what_a_machine_answered_before_it_was_cut_is_no_sign_that_it_is_on() {
    let name = "packets::what_a_machine_answered_before_it_was_cut_is_no_sign_that_it_is_on";
    in_own_network(name, SHELF, async || {
        let mini = "outlets = [{ device = \"a\", outlet = 1 }]\ncut = \"last-resort\"";
        let shuts_down =
            r#"exec = ["ip", "-n", "shelf", "address", "flush", "dev", "nic"], deadline = "20s""#;
        let ignores = r#"exec = ["true"], deadline = "1s""#;
        let file = closet("", mini, "").replace(shuts_down, ignores);
        // Nobody asks it again after the cut.
        let bench = start(&file.replace("poll = \"200ms\"", "poll = \"1h\"")).await;
        let on = order("op-1", "mini", Verb::On, person());
        let (ended, ()) = tokio::join!(bench.done(&on), boots_on_a_packet(0));
        assert_eq!(ended.phase, Phase::Done, "{}", ended.evidence);
        assert_eq!(observed(&bench.machine("mini").await), Observed::Read(PowerState::On));
        let off = bench.done(&order("op-2", "mini", Verb::Off, person())).await;
        assert_eq!(off.phase, Phase::Done, "{}", off.evidence);
        assert_eq!(bench.moves().await.len(), 2, "{}", off.evidence);
        assert_eq!(observed(&bench.machine("mini").await), Observed::Read(PowerState::Off));
    })
    .await;
}

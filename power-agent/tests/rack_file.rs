//! Goal: every mistake in a rack file gets one message with place, finding, expectation and remedy,
//! and all of them come in one run. Method: each case is a small file, each message a golden snapshot.

use std::path::Path;
use std::time::Duration;

use fleet::{DeviceName, DriftPolicy, MachineName, PoolName};
use power_agent::config::{Config, SoftOffWay};

/// What all cases need to be right but for the one mistake.
const BOARD: &str = r#"
[devices.board-a]
driver = "lcus"
port = "/dev/a"
channels = 4
status = "ascii"
"#;

fn messages(text: &str) -> String {
    match Config::parse(Path::new("rack.toml"), text, Path::new("/etc/lamplighter")) {
        Ok(_) => "the file was taken".to_owned(),
        Err(findings) => findings.to_string(),
    }
}

fn with_board(text: &str) -> String {
    messages(&format!("{}\n{text}", BOARD.trim_start()))
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_one_that_exists() {
    insta::assert_snapshot!(with_board(
        "[machines.node1]\noutlets = [{ device = \"board-a\", outlet = 1 }]\nboot_deadlin = \"5m\"\ncolour = \"red\"\n[pool.rack]\n"
    ));
}

#[test]
fn a_value_of_the_wrong_type_is_shown_with_an_example() {
    insta::assert_snapshot!(messages(
        "[agent]\nname = 7\npoll = 10\n[devices.board-a]\ndriver = \"lcus\"\nport = \"/dev/a\"\nchannels = \"4\"\nstatus = \"ascii\"\n"
    ));
}

#[test]
fn an_outlet_that_is_used_twice_is_shown_in_both_places() {
    insta::assert_snapshot!(with_board(
        "[machines.node1]\noutlets = [{ device = \"board-a\", outlet = 2 }]\n\n[machines.node2]\noutlets = [{ device = \"board-a\", outlet = 2 }]\n"
    ));
}

#[test]
fn a_machine_without_an_outlet_is_refused() {
    insta::assert_snapshot!(with_board("[machines.node1]\n\n[machines.node2]\noutlets = []\n"));
}

#[test]
fn an_outlet_that_the_board_has_not_is_refused() {
    insta::assert_snapshot!(with_board(
        "[machines.node1]\noutlets = [{ device = \"board-a\", outlet = 5 }]\n\n[machines.node2]\noutlets = [{ device = \"board-a\", outlet = 0 }]\n"
    ));
}

#[test]
fn devices_and_pools_that_are_not_declared_are_refused() {
    insta::assert_snapshot!(with_board(
        "[pools.rack]\n\n[machines.node1]\npool = \"rck\"\noutlets = [{ device = \"bord-a\", outlet = 1 }]\n\n[machines.node2]\npool = \"cloud\"\noutlets = [{ device = \"pdu\", outlet = 1 }]\n"
    ));
}

#[test]
fn a_driver_that_does_not_exist_is_refused() {
    insta::assert_snapshot!(messages("[devices.board-a]\ndriver = \"lucs\"\n\n[devices.b]\n"));
}

#[test]
fn a_board_names_what_it_lacks() {
    insta::assert_snapshot!(messages(
        "[devices.board-a]\ndriver = \"lcus\"\nchannels = 9\nstatus = \"asci\"\nmin_gap = \"1ms\"\n"
    ));
}

#[test]
fn two_devices_on_one_port_are_refused() {
    insta::assert_snapshot!(with_board(
        "[devices.board-b]\ndriver = \"lcus\"\nport = \"/dev/a\"\nchannels = 1\nstatus = \"none\"\n"
    ));
}

#[test]
fn more_gpio_devices_than_systemd_keeps_the_lines_of_are_refused() {
    let devices = |count: u32| -> String {
        let device = |number| {
            format!("[devices.g{number}]\ndriver = \"gpio\"\nchip = \"c\"\nlines = [{number}]\n")
        };
        (1..=count).map(device).collect()
    };
    assert_eq!(messages(&devices(64)), "the file was taken");
    insta::assert_snapshot!(messages(&devices(65)));
}

#[test]
fn two_machines_with_one_node_are_refused() {
    insta::assert_snapshot!(with_board(
        "[machines.node1]\noutlets = [{ device = \"board-a\", outlet = 1 }]\n\n[machines.node2]\nnode = \"node1\"\noutlets = [{ device = \"board-a\", outlet = 2 }]\n"
    ));
}

#[test]
fn names_that_no_host_list_can_hold_are_refused() {
    insta::assert_snapshot!(with_board(
        "[machines.\"node[1]\"]\noutlets = [{ device = \"board-a\", outlet = 1 }]\n"
    ));
}

#[test]
fn durations_are_refused_with_the_reason() {
    insta::assert_snapshot!(with_board(
        "[pools.rack]\nboot_deadline = \"5 minutes\"\noff_dwell = \"0\"\nsettle = \"-1s\"\ndrain_deadline = \"9000h\"\ndrift = \"ignore\"\n"
    ));
}

#[test]
fn a_soft_off_that_could_never_run_is_refused() {
    insta::assert_snapshot!(with_board(
        "[pools.a]\nsoft_off = { exec = [] }\n[pools.b]\nsoft_off = { deadline = \"5s\" }\n[pools.c]\nsoft_off = { exec = [\"a\"], ssh = \"b\" }\n[pools.d]\nsoft_off = { exec = [\"off\", \"{host}\"] }\n[pools.e]\nsoft_off = { ssh = \"-oProxyCommand=x\" }\n[pools.f]\nsoft_off = { exec = [\"off\"], port = 22 }\n"
    ));
}

#[test]
fn a_way_to_nomad_that_could_never_work_is_refused() {
    insta::assert_snapshot!(messages(
        "[nomad]\naddress = \"127.0.0.1:4646\"\ncert_file = \"cert.pem\"\n"
    ));
}

#[test]
fn a_socket_whose_path_the_kernel_does_not_take_is_refused() {
    let long = "x".repeat(100);
    insta::assert_snapshot!(messages(&format!("[agent]\nsocket = \"/run/{long}/agent.sock\"\n")));
}

#[test]
fn a_shape_without_its_sizes_is_refused() {
    insta::assert_snapshot!(with_board(
        "[pools.rack]\nshape = { cpu = 0, attributes = { \"attr.kernel.name\" = 6 } }\n"
    ));
}

#[test]
fn text_that_is_no_toml_is_refused_at_its_place() {
    insta::assert_snapshot!(messages("[agent]\nname = rack-a\n[machines.node1\n"));
}

#[test]
fn the_network_is_mutual_tls_only_and_roles_are_of_what_there_is() {
    let told = messages("[agent]\nlisten = \"0.0.0.0:7420\"\n");
    assert!(told.contains("`listen` without [tls]") && told.contains("rack.toml:2:"), "{told}");
    let told = with_board(
        "[agent]\nlisten = \"rack-a\"\n[tls]\nca_file = \"ca.pem\"\ncert_file = \"a.pem\"\n\
         [access.ada]\nrole = \"king\"\nmachines = \"node[1\"\n[access.\"a b\"]\nrole = \"viewer\"\n\
         [access.bob]\nrole = \"viewer\"\nmachines = \"node7\"\npools = [\"cellar\"]\n",
    );
    for expected in [
        "`listen` in [agent] is no address",
        "[tls] has no `key_file`",
        "`role` in [access.ada] can not be \"king\"",
        "`machines` in [access.ada] is no host list",
        "\"a b\" is nobody's name",
        "there is no machine node7",
        "there is no pool cellar",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

#[test]
fn a_certificate_that_can_not_be_used_is_told_at_its_place_in_the_file() {
    let home = tempfile::tempdir().unwrap();
    let text = "[agent]\nlisten = \"127.0.0.1:0\"\n[tls]\nca_file = \"ca.pem\"\ncert_file = \"a.pem\"\nkey_file = \"a.key\"\n";
    let file = home.path().join("rack.toml");
    std::fs::write(&file, text).unwrap();
    let findings = Config::load(&file).unwrap_err();
    assert_eq!(findings.all().len(), 1);
    assert_eq!(findings.all()[0].title, "`ca_file` in [tls] can not be used");
    assert_eq!(findings.place(&findings.all()[0]), Some((4, 11)));
}

#[test]
fn a_key_that_is_written_twice_is_refused() {
    insta::assert_snapshot!(messages("[agent]\nname = \"a\"\nname = \"b\"\n"));
}

#[test]
fn a_file_that_is_not_there_is_told_so() {
    let error = Config::load(Path::new("/nowhere/rack.toml")).unwrap_err();
    insta::assert_snapshot!(error);
}

#[test]
fn a_port_that_is_not_there_is_a_warning_and_the_rest_stands() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rack.toml");
    std::fs::write(&file, BOARD.trim_start().replace("/dev/a", "missing-port")).unwrap();
    let (config, warnings) = Config::load(&file).unwrap();
    assert_eq!(config.devices.len(), 1);
    assert!(!warnings.has_errors());
    let shown =
        warnings.to_string().replace(directory.path().to_str().unwrap(), "/etc/lamplighter");
    insta::assert_snapshot!(shown);
}

#[test]
fn the_place_of_a_finding_counts_lines_and_characters_from_one() {
    let text = "[agent]\nname = \"µ\"  \nsockt = \"x\"\n";
    let findings =
        Config::parse(Path::new("rack.toml"), text, Path::new("")).expect_err("a key is unknown");
    let places: Vec<_> = findings.all().iter().map(|finding| findings.place(finding)).collect();
    assert_eq!(places, [Some((3, 1))]);
}

#[test]
fn drift_is_reported_unless_the_machine_or_its_pool_says_enforce() {
    let text = format!(
        "{BOARD}[pools.rack]\ndrift = \"enforce\"\n[machines.node1]\npool = \"rack\"\noutlets = [{{ device = \"board-a\", outlet = 1 }}]\n\
         [machines.node2]\npool = \"rack\"\ndrift = \"report\"\noutlets = [{{ device = \"board-a\", outlet = 2 }}]\n\
         [machines.node3]\noutlets = [{{ device = \"board-a\", outlet = 3 }}]\n"
    );
    let config = Config::parse(Path::new("rack.toml"), &text, Path::new("/etc")).unwrap();
    let policies: Vec<DriftPolicy> =
        config.machines.values().map(|machine| machine.drift).collect();
    assert_eq!(policies, [DriftPolicy::Enforce, DriftPolicy::Report, DriftPolicy::Report]);
}

#[test]
fn the_example_is_a_rack_file_and_pools_lend_their_values() {
    let text = include_str!("../../examples/rack.toml");
    let config = Config::parse(Path::new("rack.toml"), text, Path::new("/etc")).unwrap();
    let machine = |name: &str| &config.machines[&MachineName::new(name).unwrap()];
    assert_eq!(config.devices.len(), 3);
    assert_eq!(config.agent.poll, Duration::from_secs(10));
    assert_eq!(machine("node3").node, "rack-a-node3");
    assert_eq!(machine("node1").pool, Some(PoolName::new("rack").unwrap()));
    assert_eq!(machine("node1").boot_deadline, Duration::from_secs(300), "from the pool");
    assert_eq!(machine("big1").boot_deadline, Duration::from_secs(900), "its own");
    assert_eq!(machine("big1").outlets.len(), 2);
    let soft_off = machine("node1").soft_off.as_ref().expect("from the pool");
    assert!(matches!(soft_off.way, SoftOffWay::Ssh(_)));
    assert!(machine("nas").pool.is_none());
    let board = DeviceName::new("board-b").unwrap();
    let on_board: Vec<String> =
        config.machines_on(&board).map(|(outlet, name)| format!("{outlet}:{name}")).collect();
    assert_eq!(on_board, ["1:big1", "2:nas"]);
}

#[test]
fn feeds_that_are_not_declared_or_too_small_and_figures_that_say_nothing_are_refused() {
    insta::assert_snapshot!(with_board(
        "[feeds.a]\nbudget = \"2A\"\n[feeds.b]\nbudget = 16\n\
         [machines.node1]\nfeed = \"aa\"\nrunning = \"0.6A\"\noutlets = [{ device = \"board-a\", outlet = 1 }]\n\
         [machines.node2]\nfeed = \"a\"\nrunning = \"1.2A\"\noutlets = [{ device = \"board-a\", outlet = 2 }, { device = \"board-a\", outlet = 3 }]\n\
         [machines.node3]\nrunning = \"1A\"\noutlets = [{ device = \"board-a\", outlet = 4 }]\n"
    ));
}

#[test]
fn figures_of_an_outlet_that_do_not_fit_each_other_are_refused() {
    insta::assert_snapshot!(with_board(
        "[feeds.a]\nbudget = \"2A\"\n[pools.rack]\nfeed = \"a\"\n\
         [machines.node1]\npool = \"rack\"\noutlets = [{ device = \"board-a\", outlet = 1 }]\n\
         [machines.node2]\npool = \"rack\"\nrunning = \"1A\"\ninrush = \"0.5A\"\noutlets = [{ device = \"board-a\", outlet = 2 }]\n\
         [machines.node3]\npool = \"rack\"\nrunning = \"1A\"\ninrush = \"1.5A\"\noutlets = [{ device = \"board-a\", outlet = 3 }]\n\
         [machines.node4]\npool = \"rack\"\nrunning = \"a lot\"\noutlets = [{ device = \"board-a\", outlet = 4 }]\n"
    ));
}

#[test]
fn an_outlet_has_the_figures_of_its_machine_and_pool_where_it_says_nothing_itself() {
    let text = format!(
        "{BOARD}[feeds.a]\nbudget = \"16A\"\n[feeds.b]\nbudget = \"10A\"\n\
         [pools.rack]\nfeed = \"a\"\nrunning = \"0.6A\"\ninrush = \"2A\"\ninrush_for = \"500ms\"\n\
         [machines.node1]\npool = \"rack\"\nrunning = \"700mA\"\noutlets = [{{ device = \"board-a\", outlet = 1 }}, \
         {{ device = \"board-a\", outlet = 2, feed = \"b\" }}, {{ device = \"board-a\", outlet = 3 }}]\n"
    );
    let config = Config::parse(Path::new("rack.toml"), &text, Path::new("/")).expect("a config");
    let node1 = &config.machines[&MachineName::new("node1").expect("a name")];
    let told = node1.supplies.iter().map(|supply| {
        let draw = supply.draw;
        (supply.feed.as_str(), draw.running.get(), draw.inrush.get(), draw.inrush_for.as_millis())
    });
    assert_eq!(told.collect::<Vec<_>>(), [("a", 1400, 4000, 500), ("b", 700, 2000, 500)]);
}

/// What `check` warns of, beside ports that are not there.
fn warnings_of(text: &str) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("rack.toml");
    std::fs::write(&file, format!("{}\n{text}", BOARD.trim_start())).expect("it is written");
    let (_, warnings) = Config::load(&file).expect("a config");
    assert!(!warnings.has_errors());
    warnings.to_string()
}

#[test]
fn a_feed_that_nothing_hangs_on_is_a_warning() {
    let machine = "[machines.node1]\nfeed = \"a\"\nrunning = \"1A\"\n\
                   outlets = [{ device = \"board-a\", outlet = 1 }]\n";
    let told = warnings_of(&format!(
        "[feeds.a]\nbudget = \"16A\"\n[feeds.b]\nbudget = \"16A\"\n{machine}"
    ));
    assert!(told.contains("nothing hangs on feed b"), "{told}");
    assert!(!told.contains("nothing hangs on feed a"), "{told}");
}

#[test]
fn a_feed_too_small_for_machines_that_can_not_be_read_is_a_warning_because_they_always_count() {
    let rack = |status: &str, budget: &str| {
        warnings_of(&format!(
            "[devices.board-b]\ndriver = \"lcus\"\nport = \"/dev/b\"\nchannels = 2\nstatus = \"{status}\"\n\
             [feeds.a]\nbudget = \"{budget}\"\n\
             [pools.rack]\nfeed = \"a\"\nrunning = \"1A\"\ninrush = \"3A\"\ninrush_for = \"1s\"\n\
             [machines.node1]\npool = \"rack\"\noutlets = [{{ device = \"board-a\", outlet = 1 }}]\n\
             [machines.node2]\npool = \"rack\"\noutlets = [{{ device = \"board-b\", outlet = 1 }}]\n\
             [machines.node3]\npool = \"rack\"\noutlets = [{{ device = \"board-b\", outlet = 2 }}]\n"
        ))
    };
    const TITLE: &str = "feed a is too small for the machines on it that can not be read";
    let told = rack("none", "3.9A");
    assert!(told.contains(TITLE), "{told}");
    assert!(told.contains("2 of them, 2 A running and 2 A more for the largest start"), "{told}");
    assert!(!rack("none", "4A").contains(TITLE), "2 A run, and 2 A more to start");
    assert!(!rack("ascii", "3.9A").contains(TITLE), "the rest waits for its turn");
}

#[test]
fn a_pool_says_the_signs_of_life_of_machines_that_name_their_addresses() {
    let file = |pool: &str, machine: &str| {
        format!(
            "[devices.lan]\ndriver = \"wol\"\ninterface = \"eth0\"\n[pools.closet]\npresence = {pool}\n\
             [machines.mini]\npool = \"closet\"\nsoft_off = {{ ssh = \"root@mini\" }}\n\
             wake = {{ device = \"lan\", mac = \"52:54:00:12:34:56\" }}\npresence = {machine}\n"
        )
    };
    let signs = |pool: &str, machine: &str| {
        let text = file(pool, machine);
        let config = Config::parse(Path::new("rack.toml"), &text, Path::new("/etc/lamplighter"));
        let config = config.unwrap_or_else(|findings| panic!("{findings}"));
        let presence =
            config.machines[&MachineName::new("mini").unwrap()].presence.clone().unwrap();
        let by: Vec<String> = presence.by.iter().map(ToString::to_string).collect();
        (presence.address.to_string(), by.join(" "), presence.interface.unwrap_or_default())
    };
    let told = |address: &str, by: &str, interface: &str| {
        (address.to_owned(), by.to_owned(), interface.to_owned())
    };
    let pool = "{ by = [\"ping\", \"arp\"], interface = \"eth1\" }";
    let address = "{ address = \"10.0.0.21\" }";
    assert_eq!(signs(pool, address), told("10.0.0.21", "ping arp", "eth1"));
    let own = "{ address = \"10.0.0.21\", by = [\"tcp:22\"], interface = \"eth2\" }";
    assert_eq!(signs(pool, own), told("10.0.0.21", "tcp:22", "eth2"), "its own come first");
    assert_eq!(signs("{ by = [\"ping\"] }", address), told("10.0.0.21", "ping", "eth0"));
    for (pool, machine, said) in [
        ("{ by = [\"ping\"], address = \"10.0.0.1\" }", address, "address"),
        ("{ interface = \"eth1\" }", address, "`by`"),
        ("{ by = [\"ping\"] }", "{ by = [\"arp\"] }", "`address`"),
    ] {
        let refused = messages(&file(pool, machine));
        assert!(refused.contains(said), "{said} in\n{refused}");
    }
    let refused = messages(&file("{ by = [\"pong\"] }", address));
    assert!(refused.contains("\"pong\"") && !refused.contains("misses"), "once:\n{refused}");
}

#[test]
fn a_firmware_bridge_names_what_it_lacks_and_what_can_not_be_kept() {
    insta::assert_snapshot!(messages(
        "[devices.lacks]\ndriver = \"firmware-bridge\"\nlease = \"1m\"\n\
         [devices.wrong]\ndriver = \"firmware-bridge\"\nport = \"/dev/a\"\noutlets = 17\nidentity = \"e66058\"\nlease = \"100ms\"\nsafe = \"dark\"\n"
    ));
}

use super::*;

fn read(text: &str) -> Result<Config, Vec<String>> {
    let files = [(PathBuf::from("agent.toml"), text.to_owned())];
    parse(&files).map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

#[test]
fn no_file_at_all_gives_the_built_in_channels() {
    let config = parse(&[]).unwrap();
    let names: Vec<&str> = config.channels.iter().map(|channel| channel.name.as_str()).collect();
    assert_eq!(names, ["native", "virtio", "qga", "xen"]);
}

#[test]
fn unknown_keys_are_named_with_line_and_column() {
    let faults = read("[log]\nlevel = \"info\"\n  fromat = \"json\"\n\n[lgo]\n").unwrap_err();
    assert_eq!(
        faults,
        [
            "agent.toml:5:2: the file has no key `lgo`; did you mean `log`?",
            "agent.toml:3:3: [log] has no key `fromat`; did you mean `format`?",
        ]
    );
}

#[test]
fn every_fault_is_found_and_a_wrong_value_says_what_is_right() {
    let text = "[[channel]]\nname = \"a\"\nexchange = \"unix\"\nparser = \"natvie\"\nconnections = 0\n\
                [[channel]]\nname = \"b\"\nexchange = \"stdio\"\nparser = \"native\"\npath = \"/x\"\n";
    assert_eq!(
        read(text).unwrap_err(),
        [
            "agent.toml:4:10: `parser` is one of native, guest, openstack, plugin",
            "agent.toml:5:15: `connections` is a whole number from 1 to 64",
            "agent.toml:1:1: exchange `unix` needs `path`",
            "agent.toml:10:8: `path` is of no use with exchange `stdio`",
        ]
    );
    assert_eq!(read("a = ").unwrap_err().len(), 1);
}

#[test]
fn roots_that_would_bound_nothing_are_a_fault() {
    let text = "[[channel]]\nname = \"x\"\nexchange = \"stdio\"\nparser = \"openstack\"\nroots = [\"/srv\"]\n";
    let faults = read(text).unwrap_err();
    assert!(faults[0].starts_with("agent.toml:5:9: `roots` bounds no command"), "{faults:?}");
    assert!(read(&text.replace("openstack", "native")).is_ok());
}

#[test]
fn drop_ins_replace_change_and_remove() {
    let files = [
        (
            PathBuf::from("agent.toml"),
            "[[channel]]\nname = \"own\"\nexchange = \"vsock\"\nport = 7\nparser = \"native\"\n"
                .to_owned(),
        ),
        (
            PathBuf::from("agent.d/10.toml"),
            "[[channel]]\nname = \"qga\"\nblock = [\"guest-exec\"]\n\
             [[channel]]\nname = \"own\"\nallow = [\"ping\"]\nstall-seconds = 3\n\
             [[channel]]\nname = \"xen\"\nenabled = false\n\
             [command.agentupdate]\nenabled = true\n"
                .to_owned(),
        ),
    ];
    let config = parse(&files).unwrap();
    let names: Vec<&str> = config.channels.iter().map(|channel| channel.name.as_str()).collect();
    assert_eq!(names, ["native", "virtio", "qga", "own"]);
    assert_eq!(config.channels[2].policy.block, ["guest-exec"]);
    let own = &config.channels[3];
    assert_eq!(own.exchange, ExchangeConfig::Vsock { port: 7, peers: vec![2] });
    assert_eq!(own.policy.allow.as_deref(), Some(&["ping".to_owned()][..]));
    assert_eq!(own.limits.stall, Duration::from_secs(3));
    assert_eq!(config.commands["agentupdate"]["enabled"], true);
    assert!(read("defaults = false").unwrap().channels.is_empty());
}

#[test]
fn tls_says_who_may_connect() {
    let text = "[[channel]]\nname = \"t\"\nexchange = \"tls\"\nparser = \"native\"\nlisten = \"x\"\n\
                certificate = \"/c\"\nkey = \"/k\"\n";
    let faults = read(text).unwrap_err();
    assert!(faults[0].contains("needs `client-ca` or `token-file`"), "{faults:?}");
    assert!(faults[1].starts_with("agent.toml:5:10: `x` is no address"), "{faults:?}");
}

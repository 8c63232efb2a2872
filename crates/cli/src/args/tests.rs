use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

/// A folder of the checkout that holds copies of what the program writes.
fn reference(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

/// Compares a committed copy, or writes it with `VNODE_REWRITE=1`.
fn held_against(path: &str, current: &[u8]) {
    let file = reference(path);
    if std::env::var_os("VNODE_REWRITE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, current).unwrap();
    }
    let committed = std::fs::read(&file).unwrap_or_default();
    assert!(committed == current, "{path} is not current: run this test with VNODE_REWRITE=1");
}

#[test]
fn the_definition_of_all_arguments_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_of_the_issue_is_there() {
    for line in [
        "vnode up lab.clab.yml",
        "vnode up - --no-boot --detach",
        "vnode down lab.clab.yml",
        "vnode down lab --graceful",
        "vnode apply lab.clab.yml --dry-run",
        "vnode check lab.clab.yml",
        "vnode ps",
        "vnode ps lab --json",
        "vnode inspect lab/r1",
        "vnode exec r1 -- ip addr",
        "vnode exec -T -u nobody -e A=b r1 env -i",
        "vnode shell r1",
        "vnode console r1",
        "vnode logs -f r1",
        "vnode cp r1:/etc/hosts .",
        "vnode create r1 --image debian:12 --boot -- sleep 5",
        "vnode boot r1",
        "vnode halt r1 --time 0.5",
        "vnode reboot r1 --hard",
        "vnode pause r1",
        "vnode resume r1",
        "vnode save r1",
        "vnode save r1 --discard",
        "vnode restore r1",
        "vnode screenshot r1 -",
        "vnode destroy r1 --force",
        "vnode state r1",
        "vnode mount r1",
        "vnode mount r1 -- sh -c ls",
        "vnode wait r1 --for reachable --time 2.5",
        "vnode exec --time 5 r1 ping r2",
        "vnode unmount r1",
        "vnode link ls",
        "vnode link set a:eth1--b:eth1 delay=10ms loss=0.1% --from a",
        "vnode link down lan0",
        "vnode link up lan0",
        "vnode link reset lan0",
        "vnode timeline show lab",
        "vnode timeline pause lab.clab.yml",
        "vnode timeline resume lab",
        "vnode timeline stop lab",
        "vnode timeline start lab",
        "vnode capture r1:eth1",
        "vnode graph lab.clab.yml --format mermaid",
        "vnode export lab.clab.yml --clab",
        "vnode import lab.ns",
        "vnode import - --name lab",
        "vnode events -f --kind node.",
        "vnode op ls",
        "vnode op show 01a1",
        "vnode op cancel 01a1",
        "vnode op follow 01a1",
        "vnode image ls",
        "vnode image pull debian:12",
        "vnode image import x.tar --name x:1",
        "vnode image rm x:1 y:1",
        "vnode image gc --unused 7",
        "vnode doctor",
        "vnode clean --dry-run",
        "vnode completion bash",
        "vnode man out",
        "vnode daemon",
        "vnode daemon --listen 127.0.0.1:0 --registry-mirror docker.io=localhost:5000",
        "vnode daemon stop",
        "vnode daemon status",
        "vnode token create ci",
        "vnode token ls",
        "vnode token rm ci",
        "vnode version",
        "vnode vnf new dir --process p",
        "vnode vnf lint dir --keys keys",
        "vnode vnf pack dir -o out.tar",
        "vnode vnf sign dir --key k --new-key",
        "vnode vnf push lab/r1 p.tar --instantiate",
        "vnode vnf ls r1 --json",
        "vnode --state-dir /tmp/x --json --quiet ps",
        "vnode --host localhost:7480 --token t --ca f ps",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for line in [
        "vnode",
        "vnode up",
        "vnode exec r1",
        "vnode halt r1 --time -1",
        "vnode halt r1 --time soon",
        "vnode link set lan0",
        "vnode link set lan0 delay",
        "vnode exec -e NAME r1 true",
        "vnode daemon --tls-cert c",
        "vnode graph f --format png",
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn everything_after_the_node_belongs_to_the_program() {
    for line in ["vnode exec r1 -- ls --json -q", "vnode exec r1 ls --json -q"] {
        let cli = parse(line).unwrap();
        assert!(!cli.global.json && !cli.global.quiet, "{line}");
        let Command::Exec(args) = cli.command else { panic!("{line}") };
        assert!(format!("{args:?}").contains(r#"["ls", "--json", "-q"]"#), "{args:?}");
    }
}

/// What the agent can do inside can be asked for from here: its pages are written from its own command line.
#[test]
fn every_verb_of_network_functions_is_here_too() {
    let vnode = Cli::command();
    let vnf = vnode.find_subcommand("vnf").expect("it is there");
    for page in std::fs::read_dir(reference("docs/reference/man-agent")).unwrap() {
        let page = page.unwrap().file_name().into_string().unwrap();
        let verb = page.strip_prefix("vnode-agent-vnf-").and_then(|rest| rest.strip_suffix(".8"));
        if let Some(verb) = verb {
            assert!(vnf.find_subcommand(verb).is_some(), "`vnode vnf {verb}` is missing");
        }
    }
}

#[test]
fn man_pages_are_current() {
    let pages = crate::commands::man::pages();
    for (name, page) in &pages {
        held_against(&format!("docs/reference/man/{name}"), page);
    }
    let mut committed = std::fs::read_dir(reference("docs/reference/man")).unwrap();
    let stray = committed.find_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let ours = name.ends_with(".1") && !pages.iter().any(|(page, _)| *page == name);
        ours.then_some(name)
    });
    assert_eq!(stray, None, "a page of a command that is gone");
}

#[test]
fn completion_scripts_are_current() {
    use clap_complete::Shell;
    let script = crate::commands::completion::script;
    held_against("packaging/completions/vnode.bash", script(Shell::Bash).as_bytes());
    held_against("packaging/completions/_vnode", script(Shell::Zsh).as_bytes());
    held_against("packaging/completions/vnode.fish", script(Shell::Fish).as_bytes());
}

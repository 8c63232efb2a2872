use super::*;
use crate::definition::Severity;

const FULL: &str = "\
[Component]
Name=net.test
Start=/bin/start now
Stop=/bin/stop
[Model net.test.v1]
Config/Check=/bin/c 1
Config/Set=/bin/s 1
Config/Get=/bin/g 1
State/Get=/bin/t 1
RPC/a/x=/bin/x
RPC/a/y=/bin/y
RPC/b-c/x-y=/bin/z
[Model net.test.v2]
Config/Check=/bin/c 2
Config/Set=/bin/s 2
Config/Get=/bin/g 2
State/Get=/bin/t 2
";

fn read(text: &str) -> Read<Instance> {
    Instance::read(text.as_bytes()).unwrap_or_else(|e| panic!("{text}\n{:?}", e.findings))
}

fn model(lines: &str) -> Read<Instance> {
    read(&format!("[Component]\nName=a.b\n[Model a.b.v1]\n{lines}\n"))
}

/// Lines of the errors.
fn refused(text: &str) -> Vec<usize> {
    let findings = Instance::read(text.as_bytes()).expect_err(text).findings;
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| finding.line).collect()
}

fn warned(read: &Read<Instance>) -> Vec<usize> {
    read.findings.iter().map(|finding| finding.line).collect()
}

#[test]
fn i01_two_models_with_everything() {
    let read = read(FULL);
    assert_eq!(read.findings, []);
    let instance = read.value;
    assert_eq!(instance.name, "net.test");
    assert_eq!(instance.start, Some(Command::split("/bin/start now")));
    let [one, two] = &instance.models[..] else { panic!() };
    assert_eq!((one.name.as_str(), two.name.as_str()), ("net.test.v1", "net.test.v2"));
    assert_eq!(two.state.as_ref().unwrap().argv, ["/bin/t", "2"]);
    assert_eq!(
        one.rpcs.iter().map(Rpc::key).collect::<Vec<_>>(),
        ["RPC/a/x", "RPC/a/y", "RPC/b-c/x-y"]
    );
    assert_eq!(instance.names(), ["net.test.v1", "net.test.v2", "net.test"]);
}

#[test]
fn i02_equal_when_they_mean_the_same() {
    let other = FULL.replace("[Model net.test.v2]", "# note\n\n[Model net.test.v2] ");
    assert_eq!(read(FULL).value, read(&other).value);
    assert_ne!(read(FULL).value, read(&FULL.replace("/bin/t 2", "/bin/t 3")).value);
}

#[test]
fn i03_i05_commands_that_are_cut_or_quoted_are_warned_about() {
    assert_eq!(warned(&model("Config/Get=/bin/g#frag\nConfig/Set=\"/bin/g\" \"x\"")), [4, 5]);
}

#[test]
fn i10_i13_i19_keys_that_mean_nothing_are_warned_about() {
    let read = model(
        "RPC/m:x/n=/bin/r\nconfig/get=/b\nrpc/a/b=/b\nRPC/a=/b\nRPC/a/b/c=/b\nOther=1\nRPC/a/b=/b",
    );
    assert_eq!(warned(&read), [4, 5, 6, 7, 8, 9]);
    assert_eq!(read.value.models[0].rpcs.len(), 1);
    assert_eq!(
        warned(&super::tests::read("[component]\nName=x.y\n[Component]\nname=q\nName=a.b")),
        [1, 4]
    );
}

#[test]
fn folders_of_a_sandbox_that_is_none_are_warned_about() {
    let with =
        |keys: &str| warned(&read(&format!("[Component]\nName=a.b\n{keys}\n[Model a.b.v1]\n")));
    assert_eq!(with("X-Writable=/var/lib/a"), [4]);
    assert_eq!(with("X-Writable=/var/lib/a\nX-Sandbox=strict"), [0; 0]);
}

#[test]
fn i14_headers_that_do_not_name_one_model() {
    assert_eq!(refused("[Component]\nName=a.b\n[Model  m.n]\n[Model n.m extra]\n"), [3, 4]);
    assert_eq!(
        warned(&read("[Component]\nName=a.b\n[Model\ta.c]\n[Model]\n[ModelX a.d]\n")),
        [3, 4, 5]
    );
}

#[test]
fn i16_inheritance_is_warned_about() {
    let read = read(
        "[Component]\nName=a.b\n[Model a.b]\nState/Get=/s\nRPC/a/b=/r\n[Model a.b.v1]\nConfig/Get=/g\n",
    );
    assert_eq!(warned(&read), [6]);
    let model = &read.value.models[1];
    assert_eq!(model.state.as_ref().unwrap().argv, ["/s"]);
    assert_eq!(model.rpcs, []);
}

#[test]
fn i18_a_name_is_needed_and_must_be_one() {
    assert_eq!(refused("[Component]\nStart=/x"), [1]);
    assert_eq!(refused("[Component]\nName=nodots"), [1]);
    assert_eq!(refused("[Model a.b]"), [0]);
}

#[test]
fn i20_two_rpcs_that_are_one_member() {
    assert_eq!(
        refused("[Component]\nName=a.b\n[Model a.b.v1]\nRPC/m/foo-1b=/x\nRPC/m/foo1b=/y\n"),
        [5]
    );
}

#[test]
fn i23_i24_commands_are_split_at_single_blanks() {
    let read = model("Config/Get=/bin/g  $HOME *.c 'a b'");
    let argv = &read.value.models[0].get.as_ref().unwrap().argv;
    assert_eq!(argv[..], ["/bin/g", "", "$HOME", "*.c", "'a", "b'"]);
    assert_eq!(warned(&read), [4, 4]);
}

#[test]
fn i25_names_that_the_bus_forbids() {
    assert_eq!(
        refused("[Component]\nName=a.b\n[Model a.b.v1]\nRPC/m.n/foo=/x\nRPC//foo=/x"),
        [4, 5]
    );
}

#[test]
fn limits_that_are_not_understood_refuse_the_file() {
    assert_eq!(
        refused("[Component]\nName=a.b\nX-Timeout=long\n[Model a.b.v1]\nX-Concurrency=0"),
        [3, 5]
    );
    let read = model("X-Other=2\nRPC/a/b=");
    assert_eq!(warned(&read), [4, 5]);
}

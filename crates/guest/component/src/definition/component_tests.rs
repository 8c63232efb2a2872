use super::*;
use crate::definition::Severity;

const FULL: &str = "\
[Vyatta Component]
Name=net.test.example
Description=Super Example Project
ExecName=/opt/example -n 1
ConfigFile= /etc/a.conf , /etc/b.conf,/etc/c.conf ,
Before=net.a.service, net.b ,net.c.service,net.d,

[Model net.test.example.v1]
Modules=example-v1,example-interfaces-v1
ModelSets=vyatta-v1, vyatta-v2
ImportsRequiredForCheck=a-v1,b-v1

[Model net.test.example.fog]
Modules=example-fog
ModelSets=fog
";

fn read(text: &str) -> Component {
    Component::read(text.as_bytes()).unwrap_or_else(|e| panic!("{text}\n{:?}", e.findings)).value
}

fn refused(text: &str) -> Vec<(usize, String)> {
    let findings = Component::read(text.as_bytes()).expect_err(text).findings;
    let errors = findings.into_iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| (finding.line, finding.text)).collect()
}

fn without(key: &str) -> String {
    FULL.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn c01_full_example() {
    let component = read(FULL);
    assert_eq!(component.name, "net.test.example");
    assert_eq!(component.exec_name.as_deref(), Some("/opt/example -n 1"));
    let model = component.model_of_set("vyatta-v2").unwrap();
    assert_eq!(model.modules, ["example-v1", "example-interfaces-v1"]);
    assert_eq!(model.imports_required_for_check, ["a-v1", "b-v1"]);
    let fog = component.model_of_set("fog").unwrap();
    assert_eq!(fog.name, "net.test.example.fog");
    assert!(fog.imports_required_for_check.is_empty());
    assert!(component.model_of_set("none").is_none());
}

#[test]
fn c02_missing_fields_are_named() {
    for key in ["Name", "Description", "ExecName"] {
        let errors = refused(&without(key));
        let text = format!("missing field `{key}` in `[Vyatta Component]`");
        assert!(errors.iter().any(|(_, error)| error.starts_with(&text)), "{errors:?}");
    }
}

#[test]
fn c03_ephemeral_needs_no_program() {
    let text = FULL.replace("ExecName=/opt/example -n 1", "Ephemeral=true");
    assert!(read(&text).ephemeral);
}

#[test]
fn c04_c24_a_section_twice() {
    for again in ["[Model net.test.example.fog]", "[Vyatta Component]  ", " [Vyatta Component] x"] {
        let errors = refused(&format!("{FULL}{again}\n"));
        let text = again.trim().trim_end_matches(" x");
        assert!(
            errors.iter().any(|(line, error)| *line == 16 && error.contains(text)),
            "{errors:?}"
        );
    }
}

#[test]
fn c05_a_name_is_no_unit() {
    refused(&FULL.replace("net.test.example\n", "net.test.service\n"));
}

#[test]
fn c06_units_get_their_suffix_once() {
    let units = ["net.a.service", "net.b.service", "net.c.service", "net.d.service"];
    assert_eq!(read(FULL).before, units);
}

#[test]
fn c07_units_hold_no_blanks() {
    let errors = refused(&FULL.replace("net.b ,", "net.b net.x,"));
    assert!(errors[0].0 == 6 && errors[0].1.contains("net.b net.x"), "{errors:?}");
}

#[test]
fn c08_configuration_files() {
    assert_eq!(read(FULL).config_files, ["/etc/a.conf", "/etc/b.conf", "/etc/c.conf"]);
}

#[test]
fn c09_c19_booleans() {
    let with =
        |value: &str| FULL.replace("Name=net", &format!("DefaultComponent={value}\nName=net"));
    assert!(read(&with("true")).default_component);
    assert!(!read(&with("FaLsE")).default_component);
    assert!(!read(FULL).default_component);
    assert_eq!(refused(&with("foo"))[0].0, 2);
    refused(&with("1").replace("DefaultComponent", "Ephemeral"));
}

#[test]
fn c10_folders_are_not_entered() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("below.component")).unwrap();
    for name in ["b.component", "a.component", "below.component/c.component", "d.other"] {
        fs::write(folder.path().join(name), FULL).unwrap();
    }
    let read = read_folder(folder.path()).unwrap();
    let names: Vec<_> = read.iter().map(|(path, _)| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["a.component", "b.component"]);
    fs::write(folder.path().join("e.component"), "").unwrap();
    assert!(matches!(read_folder(folder.path()), Err(FolderError::Invalid { .. })));
}

#[test]
fn c20_a_file_without_component_is_none() {
    refused("");
    refused("[Model a.b]\nModules=x\n");
}

#[test]
fn c21_empty_entries_are_left_out() {
    let text = FULL.replace("Modules=example-fog", "Modules=m1,,m2 , m3,");
    let read = Component::read(text.as_bytes()).unwrap();
    assert_eq!(read.value.models[1].modules, ["m1", "m2", "m3"]);
    assert_eq!(read.findings.iter().map(|f| f.line).collect::<Vec<_>>(), [14]);
}

#[test]
fn c22_a_set_belongs_to_one_model() {
    assert_eq!(refused(&FULL.replace("ModelSets=fog", "ModelSets=vyatta-v1"))[0].0, 13);
}

#[test]
fn c23_lists_over_many_lines() {
    let text = FULL.replace("Modules=example-fog", "Modules=a,   \\\n  b,   \\\n  c\n");
    assert_eq!(read(&text).models[1].modules, ["a", "b", "c"]);
}

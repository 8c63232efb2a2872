//! Which events lead to what, options, the log.

use crate::site::{Site, with};

#[test]
fn h01_without_a_type_nothing_is_done() {
    let site = Site::fake();
    let ran = site.run(&with(site.event("", ""), &[]));
    ran.ends(0);
    assert!(ran.log.contains("WARNING"), "{}", ran.log);
    assert!(site.calls().is_empty());
}

#[test]
fn h02_events_of_no_concern_call_nothing() {
    let site = Site::fake();
    for kind in [
        "ProcessPrefix",
        "ProcessPostfix",
        "AvailablePrefix",
        "ExpirePrefix",
        "SubscriptionImageNew",
    ] {
        let ran = site.run(&site.event(kind, "a"));
        ran.ends(0);
        assert!(ran.log.contains("DEBUG; vmcatcher_eventHndl_ON; "), "{}", ran.log);
        assert!(!ran.log.contains("WARNING"), "{}", ran.log);
    }
    assert!(site.calls().is_empty());
}

#[test]
fn h04_a_missing_logging_file_is_told_and_one_that_is_there_is_accepted() {
    let site = Site::fake();
    let event = site.event("ProcessPrefix", "");
    let ran = site.run_with(&event, &["-l", "/nowhere/log.conf"], &[]);
    ran.ends(1);
    assert!(ran.log.contains("/nowhere/log.conf"), "{}", ran.log);
    let path = site.folder.path().join("log.conf");
    std::fs::write(&path, "[loggers]\nkeys=root\n[logger_root]\nlevel=ERROR\nhandlers=x\n")
        .unwrap();
    let ran = site.run_with(&event, &["-l", path.to_str().unwrap()], &[]);
    ran.ends(0);
    assert!(!ran.log.contains("DEBUG"), "{}", ran.log);
    let ran = site.run_with(&event, &[], &[("VMCHNDL_ON_LOG_CONF", "/nowhere/log.conf")]);
    ran.ends(1);
}

#[test]
fn h05_the_option_wins_over_the_environment() {
    let site = Site::fake();
    let (one, other) = (site.folder.path().join("one.log"), site.folder.path().join("other.log"));
    let event = site.event("ProcessPrefix", "");
    let environment = [("VMCHNDL_ON_LOG_FILE", other.to_str().unwrap())];
    site.run_with(&event, &["-o", one.to_str().unwrap()], &environment).ends(0);
    let line = std::fs::read_to_string(&one).unwrap();
    assert!(!other.exists());
    // time;LEVEL; name; function -- message
    let first = line.lines().next().unwrap();
    let fields: Vec<&str> = first.split(';').collect();
    assert_eq!(fields[1], "DEBUG", "{first}");
    assert_eq!(fields[2], " vmcatcher_eventHndl_ON", "{first}");
    assert!(fields[3].contains(" -- "), "{first}");
    site.run_with(&event, &[], &environment).ends(0);
    assert!(other.exists());
    let quiet = site.run_with(&event, &["-q", "-g", "5"], &[]);
    quiet.ends(0);
    assert!(!quiet.log.contains("DEBUG"), "{}", quiet.log);
    site.run_with(&event, &["--version"], &[]).ends(0);
    site.run_with(&event, &["--no-such-option"], &[]).ends(1);
}

#[test]
fn h10_h11_missing_variables_end_with_3_and_call_nothing() {
    let site = Site::fake();
    for kind in ["AvailablePostfix", "ExpirePostfix"] {
        for name in ["VMCATCHER_CACHE_DIR_CACHE", "VMCATCHER_EVENT_DC_IDENTIFIER"] {
            let ran = site.run(&with(site.event(kind, "a"), &[(name, "")]));
            ran.ends(3);
            assert!(ran.log.contains(name), "{}", ran.log);
        }
        let hostile = [("VMCATCHER_EVENT_DC_IDENTIFIER", "../../$(id)")];
        site.run(&with(site.event(kind, "a"), &hostile)).ends(3);
    }
    assert!(site.calls().is_empty());
}

#[test]
fn h57_the_event_is_in_the_log_and_no_secret() {
    let site = Site::fake();
    let event = with(
        site.event("ExpirePostfix", "a"),
        &[("VMCATCHER_RDBMS", "mysql://u:other-secret@h/d")],
    );
    let ran = site.run(&event);
    ran.ends(0);
    assert!(ran.log.contains("VMCATCHER_EVENT_DC_TITLE"), "{}", ran.log);
    assert!(!ran.log.contains("other-secret"), "{}", ran.log);
}

#[test]
fn settings_with_a_mistake_end_with_1() {
    let site = Site::fake();
    site.settings("datastor = \"x\"\n");
    site.disk(b"a");
    let ran = site.run(&site.event("AvailablePostfix", "a"));
    ran.ends(1);
    assert!(ran.log.contains("datastor"), "{}", ran.log);
    assert!(site.calls().is_empty());
}

use proptest::prelude::*;

use super::*;

fn get(text: &str, section: &str, key: &str) -> Option<String> {
    let document = Document::read(text.as_bytes()).unwrap();
    let section = document.section(section)?;
    document.get(section, key).map(|value| value.text)
}

fn one(line: &str) -> String {
    get(&format!("[s]\n{line}\n"), "s", "k").unwrap()
}

#[test]
fn i03_values_are_cut_at_the_first_comment_sign() {
    assert_eq!(one("k=/bin/x --c=1 # note"), "/bin/x --c=1");
    assert_eq!(one("k=/bin/y;z"), "/bin/y");
    assert_eq!(one("k=/bin/g#frag"), "/bin/g");
}

#[test]
fn i04_i05_quotes_around_the_whole_value_only() {
    assert_eq!(one("k=\"/bin/g x\""), "/bin/g x");
    assert_eq!(one("k='/bin/g x'"), "/bin/g x");
    assert_eq!(one("k=\"/bin/g\" \"x\""), "\"/bin/g\" \"x\"");
    assert_eq!(one("k=\"a\" # b"), "a");
    assert_eq!(one("k=\""), "\"");
}

#[test]
fn i06_backquotes_and_triple_quotes() {
    assert_eq!(one("k=`/bin/g #1;`"), "/bin/g #1;");
    assert_eq!(one("k=\"\"\"a\n b # c\"\"\""), "a\n b # c");
}

#[test]
fn i07_continuation_keeps_the_blanks_before_the_first_backslash() {
    assert_eq!(one("k=a  \\\n   b\\\n  c ; no comment\n"), "a  bc ; no comment");
    assert_eq!(one("k=a \\\n\nj=1"), "a ");
    assert_eq!(one("k=a # note \\\n j=1"), "a # note j=1");
}

#[test]
fn i08_references() {
    let text = "Dir=/d\n[s]\nBin=/b\nk=%(Bin)s/x\nd=%(Dir)s/x\nn=%(No)s/%(Bin)s\np=%%x";
    assert_eq!(get(text, "s", "k").unwrap(), "/b/x");
    assert_eq!(get(text, "s", "d").unwrap(), "/d/x");
    assert_eq!(get(text, "s", "n").unwrap(), "%(No)s/%(Bin)s");
    assert_eq!(get(text, "s", "p").unwrap(), "%%x");
    assert_eq!(one("k=%(k)s"), "%(k)s");
    // Growth is bounded.
    let bomb = "[s]\na=%(b)s%(b)s\nb=%(a)s%(a)s\nk=%(a)s";
    assert!(get(bomb, "s", "k").unwrap().len() < 4 * MAX_VALUE);
}

#[test]
fn i09_i10_a_colon_is_a_delimiter() {
    assert_eq!(get("[s]\nName: a.b", "s", "Name").unwrap(), "a.b");
    let document = Document::read(b"[s]\nRPC/mod:x/name=/bin/r").unwrap();
    let key = document.section("s").unwrap().keys().next().unwrap();
    assert_eq!((key.name.as_str(), key.colon), ("RPC/mod", true));
    assert_eq!(one("\"k\"=a:b"), "a:b");
    assert_eq!(one("`k` = a"), "a");
}

#[test]
fn i11_the_last_key_counts_and_sections_are_merged() {
    let document = Document::read(b"[s]\nk=1\nk=2\n[t]\n[s]\nj=3\n").unwrap();
    let section = document.section("s").unwrap();
    assert_eq!(document.get(section, "k").unwrap().text, "2");
    assert_eq!(document.get(section, "j").unwrap().text, "3");
    assert_eq!(document.warnings.iter().map(|w| w.line).collect::<Vec<_>>(), [3, 5]);
}

#[test]
fn i12_byte_order_mark_and_carriage_returns() {
    assert_eq!(get("\u{feff}[s]\r\nk=a b\r\n", "s", "k").unwrap(), "a b");
}

#[test]
fn i15_what_follows_the_header_is_ignored() {
    assert_eq!(get("[s] junk\nk=1", "s", "k").unwrap(), "1");
    assert_eq!(get("[a]b] junk\nk=1", "a]b", "k").unwrap(), "1");
}

#[test]
fn i16_sections_inherit_by_their_names() {
    let text = "[Model a]\nk=1\n[Model a.b.c]\nj=2";
    assert_eq!(get(text, "Model a.b.c", "k").unwrap(), "1");
}

#[test]
fn i17_what_is_refused() {
    for (text, line) in [
        ("[s]\nword\n", 2),
        ("\n[s\n", 2),
        ("[]\n", 1),
        ("[s]\n=v\n", 2),
        ("[s]\nk=`open\n", 2),
        ("[s]\n\"k=1\n", 2),
        ("[s]\nk=a\0b", 2),
    ] {
        assert_eq!(Document::read(text.as_bytes()).unwrap_err().line, line, "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(document) = Document::read(&bytes) {
            for section in document.sections() {
                for key in section.keys() {
                    prop_assert!(document.get(section, &key.name).is_some());
                }
            }
        }
    }

    #[test]
    fn any_text_of_its_signs_is_read_or_refused(text in "[\\[\\]=:#;%()s\"'` \\\\\na-c.]{0,200}") {
        if let Ok(document) = Document::read(text.as_bytes()) {
            for section in document.sections() {
                for key in section.keys() {
                    prop_assert!(document.get(section, &key.name).is_some());
                }
            }
        }
    }
}

use serde_json::json;

use super::*;

fn image(id: &str) -> Value {
    json!({"hv:image": {
        "dc:identifier": id, "dc:title": "t", "dc:description": "d", "hv:uri": "http://h/i",
        "hv:size": 5, "hv:version": "1", "hv:hypervisor": "KVM", "sl:arch": "x86_64", "sl:os": "Linux",
        "sl:osversion": "1", "sl:comments": "", "sl:checksum:sha512": "AB".repeat(64), "x:own": [1],
    }})
}

fn list(images: Vec<Value>) -> Value {
    json!({"hv:imagelist": {
        "dc:identifier": "l", "dc:title": "", "dc:description": "", "dc:source": "",
        "dc:date:created": "2020-01-01T00:00:00Z", "dc:date:expires": "2499-12-31T22:00:00Z",
        "hv:version": "1", "hv:uri": "http://h/l", "ad:vo": "",
        "hv:endorser": {"hv:x509": {"hv:dn": "/CN=a", "hv:ca": "/CN=c", "hv:email": "e", "dc:creator": "c"}},
        "hv:images": images,
    }})
}

fn decode(value: &Value) -> Result<ImageList, ListError> {
    ImageList::decode(value.to_string().as_bytes())
}

#[test]
fn both_outer_forms_are_read() {
    let wrapped = list(vec![image("a")]);
    let one = decode(&wrapped).unwrap();
    assert_eq!(one, decode(&wrapped["hv:imagelist"]).unwrap());
    assert_eq!(one.vo, None);
    assert_eq!(one.images[0].sha512, "ab".repeat(64), "digits in upper case count too");
    assert_eq!(one.images[0].attributes["x:own"], json!([1]), "unknown keys are kept");
}

#[test]
fn every_key_of_the_list_is_required() {
    let whole = list(vec![]);
    for key in whole["hv:imagelist"].as_object().unwrap().keys().filter(|k| *k != "ad:vo") {
        let mut less = whole.clone();
        less["hv:imagelist"].as_object_mut().unwrap().remove(key);
        assert!(matches!(decode(&less), Err(ListError::NotAList { .. })), "{key}");
    }
    for key in ["hv:dn", "hv:ca", "hv:email", "dc:creator"] {
        let mut less = whole.clone();
        less["hv:imagelist"]["hv:endorser"]["hv:x509"].as_object_mut().unwrap().remove(key);
        assert!(matches!(decode(&less), Err(ListError::NotAList { .. })), "{key}");
    }
}

#[test]
fn e20_an_image_without_a_key_is_dropped_and_the_others_used() {
    let keys: Vec<String> = image("b")["hv:image"].as_object().unwrap().keys().cloned().collect();
    for key in keys.iter().filter(|k| *k != "x:own") {
        let mut less = image("b");
        less["hv:image"].as_object_mut().unwrap().remove(key);
        let read = decode(&list(vec![image("a"), less, image("c")])).unwrap();
        let left: Vec<_> = read.images.iter().map(|i| i.identifier.as_str()).collect();
        assert_eq!(left, ["a", "c"], "without {key}");
        assert_eq!(read.dropped[0].index, 1);
    }
}

#[test]
fn w03_an_identifier_cannot_leave_its_folder() {
    let long = "x".repeat(129);
    for bad in ["../../x", "..", ".", "", ".x", "a/b", "a b", "a\0", "é", &long] {
        let read = decode(&list(vec![image(bad), image("a")])).unwrap();
        assert_eq!((read.images.len(), read.dropped.len()), (1, 1), "{bad}");
    }
    assert!(is_identifier(&"x".repeat(128)) && is_identifier("a..b"));
}

#[test]
fn the_second_of_two_images_with_one_identifier_is_dropped() {
    let read = decode(&list(vec![image("a"), image("a")])).unwrap();
    assert_eq!((read.images.len(), read.dropped[0].index), (1, 1));
}

#[test]
fn sizes_are_numbers_or_their_text() {
    for (size, read) in [
        (json!(7), Some(7)),
        (json!("7"), Some(7)),
        (json!("0"), Some(0)),
        (json!(-1), None),
        (json!("-1"), None),
        (json!(1.5), None),
        (json!(""), None),
        (json!("99999999999999999999"), None),
    ] {
        let mut one = image("a");
        one["hv:image"]["hv:size"] = size.clone();
        let list = decode(&list(vec![one])).unwrap();
        assert_eq!(list.images.first().map(|i| i.size), read, "{size}");
    }
}

#[test]
fn times_have_one_form() {
    assert!(time("2020-02-29T23:59:59Z", "t").is_ok());
    for bad in [
        "2020-01-01T00:00:00+00:00",
        "2020-01-01T00:00:00.0Z",
        "2020-01-01 00:00:00Z",
        "2020-02-30T00:00:00Z",
        "2020-01-01T24:00:00Z",
        "2020-01-01T00:00:60Z",
        "2020-1-1T00:00:00Z",
        "",
        "２020-01-01T00:00:0Z",
    ] {
        assert!(time(bad, "t").is_err(), "{bad}");
    }
    let mut one = image("a");
    one["hv:image"]["dc:date:expires"] = json!("soon");
    assert_eq!(decode(&list(vec![one])).unwrap().dropped.len(), 1);
}

#[test]
fn too_many_images_are_refused_whole() {
    let text = list(vec![json!(0); MAX_IMAGES + 1]);
    assert!(matches!(decode(&text), Err(ListError::NotAList { .. })));
    assert!(matches!(ImageList::decode(b"{\"a\":1,\"a\":2}"), Err(ListError::NotJson { .. })));
    assert!(matches!(ImageList::decode(b"[]"), Err(ListError::NotAList { .. })));
}

//! Requests in the OpenStack agent's form: never a panic, and every answer is an object of two texts within its limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vnode_agent::{
    limits::Limits,
    parser::openstack::{read, response},
};

fuzz_target!(|body: &[u8]| {
    let message = match read(body, &Limits::default()) {
        Ok(request) => {
            assert!(body.len() <= 64 << 10);
            // The value may be a password; a name may say anything.
            let shown = format!("{request:?}").replace(&format!("{:?}", request.name), "");
            assert!(!shown.contains("value:"), "{shown}");
            request.name
        }
        Err(message) => message.to_owned(),
    };
    for (text, limit) in [(message.as_str(), 1999), (&String::from_utf8_lossy(body), 200)] {
        let answer = response("500", text, limit);
        assert!(answer.len() <= limit && answer.is_ascii());
        let value: serde_json::Value = serde_json::from_str(&answer).expect("an answer is JSON");
        let members = value.as_object().expect("and an object");
        assert!(members.len() == 2 && members.values().all(serde_json::Value::is_string));
    }
});

//! How YANG names become names on the bus.

use zbus::ObjectPath;
use zbus::names::{InterfaceName, MemberName, WellKnownName};

/// `make-toast` to `MakeToast`: every letter but the first of a part is lower case, so `getThing` is `Getthing`.
pub fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for part in name.split('-') {
        let mut letters = part.chars();
        out.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        out.extend(letters.flat_map(char::to_lowercase));
    }
    out
}

/// `/toaster_v1/rpc` of `toaster-v1`.
pub fn rpc_path(module: &str) -> String {
    format!("/{}/rpc", module.replace('-', "_"))
}

/// `/toaster_v1/notification` of `toaster-v1`.
pub fn notification_path(module: &str) -> String {
    format!("/{}/notification", module.replace('-', "_"))
}

/// `yang.module.ToasterV1.RPC` of `toaster-v1`.
pub fn rpc_interface(module: &str) -> String {
    format!("yang.module.{}.RPC", camel(module))
}

/// `yang.module.ToasterV1.Notification` of `toaster-v1`.
pub fn notification_interface(module: &str) -> String {
    format!("yang.module.{}.Notification", camel(module))
}

/// Why an RPC or notification could never be called on the bus, if so.
pub fn unusable(module: &str, name: &str) -> Option<String> {
    if module.is_empty() || name.is_empty() {
        return Some("the module or its RPC has no name".to_owned());
    }
    let wrong = |part: &str| Some(format!("`{part}` makes no name that the bus allows"));
    if ObjectPath::try_from(rpc_path(module)).is_err()
        || InterfaceName::try_from(rpc_interface(module)).is_err()
    {
        return wrong(module);
    }
    if MemberName::try_from(camel(name)).is_err() {
        return wrong(name);
    }
    None
}

/// Whether the bus lets anybody own this name.
pub fn is_bus_name(name: &str) -> bool {
    WellKnownName::try_from(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n1_camel_case() {
        for (name, expected) in [
            ("", ""),
            ("f", "F"),
            ("foo-b", "FooB"),
            ("foo-bar", "FooBar"),
            ("foobar", "Foobar"),
            ("foo1", "Foo1"),
            ("foo1b", "Foo1b"),
            ("foo-1b", "Foo1b"),
            ("make-toast", "MakeToast"),
        ] {
            assert_eq!(camel(name), expected);
        }
    }

    #[test]
    fn n2_n3_paths_and_interfaces() {
        assert_eq!(rpc_path("test-v1"), "/test_v1/rpc");
        assert_eq!(rpc_interface("test-v1"), "yang.module.TestV1.RPC");
        assert_eq!(rpc_path("test-mod1-v1"), "/test_mod1_v1/rpc");
        assert_eq!(rpc_interface("test-mod1-v1"), "yang.module.TestMod1V1.RPC");
    }

    #[test]
    fn n4_notifications() {
        assert_eq!(notification_path("foo-bar-v1"), "/foo_bar_v1/notification");
        assert_eq!(notification_interface("foo-bar-v1"), "yang.module.FooBarV1.Notification");
        assert_eq!(camel("link-down"), "LinkDown");
    }

    #[test]
    fn n5_inner_capitals_are_lost() {
        assert_eq!(camel("getThing"), "Getthing");
    }

    #[test]
    fn i25_names_the_bus_forbids() {
        assert!(unusable("a.b", "x").is_some());
        assert!(unusable("a", "x.y").is_some());
        assert!(unusable("", "x").is_some());
        assert!(unusable("a-v1", "x_y").is_none());
    }
}

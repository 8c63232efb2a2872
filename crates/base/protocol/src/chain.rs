use std::error::Error;

/// An error with all its causes on one line: `outer: cause: deeper cause`.
///
/// A cause whose text ends what is there already is not said twice: transparent wrappers repeat what they wrap.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::chain;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        #[source]
        source: Option<Box<Layer>>,
    }

    fn layers(texts: &[&'static str]) -> Layer {
        let (text, rest) = texts.split_first().expect("a text");
        let source = (!rest.is_empty()).then(|| Box::new(layers(rest)));
        Layer { text, source }
    }

    #[test]
    fn every_cause_is_said_once() {
        assert_eq!(chain(&layers(&["alone"])), "alone");
        assert_eq!(chain(&layers(&["a", "b", "c"])), "a: b: c");
        assert_eq!(chain(&layers(&["a", "a", "b"])), "a: b");
        assert_eq!(chain(&layers(&["open f: denied", "denied"])), "open f: denied");
    }
}

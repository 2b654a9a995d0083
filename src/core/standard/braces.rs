//! `{source_dataset}` and `{target_dataset}` in single braces, as other tools write them.

use std::ops::Range;

const NAMES: [&str; 2] = ["{source_dataset}", "{target_dataset}"];

/// Where they stand in a text: those that are not part of an expression or a statement of the template.
pub(super) fn single(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(brace) = text[at..].find('{').map(|next| at + next) {
        let rest = &text[brace..];
        let closing = [("{{", "}}"), ("{%", "%}"), ("{#", "#}")].into_iter().find(|(open, _)| rest.starts_with(open));
        at = match (closing, NAMES.into_iter().find(|name| rest.starts_with(name))) {
            (Some((_, close)), _) => rest.find(close).map_or(text.len(), |end| brace + end + close.len()),
            (None, Some(name)) => {
                found.push(brace..brace + name.len());
                brace + name.len()
            }
            (None, None) => brace + 1,
        };
    }
    found
}

/// The text with double braces instead, and where the added bytes are in it.
pub(super) fn doubled(text: &str) -> (String, Vec<usize>) {
    let (mut out, mut added, mut at) = (String::with_capacity(text.len()), Vec::new(), 0);
    for name in single(text) {
        out.push_str(&text[at..name.start]);
        added.push(out.len());
        out.push('{');
        out.push_str(&text[name.clone()]);
        added.push(out.len());
        out.push('}');
        at = name.end;
    }
    out.push_str(&text[at..]);
    (out, added)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_single_braces_are_doubled() {
        for (text, expected) in [
            ("from {source_dataset}", "from {{source_dataset}}"),
            ("{target_dataset}{source_dataset}", "{{target_dataset}}{{source_dataset}}"),
            ("{{source_dataset}} {{ target_dataset }}", "{{source_dataset}} {{ target_dataset }}"),
            ("{# {source_dataset} #}{%raw%}", "{# {source_dataset} #}{%raw%}"),
            ("f\"{x}\" {", "f\"{x}\" {"),
            ("é{ source_dataset }", "é{ source_dataset }"),
        ] {
            assert_eq!(doubled(text).0, expected);
        }
        assert_eq!(doubled("a{source_dataset}b").1, [1, 18]);
    }
}

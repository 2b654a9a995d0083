//! How long a template's texts could become at most. The output has a limit of its own; this one is for what `{% set %}`
//! builds up on the way.

use std::ops::Range;

/// The most bytes that a text may become while a template runs.
const MAX_TEXT: usize = 1 << 28;

/// Where and why a template is refused, if it is. `longest` bounds the texts that it begins with.
pub(super) fn refused(template: &str, longest: usize) -> Option<(Range<usize>, String)> {
    let mut most = longest.max(1 << 10);
    let mut at = 0;
    while let Some(begin) = template[at..].find("{%").map(|next| at + next) {
        let end = template[begin..].find("%}").map_or(template.len(), |end| begin + end + 2);
        let tag = template[begin + 2..end].trim_start_matches(['-', '+']).trim_start();
        let word: String = tag.chars().take_while(char::is_ascii_alphabetic).collect();
        match word.as_str() {
            "set" if !tag.contains('=') => {
                return Some((begin..end, "`{% set %}` without `=` is not available: write `{% set name = … %}`".to_owned()));
            }
            "filter" | "autoescape" => return Some((begin..end, format!("`{{% {word} %}}` is not available in qetl's templates"))),
            "set" | "with" => {
                let joins = tag.matches(['~', '+']).count() + 1;
                let repeats = tag.matches('*').count();
                most = most.saturating_mul(joins).saturating_mul(1000_usize.saturating_pow(u32::try_from(repeats).unwrap_or(u32::MAX)));
            }
            _ => (),
        }
        if most > MAX_TEXT {
            return Some((begin..end, "the texts that `{% set %}` joins here could become too long".to_owned()));
        }
        at = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_double_are_refused_before_they_are_built() {
        let doubling = "{% set x = 'a' %}".to_owned() + &"{% set x = x ~ x %}".repeat(40);
        assert!(refused(&doubling, doubling.len()).is_some());
        let few = "{% set x = 'a' %}".to_owned() + &"{% set x = x ~ 'b' %}".repeat(8);
        assert!(refused(&few, few.len()).is_none());
        assert!(refused("{% set x %}a{% endset %}", 10).is_some());
        assert!(refused("{% for a in [1, 2] %}{{ a * 3 }}{% endfor %}", 10).is_none());
    }
}

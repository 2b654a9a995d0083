//! Where a byte of a TOML string's value stands in the file: quotes, escapes and trimmed line ends do not count.

use crate::problem::Span;

/// The places of a string's value.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// Parts of the value, by where they begin in it.
    parts: Vec<Part>,
    whole: Span,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    value: usize,
    file: usize,
    /// Bytes in the value and in the file; as many in both, unless it is an escape.
    length: usize,
    written: usize,
}

impl Places {
    /// The places of `value`, which stands at `whole` (quotes included) in `file`. If the text there is not that value's,
    /// each place is the whole string's beginning.
    pub(super) fn of(value: &str, whole: Span, file: &str) -> Self {
        let parts = file.get(whole.start..whole.end).and_then(|raw| parts(raw, whole.start, value)).unwrap_or_default();
        Self { parts, whole }
    }

    /// The places of a text that is the whole file.
    pub(super) fn plain(length: usize) -> Self {
        let part = Part { value: 0, file: 0, length, written: length };
        Self { parts: vec![part], whole: Span { start: 0, end: length } }
    }

    /// The bytes of the file that are these of the value.
    pub(super) fn span(&self, start: usize, end: usize) -> Span {
        let part_at = |at: usize| self.parts.iter().rev().find(|part| part.value <= at);
        let Some(first) = part_at(start) else { return Span { start: self.whole.start, end: self.whole.start } };
        let at = |part: &Part, offset: usize| match part.length == part.written {
            true => part.file + offset.min(part.length),
            false => part.file,
        };
        let from = at(first, start - first.value);
        let to = match end.checked_sub(1).filter(|last| *last >= start).and_then(|last| Some((last, part_at(last)?))) {
            Some((last, part)) if part.length == part.written => at(part, last - part.value) + 1,
            Some((_, part)) => part.file + part.written,
            None => from,
        };
        Span { start: from, end: to.max(from) }
    }
}

/// The parts of a string as it is written, or nothing if it does not say `value`.
fn parts(raw: &str, at: usize, value: &str) -> Option<Vec<Part>> {
    let (quote, escapes) = if raw.starts_with("\"\"\"") {
        ("\"\"\"", true)
    } else if raw.starts_with("'''") {
        ("'''", false)
    } else if raw.starts_with('"') {
        ("\"", true)
    } else if raw.starts_with('\'') {
        ("'", false)
    } else {
        return None;
    };
    let mut begin = quote.len();
    if quote.len() == 3 {
        // A line end right after the quotes is not part of the value.
        begin += raw[begin..].strip_prefix("\r\n").map_or_else(|| usize::from(raw[begin..].starts_with('\n')), |_| 2);
    }
    let inner = raw.get(begin..raw.len().checked_sub(quote.len())?)?;
    let (mut parts, mut said) = (Vec::new(), String::new());
    let mut rest = inner;
    loop {
        let plain = if escapes { rest.find('\\').unwrap_or(rest.len()) } else { rest.len() };
        let file = at + begin + inner.len() - rest.len();
        parts.push(Part { value: said.len(), file, length: plain, written: plain });
        said.push_str(&rest[..plain]);
        rest = &rest[plain..];
        if rest.is_empty() {
            break;
        }
        let (written, char) = escape(rest)?;
        parts.push(Part { value: said.len(), file: file + plain, length: char.map_or(0, char::len_utf8), written });
        said.extend(char);
        rest = &rest[written..];
    }
    (said == value).then_some(parts)
}

/// How long an escape is, and what it means; a line end that is escaped means nothing, with all blanks after it.
fn escape(text: &str) -> Option<(usize, Option<char>)> {
    let char = match text.as_bytes().get(1)? {
        b'b' => '\u{8}',
        b'e' => '\u{1b}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'"' => '"',
        b'\\' => '\\',
        letter @ (b'x' | b'u' | b'U') => {
            let digits = match letter {
                b'x' => 2,
                b'u' => 4,
                _ => 8,
            };
            let code = u32::from_str_radix(text.get(2..2 + digits)?, 16).ok()?;
            return Some((2 + digits, Some(char::from_u32(code)?)));
        }
        b' ' | b'\t' | b'\r' | b'\n' => {
            let blanks = text[1..].trim_start_matches([' ', '\t', '\r', '\n']);
            return Some((text.len() - blanks.len(), None));
        }
        _ => return None,
    };
    Some((2, Some(char)))
}

#[cfg(test)]
mod tests {
    use toml::Spanned;

    use super::*;

    /// Where `needle`, which stands once in the value, is in the file.
    fn placed(file: &str, needle: &str) -> String {
        #[derive(serde::Deserialize)]
        struct File {
            k: Spanned<String>,
        }
        let decoded: File = toml::from_str(file).unwrap();
        let value = decoded.k.get_ref();
        let at = value.find(needle).unwrap();
        let span = Places::of(value, decoded.k.span().into(), file).span(at, at + needle.len());
        file[span.start..span.end].to_owned()
    }

    #[test]
    fn every_kind_of_string() {
        for file in [
            "k = \"select x from t\"",
            "k = 'select x from t'",
            "k = '''select x from t'''",
            "k = \"\"\"select x from t\"\"\"",
            "k = '''\nselect\n  x from t\n'''",
            "k = \"\"\"\r\nselect\r\n  x from t\r\n\"\"\"",
            "k = '''\r\nselect\r\n  x from t'''",
            "k = \"\\t\\u00e9\\U0001F600\\\"\\\\ x from t\"",
            "k = \"\"\"select \\\n     x from t\\\n   \"\"\"",
            "k = \"\"\"\\\r\n   é x from t \"\" \"\"\"\"\"",
            "# é\n\nk = 'é x from t'",
        ] {
            assert_eq!(placed(file, "x from"), "x from", "{file}");
        }
        assert_eq!(placed(r#"k = "a\tb""#, "\t"), r"\t");
        assert_eq!(placed(r#"k = "a\u0041b""#, "aAb"), r"a\u0041b");
        assert_eq!(placed("k = \"\"\"a \\\n   b\"\"\"", "a b"), "a \\\n   b");
    }

    #[test]
    fn what_cannot_be_placed_is_the_beginning() {
        let whole = Span { start: 4, end: 9 };
        assert_eq!(Places::of("other", whole, "k = 'abc'").span(1, 2), Span { start: 4, end: 4 });
    }
}

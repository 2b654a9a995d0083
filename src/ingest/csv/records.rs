//! Splits CSV text into records and fields.
//!
//! Strict: a quote opens a quoted field only as its first character, nothing follows the closing quote but a delimiter
//! or a line end, and a quoted empty field is told from an empty one. Lines end with `\n`, `\r\n` or `\r`.

use std::ops::Range;

use crate::{
    blocks::{Blocks, line_ends, place_after},
    open::ReadFault,
};

/// How many fields a record may have.
pub(super) const FIELD_LIMIT: usize = 100_000;

/// The characters that structure the text. All of them are ASCII.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) quote: Option<u8>,
    /// Escapes a quote, or itself, inside quotes; without it a doubled quote is a quote.
    pub(super) escape: Option<u8>,
    pub(super) comment: Option<u8>,
}

/// Where a field's text stands in its record, the quotes around it left out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    start: u32,
    end: u32,
    pub(super) quoted: bool,
    /// Holds an escaped quote.
    escaped: bool,
}

impl Field {
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Nothing stands in it, not even quotes.
    pub(super) fn is_empty(self) -> bool {
        self.start == self.end && !self.quoted
    }

    /// Where the field begins, its quote included.
    pub(super) fn from(self) -> usize {
        self.start as usize - usize::from(self.quoted)
    }
}

/// What is wrong with the text, and where.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) what: What,
    pub(super) line: u64,
    pub(super) character: u64,
}

#[derive(Debug)]
pub(super) enum What {
    Read(ReadFault),
    Unclosed,
    AfterQuote,
    TooManyFields,
}

/// A stream of records.
pub(super) struct Records {
    blocks: Blocks,
    pub(super) dialect: Dialect,
    /// The current record's fields.
    pub(super) fields: Vec<Field>,
    /// The line on which the current record begins.
    pub(super) line: u64,
    /// An empty line is a record with one empty field.
    pub(super) keep_blank: bool,
    current: Split,
}

/// How far a record reaches.
#[derive(Debug, Clone, Copy, Default)]
struct Split {
    /// Without its line end.
    content: usize,
    /// With it.
    whole: usize,
    /// Line ends in it, its own among them.
    lines: u64,
}

/// Why there is no whole record at the start of a window.
enum Broken {
    /// The window ends before the record does; a quote is open since this offset.
    Short(Option<usize>),
    Unclosed(usize),
    AfterQuote(usize),
    TooManyFields,
}

impl Records {
    pub(super) fn new(blocks: Blocks, dialect: Dialect) -> Self {
        Self { blocks, dialect, fields: Vec::new(), line: 1, keep_blank: false, current: Split::default() }
    }

    /// The current record's text, without its line end.
    pub(super) fn record(&self) -> &[u8] {
        &self.blocks.window()[..self.current.content]
    }

    pub(super) fn skip_lines(&mut self, count: u64) -> Result<(), Fault> {
        for _ in 0..count {
            self.skip_line()?;
        }
        Ok(())
    }

    /// Leaves out the line with which Excel names the delimiter, `sep=;`, if the file begins with one.
    pub(super) fn separator_line(&mut self) -> Result<Option<u8>, Fault> {
        const LINE: usize = b"sep=;\r".len();
        while self.blocks.window().len() < LINE && !self.blocks.ended() {
            self.more(None)?;
        }
        let line = self.blocks.window();
        let (Some(word), Some(delimiter)) = (line.get(..4), line.get(4).copied()) else { return Ok(None) };
        let ends = line.get(5).is_none_or(|byte| matches!(byte, b'\n' | b'\r'));
        if !word.eq_ignore_ascii_case(b"sep=") || !delimiter.is_ascii() || !ends {
            return Ok(None);
        }
        self.skip_line()?;
        Ok(Some(delimiter))
    }

    fn skip_line(&mut self) -> Result<(), Fault> {
        let skipped = self.blocks.skip_line();
        skipped.map_err(|fault| Fault { what: What::Read(fault), line: self.line, character: 1 })?;
        self.line += 1;
        Ok(())
    }

    /// Goes to the next record; false at the end.
    pub(super) fn next(&mut self) -> Result<bool, Fault> {
        self.blocks.advance(self.current.whole);
        self.line += self.current.lines;
        self.current = Split::default();
        loop {
            let window = self.blocks.window();
            let Some(first) = window.first() else {
                if self.blocks.ended() {
                    return Ok(false);
                }
                self.more(None)?;
                continue;
            };
            if Some(*first) == self.dialect.comment {
                self.skip_line()?;
                continue;
            }
            self.fields.clear();
            match split(&self.dialect, window, self.blocks.ended(), &mut self.fields) {
                Ok(split) if split.content == 0 && !self.keep_blank => {
                    self.blocks.advance(split.whole);
                    self.line += split.lines;
                }
                Ok(split) => {
                    self.current = split;
                    return Ok(true);
                }
                Err(Broken::Short(open)) => self.more(open)?,
                Err(Broken::Unclosed(at)) => return Err(self.fault(What::Unclosed, at)),
                Err(Broken::AfterQuote(at)) => return Err(self.fault(What::AfterQuote, at)),
                Err(Broken::TooManyFields) => return Err(self.fault(What::TooManyFields, 0)),
            }
        }
    }

    fn more(&mut self, open: Option<usize>) -> Result<(), Fault> {
        match (self.blocks.more(), open) {
            (Ok(()), _) => Ok(()),
            (Err(ReadFault::TooLong), Some(quote)) => Err(self.fault(What::Unclosed, quote)),
            (Err(ReadFault::TooLong), None) => Err(self.fault(What::Read(ReadFault::TooLong), 0)),
            (Err(fault), _) => Err(self.fault(What::Read(fault), self.blocks.window().len())),
        }
    }

    fn fault(&self, what: What, offset: usize) -> Fault {
        let (line, character) = place_after(&self.blocks.window()[..offset], self.line);
        Fault { what, line, character }
    }
}

/// Splits the record at the start of the window.
fn split(dialect: &Dialect, window: &[u8], ended: bool, fields: &mut Vec<Field>) -> Result<Split, Broken> {
    let (mut at, mut lines) = (0, 0);
    loop {
        // Records are at most 64 MiB long, so offsets fit.
        let field = if dialect.quote.is_some() && window.get(at).copied() == dialect.quote {
            let (end, escaped) = quoted_end(dialect, window, at, ended)?;
            lines += line_ends(&window[at..end]);
            let field = Field { start: at as u32 + 1, end: end as u32, quoted: true, escaped };
            at = end + 1;
            field
        } else {
            let end = unquoted_end(window, at, dialect.delimiter);
            let field = Field { start: at as u32, end: end as u32, quoted: false, escaped: false };
            at = end;
            field
        };
        if fields.len() == FIELD_LIMIT {
            return Err(Broken::TooManyFields);
        }
        fields.push(field);
        match window.get(at) {
            None if ended => return Ok(Split { content: at, whole: at, lines }),
            None => return Err(Broken::Short(None)),
            Some(byte) if *byte == dialect.delimiter => at += 1,
            Some(b'\n') => return Ok(Split { content: at, whole: at + 1, lines: lines + 1 }),
            Some(b'\r') => {
                let whole = match window.get(at + 1) {
                    Some(b'\n') => at + 2,
                    None if !ended => return Err(Broken::Short(None)),
                    Some(_) | None => at + 1,
                };
                return Ok(Split { content: at, whole, lines: lines + 1 });
            }
            Some(_) => return Err(Broken::AfterQuote(at)),
        }
    }
}

/// The first delimiter or line end, or the window's end.
#[inline]
fn unquoted_end(window: &[u8], from: usize, delimiter: u8) -> usize {
    // Most fields are shorter than what makes a search worth its start.
    const SHORT: usize = 16;
    let rest = &window[from..];
    let (near, far) = rest.split_at(rest.len().min(SHORT));
    if let Some(at) = near.iter().position(|&byte| byte == delimiter || byte == b'\n' || byte == b'\r') {
        return from + at;
    }
    from + near.len() + memchr::memchr3(delimiter, b'\n', b'\r', far).unwrap_or(far.len())
}

/// Where the quote that opens at `open` is closed, and whether an escaped quote stands before that.
fn quoted_end(dialect: &Dialect, window: &[u8], open: usize, ended: bool) -> Result<(usize, bool), Broken> {
    let quote = window[open];
    let escape = dialect.escape.filter(|escape| *escape != quote);
    let unfinished = || if ended { Broken::Unclosed(open) } else { Broken::Short(Some(open)) };
    let (mut at, mut escaped) = (open + 1, false);
    loop {
        let rest = window.get(at..).ok_or_else(unfinished)?;
        at += memchr::memchr2(quote, escape.unwrap_or(quote), rest).ok_or_else(unfinished)?;
        let next = window.get(at + 1).copied();
        if Some(window[at]) == escape {
            let next = next.ok_or_else(unfinished)?;
            let escapes = next == quote || Some(next) == escape;
            escaped |= escapes;
            at += if escapes { 2 } else { 1 };
        } else if escape.is_none() && next == Some(quote) {
            escaped = true;
            at += 2;
        } else if next.is_none() && !ended {
            return Err(Broken::Short(Some(open)));
        } else {
            return Ok((at, escaped));
        }
    }
}

impl Dialect {
    /// The field's text in its record; what is escaped comes from the buffer.
    #[inline]
    pub(super) fn unescape<'a>(&self, field: Field, record: &'a str, buffer: &'a mut String) -> &'a str {
        let text = &record[field.range()];
        if field.escaped { self.unescape_into(text, buffer) } else { text }
    }

    fn unescape_into<'a>(&self, mut text: &str, buffer: &'a mut String) -> &'a str {
        buffer.clear();
        let quote = char::from(self.quote.unwrap_or(b'"'));
        let escape = self.escape.map_or(quote, char::from);
        while let Some(at) = text.find(escape) {
            buffer.push_str(&text[..at]);
            text = &text[at + 1..];
            // An escape that escapes nothing stands for itself.
            match text.chars().next() {
                Some(next) if next == quote || next == escape => {
                    buffer.push(next);
                    text = &text[1..];
                }
                _ => buffer.push(escape),
            }
        }
        buffer.push_str(text);
        buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::{RECORD_LIMIT, tests::Slice};
    use proptest::prelude::*;

    const PLAIN: Dialect = Dialect { delimiter: b',', quote: Some(b'"'), escape: None, comment: None };

    /// Every record: its line and fields, quoted ones between quotes; then what stopped the reading.
    fn records(dialect: Dialect, text: &str, block: usize) -> (Vec<(u64, Vec<String>)>, Option<String>) {
        let mut records = Records::new(Blocks::new(Box::new(Slice::new(text.as_bytes())), block, RECORD_LIMIT), dialect);
        let mut all = Vec::new();
        loop {
            match records.next() {
                Ok(false) => return (all, None),
                Err(fault) => return (all, Some(format!("{:?} {}:{}", fault.what, fault.line, fault.character))),
                Ok(true) => {
                    let record = std::str::from_utf8(records.record()).unwrap();
                    let fields = records.fields.iter().map(|field| {
                        let mut buffer = String::new();
                        let text = dialect.unescape(*field, record, &mut buffer).to_owned();
                        if field.quoted { format!("<{text}>") } else { text }
                    });
                    all.push((records.line, fields.collect()));
                }
            }
        }
    }

    fn check(dialect: Dialect, text: &str, expected: &[(u64, &[&str])], fault: Option<&str>) {
        for block in [1, 2, 3, 7, 1 << 16] {
            let (all, stopped) = records(dialect, text, block);
            let all: Vec<(u64, Vec<&str>)> =
                all.iter().map(|(line, fields)| (*line, fields.iter().map(String::as_str).collect())).collect();
            let expected: Vec<(u64, Vec<&str>)> = expected.iter().map(|(line, fields)| (*line, fields.to_vec())).collect();
            assert_eq!((all, stopped.as_deref()), (expected, fault), "{text:?}, block {block}");
        }
    }

    #[test]
    fn splits() {
        check(PLAIN, "", &[], None);
        check(PLAIN, "a,b\n1,2", &[(1, &["a", "b"]), (2, &["1", "2"])], None);
        check(PLAIN, "a\r\nb\rc\n\n\rd\r", &[(1, &["a"]), (2, &["b"]), (3, &["c"]), (6, &["d"])], None);
        check(PLAIN, ",\n\"\",\n", &[(1, &["", ""]), (2, &["<>", ""])], None);
        check(PLAIN, "\"a\r\nb\rc\",\"d\"\"e\"\nf", &[(1, &["<a\r\nb\rc>", "<d\"e>"]), (4, &["f"])], None);
        check(PLAIN, " \"a\",b\"c\n", &[(1, &[" \"a\"", "b\"c"])], None);
        check(PLAIN, "a,\0,\u{feff}", &[(1, &["a", "\0", "\u{feff}"])], None);
        check(PLAIN, "\u{feff}a\n", &[(1, &["a"])], None);
        check(PLAIN, "\"\"\"\"", &[(1, &["<\">"])], None);
    }

    #[test]
    fn refuses() {
        check(PLAIN, "a\n\"b\"c\n", &[(1, &["a"])], Some("AfterQuote 2:4"));
        check(PLAIN, "a\nü,\"b\n\nc", &[(1, &["a"])], Some("Unclosed 2:3"));
        check(PLAIN, "\"a\n\" ,b", &[], Some("AfterQuote 2:2"));
        let wide = ",".repeat(FIELD_LIMIT);
        assert_eq!(records(PLAIN, &wide, 1 << 20).1.as_deref(), Some("TooManyFields 1:1"));
        assert_eq!(records(PLAIN, &wide[1..], 1 << 20).1, None);
    }

    #[test]
    fn dialects() {
        let escape = Dialect { escape: Some(b'\\'), comment: Some(b'#'), delimiter: b';', ..PLAIN };
        check(escape, "#x\n\"a\\\"b\\\\\\n\";c\\\n#\n\n1;#", &[(2, &["<a\"b\\\\n>", "c\\"]), (5, &["1", "#"])], None);
        check(escape, "\"a\"\"b\"", &[], Some("AfterQuote 1:4"));
        check(escape, "\"a\\", &[], Some("Unclosed 1:1"));
        let bare = Dialect { quote: None, ..PLAIN };
        check(bare, "\"a,b\"\n", &[(1, &["\"a", "b\""])], None);
    }

    #[test]
    fn blank_lines_may_count() {
        let mut records = Records::new(Blocks::new(Box::new(Slice::new(b"a\n\nb\n")), 2, RECORD_LIMIT), PLAIN);
        records.keep_blank = true;
        let mut lines = Vec::new();
        while records.next().unwrap() {
            lines.push((records.line, records.record().len()));
        }
        assert_eq!(lines, [(1, 1), (2, 0), (3, 1)]);
    }

    /// The plain way: one character after the other.
    fn naive(text: &str) -> Option<Vec<Vec<String>>> {
        let mut records = Vec::new();
        let (mut record, mut field, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c == '"' && field.is_empty() && !quoted {
                (quoted, any) = (true, true);
                loop {
                    match chars.next()? {
                        '"' if chars.peek() == Some(&'"') => field.push(chars.next()?),
                        '"' => break,
                        other => field.push(other),
                    }
                }
                if !matches!(chars.peek(), None | Some(',' | '\n' | '\r')) {
                    return None;
                }
            } else if matches!(c, ',' | '\n' | '\r') {
                let text = std::mem::take(&mut field);
                record.push(if std::mem::take(&mut quoted) { format!("<{text}>") } else { text });
                any |= c == ',' || !record[0].is_empty();
                if c == ',' {
                    continue;
                }
                if c == '\r' && chars.peek() == Some(&'\n') {
                    chars.next();
                }
                let record = std::mem::take(&mut record);
                if std::mem::take(&mut any) {
                    records.push(record);
                }
            } else {
                field.push(c);
                any = true;
            }
        }
        if any {
            record.push(if quoted { format!("<{field}>") } else { field });
            records.push(record);
        }
        Some(records)
    }

    proptest! {
        #[test]
        fn splits_as_the_plain_way_does(text in "([ab\"ü,]|\r|\n|\"\"|,\"|\",|\r\n|\"\n){0,40}", block in 1usize..20) {
            let (all, stopped) = records(PLAIN, &text, block);
            let all = stopped.is_none().then(|| all.into_iter().map(|(_, fields)| fields).collect::<Vec<_>>());
            prop_assert_eq!(all, naive(&text));
        }

        #[test]
        fn reads_what_is_written(rows in prop::collection::vec(prop::collection::vec("[a\"ü,\r\n]{0,5}", 2..4), 0..6), block in 1usize..30) {
            let quoted = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
            let lines = rows.iter().map(|row| row.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n");
            let (all, stopped) = records(PLAIN, &lines.collect::<String>(), block);
            prop_assert_eq!(stopped, None);
            let all: Vec<Vec<String>> = all.into_iter().map(|(_, fields)| fields).collect();
            let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|field| format!("<{field}>")).collect()).collect();
            prop_assert_eq!(all, rows);
        }
    }
}

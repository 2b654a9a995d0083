//! Scans the JSON text of one object, strictly, without building values: what stands where.

/// How deep values may be nested.
const DEPTH_LIMIT: usize = 128;

/// Floats that are no JSON.
const WORDS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];

/// What is wrong, at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) at: usize,
    pub(super) what: &'static str,
}

/// A value, or a key: where its text stands. A string's quotes are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) kind: Kind,
    pub(super) start: usize,
    end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    String { escaped: bool },
    Nested,
}

impl Value {
    /// Where the value begins, its quote included.
    pub(super) fn from(self) -> usize {
        self.start - usize::from(matches!(self.kind, Kind::String { .. }))
    }

    /// The value's text; a string that holds escapes is decoded into the buffer.
    pub(super) fn text<'a>(self, line: &'a str, buffer: &'a mut String) -> &'a str {
        let text = &line[self.start..self.end];
        if self.kind != (Kind::String { escaped: true }) {
            return text;
        }
        buffer.clear();
        unescape(text, buffer);
        buffer
    }
}

/// A position in a text.
pub(super) struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

type Scanned<T> = Result<T, Malformed>;

impl<'a> Scan<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { text: line.as_bytes(), at: 0 }
    }

    /// Goes into the object; whether it has a key.
    pub(super) fn open_object(&mut self) -> Scanned<bool> {
        self.skip_blanks();
        self.expect(b'{', "`{` is expected here")?;
        self.skip_blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(false);
        }
        Ok(true)
    }

    /// The key, and goes to its value.
    pub(super) fn key(&mut self) -> Scanned<Value> {
        self.skip_blanks();
        if self.peek() != Some(b'"') {
            return self.refuse("a key in double quotes is expected here");
        }
        let key = self.string()?;
        self.skip_blanks();
        self.expect(b':', "`:` is expected here")?;
        Ok(key)
    }

    /// After a value: whether another key follows.
    pub(super) fn next_key(&mut self) -> Scanned<bool> {
        self.skip_blanks();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(b'}') => {
                self.at += 1;
                Ok(false)
            }
            _ => self.refuse("`,` or `}` is expected here"),
        }
    }

    /// After the object: nothing follows.
    pub(super) fn end(&mut self) -> Scanned<()> {
        self.skip_blanks();
        if self.at < self.text.len() { self.refuse("more follows after the object") } else { Ok(()) }
    }

    /// The words that Python and others write for floats that JSON has no words for are numbers, but not within values.
    pub(super) fn value(&mut self) -> Scanned<Value> {
        self.skip_blanks();
        let start = self.at;
        match self.peek() {
            Some(b'{' | b'[') => self.nested(),
            Some(b'N' | b'I' | b'-') => match WORDS.into_iter().find(|word| self.text[start..].starts_with(word)) {
                Some(word) => {
                    self.at += word.len();
                    Ok(Value { kind: Kind::Number, start, end: self.at })
                }
                None => self.scalar(),
            },
            Some(_) | None => self.scalar(),
        }
    }

    fn scalar(&mut self) -> Scanned<Value> {
        let start = self.at;
        let kind = match self.peek() {
            Some(b'"') => return self.string(),
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
                Kind::Number
            }
            Some(b'n') => self.literal(b"null", Kind::Null)?,
            Some(b't') => self.literal(b"true", Kind::Bool)?,
            Some(b'f') => self.literal(b"false", Kind::Bool)?,
            Some(b'N' | b'I') => return self.refuse("`NaN` and `Infinity` are no JSON values; write `null`"),
            Some(_) | None => return self.refuse("a value is expected here"),
        };
        Ok(Value { kind, start, end: self.at })
    }

    /// An object or a list, checked through and through.
    fn nested(&mut self) -> Scanned<Value> {
        let start = self.at;
        // The closing brackets that are due.
        let mut due = Vec::new();
        loop {
            self.skip_blanks();
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    if due.len() == DEPTH_LIMIT {
                        return self.refuse("values are nested too deep");
                    }
                    let close = if open == b'{' { b'}' } else { b']' };
                    self.at += 1;
                    self.skip_blanks();
                    if self.peek() != Some(close) {
                        due.push(close);
                        if close == b'}' {
                            self.key()?;
                        }
                        continue;
                    }
                    self.at += 1;
                }
                Some(_) | None => {
                    self.scalar()?;
                }
            }
            // A value is complete: close what ends with it, or go to the next one.
            loop {
                let Some(close) = due.last().copied() else {
                    return Ok(Value { kind: Kind::Nested, start, end: self.at });
                };
                self.skip_blanks();
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if close == b'}' {
                            self.key()?;
                        }
                        break;
                    }
                    Some(byte) if byte == close => {
                        self.at += 1;
                        due.pop();
                    }
                    Some(_) | None => return self.refuse("`,` or a closing bracket is expected here"),
                }
            }
        }
    }

    fn string(&mut self) -> Scanned<Value> {
        let start = self.at + 1;
        let mut escaped = false;
        self.at = start;
        loop {
            let special = self.text[self.at..].iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20);
            self.at += special.unwrap_or(self.text.len() - self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Value { kind: Kind::String { escaped }, start, end: self.at - 1 });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.refuse("control characters in strings are escaped"),
                None => return Err(Malformed { at: start - 1, what: "the string that begins here does not end" }),
            }
        }
    }

    fn escape(&mut self) -> Scanned<()> {
        const WHAT: &str = "not an escape that JSON knows";
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let rest = &self.text[self.at..];
                let (_, length) = unicode(rest).ok_or(Malformed { at: self.at, what: "not a Unicode escape" })?;
                self.at += length;
                Ok(())
            }
            Some(_) | None => self.refuse(WHAT),
        }
    }

    fn number(&mut self) -> Scanned<()> {
        const WHAT: &str = "not a JSON number";
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let whole = self.at;
        let mut good = self.digits() > 0 && (self.text[whole] != b'0' || self.at == whole + 1);
        if self.peek() == Some(b'.') {
            self.at += 1;
            good &= self.digits() > 0;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            good &= self.digits() > 0;
        }
        if good { Ok(()) } else { Err(Malformed { at: start, what: WHAT }) }
    }

    fn digits(&mut self) -> usize {
        let count = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn literal(&mut self, word: &[u8], kind: Kind) -> Scanned<Kind> {
        if !self.text[self.at..].starts_with(word) {
            return self.refuse("a value is expected here");
        }
        self.at += word.len();
        Ok(kind)
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Scanned<()> {
        if self.peek() != Some(byte) {
            return self.refuse(what);
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn refuse<T>(&self, what: &'static str) -> Scanned<T> {
        Err(Malformed { at: self.at, what })
    }
}

/// How deep within an object its text is, as far as it has been seen. Brackets are not matched: where the text is no
/// JSON, the scan tells.
#[derive(Default)]
pub(super) struct Depth {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Depth {
    /// Goes through more of the text: where the object ends in it.
    pub(super) fn end(&mut self, text: &[u8]) -> Option<usize> {
        for (at, byte) in text.iter().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => self.depth += 1,
                b'}' | b']' if !self.in_string => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// The character of the `\uXXXX` that the text begins with, or of the two that make one, and its length.
fn unicode(text: &[u8]) -> Option<(char, usize)> {
    let unit = |text: &[u8]| -> Option<u32> {
        let digits = text.strip_prefix(b"\\u")?.get(..4)?;
        digits.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))
    };
    let first = unit(text)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, 6));
    }
    let second = unit(&text[6..]).filter(|second| (0xdc00..0xe000).contains(second))?;
    Some((char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))?, 12))
}

/// Decodes a string that has been scanned.
fn unescape(mut text: &str, buffer: &mut String) {
    while let Some(at) = text.find('\\') {
        buffer.push_str(&text[..at]);
        let rest = &text[at..];
        let (c, length) = match rest.as_bytes().get(1) {
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            Some(b'u') => unicode(rest.as_bytes()).unwrap_or_else(|| unreachable!("the scan has checked the escape")),
            Some(other) => (char::from(*other), 2),
            None => unreachable!("the scan has checked the escape"),
        };
        buffer.push(c);
        text = &rest[length..];
    }
    buffer.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The object's keys and values as text.
    fn scan(line: &str) -> Scanned<Vec<(String, Kind, String)>> {
        let (mut scan, mut pairs, mut buffer) = (Scan::new(line), Vec::new(), String::new());
        let mut more = scan.open_object()?;
        while more {
            let key = scan.key()?.text(line, &mut buffer).to_owned();
            let value = scan.value()?;
            pairs.push((key, value.kind, value.text(line, &mut buffer).to_owned()));
            more = scan.next_key()?;
        }
        scan.end()?;
        Ok(pairs)
    }

    #[test]
    fn objects() {
        let check = |line: &str, expected: &[(&str, Kind, &str)]| {
            let expected = expected.iter().map(|(key, kind, text)| ((*key).to_owned(), *kind, (*text).to_owned())).collect();
            assert_eq!(scan(line), Ok(expected), "{line}");
        };
        let (plain, escaped) = (Kind::String { escaped: false }, Kind::String { escaped: true });
        check(" { } \r", &[]);
        check(r#"{"a":1.50e+2,"b":null,"":true}"#, &[("a", Kind::Number, "1.50e+2"), ("b", Kind::Null, "null"), ("", Kind::Bool, "true")]);
        check(r#"{ "a\u0041\ud83d\ude00" : "x\n\"\/é" , "b":"" }"#, &[("aA😀", escaped, "x\n\"/é"), ("b", plain, "")]);
        check(r#"{"a":NaN,"b":-Infinity}"#, &[("a", Kind::Number, "NaN"), ("b", Kind::Number, "-Infinity")]);
        check(r#"{"a":[1, {"b":[]}, {}],"c":-0}"#, &[("a", Kind::Nested, r#"[1, {"b":[]}, {}]"#), ("c", Kind::Number, "-0")]);
    }

    #[test]
    fn refuses() {
        let check = |line: &str, at: usize| assert_eq!(scan(line).map_err(|error| error.at), Err(at), "{line}");
        check("[1]", 0);
        check(r#"{"a":1"#, 6);
        check(r#"{"a":1,}"#, 7);
        check(r#"{"a":01}"#, 5);
        check(r#"{"a":1.}"#, 5);
        check(r#"{"a":[NaN]}"#, 6);
        check(r#"{"a":NaNs}"#, 8);
        check(r#"{"a":None}"#, 5);
        check(r#"{"a":"x}"#, 5);
        check("{\"a\":\"\t\"}", 6);
        check(r#"{"a":"\ud83d"}"#, 6);
        check(r#"{"a":"\x"}"#, 6);
        check(r#"{"a":1} {"#, 8);
        check(r#"{"a":[1,]}"#, 8);
        check(r#"{"a":{"b"}}"#, 9);
        check(r#"{a:1}"#, 1);
        let deep = format!("{{\"a\":{}", "[".repeat(1_000_000));
        check(&deep, 5 + DEPTH_LIMIT);
    }

    proptest! {
        #[test]
        fn accepts_what_serde_json_accepts(inner in r#"([\[\]{}:,"0-9eE.+ -]|"a":|"é\\n"|\\u00e9|\\ud83d|\\ude00|null|true|\[1,){0,12}"#) {
            let line = format!("{{\"k\":{inner}}}");
            let theirs = serde_json::from_str::<serde_json::Value>(&line);
            prop_assert_eq!(scan(&line).is_ok(), theirs.is_ok(), "{}: {:?}", line, theirs);
        }

        #[test]
        fn reads_the_strings_serde_json_writes(text in any::<String>()) {
            let line = serde_json::json!({ text.clone(): text }).to_string();
            let pairs = scan(&line).unwrap();
            prop_assert_eq!((&pairs[0].0, &pairs[0].2), (&text, &text));
        }
    }
}

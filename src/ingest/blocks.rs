//! A window over a stream of text that grows only as far as one record needs.

use crate::open::{Bytes, ReadFault};

/// How much text is read at a time.
pub(crate) const BLOCK: usize = 1 << 20;

/// How long one record may be.
pub(crate) const RECORD_LIMIT: usize = 64 << 20;

/// A stream of text, seen through a window that begins where the next record does.
pub(crate) struct Blocks {
    source: Box<dyn Bytes>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    /// Met while reading ahead; told when the text before it is used up.
    fault: Option<ReadFault>,
    limit: usize,
}

impl Blocks {
    /// Leaves out a UTF-8 byte order mark.
    pub(crate) fn new(source: Box<dyn Bytes>, block: usize, limit: usize) -> Self {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        let mut blocks = Self { source, buffer: vec![0; block], start: 0, end: 0, ended: false, fault: None, limit };
        while blocks.window().len() < MARK.len() && MARK.starts_with(blocks.window()) && !blocks.ended {
            if let Err(fault) = blocks.more() {
                blocks.fault = Some(fault);
                break;
            }
        }
        if blocks.window().starts_with(MARK) {
            blocks.advance(MARK.len());
        }
        blocks
    }

    pub(crate) fn window(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Nothing follows the window.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn advance(&mut self, count: usize) {
        self.start += count;
    }

    /// Makes the window longer, unless the stream has ended.
    pub(crate) fn more(&mut self) -> Result<(), ReadFault> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if self.ended {
            return Ok(());
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            if self.end >= self.limit {
                return Err(ReadFault::TooLong);
            }
            self.buffer.resize((self.end * 2).min(self.limit), 0);
        }
        let before = self.end;
        while self.end < self.buffer.len() && !self.ended {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(count) => self.end += count,
                Err(fault) if self.end == before => return Err(fault),
                Err(fault) => {
                    self.fault = Some(fault);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Makes the window begin with a whole line: the length of the line, and with its ending. `None` at the end.
    /// Lines end with `\n` alone.
    pub(crate) fn line(&mut self) -> Result<Option<(usize, usize)>, ReadFault> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', self.window()) {
                return Ok(Some((at, at + 1)));
            }
            if self.ended {
                let rest = self.window().len();
                return Ok((rest > 0).then_some((rest, rest)));
            }
            self.more()?;
        }
    }

    /// Leaves out everything up to the end of the line, which may be `\n`, `\r\n` or `\r`.
    pub(crate) fn skip_line(&mut self) -> Result<(), ReadFault> {
        loop {
            let window = self.window();
            let (count, whole) = match memchr::memchr2(b'\n', b'\r', window) {
                Some(at) if window[at..].starts_with(b"\r\n") => (at + 2, true),
                // Whether `\n` follows a `\r` shows only in what comes after it.
                Some(at) if window[at..] == *b"\r" && !self.ended => (at, false),
                Some(at) => (at + 1, true),
                None => (window.len(), false),
            };
            self.advance(count);
            if whole || self.ended {
                return Ok(());
            }
            self.more()?;
        }
    }
}

/// How many line ends stand in the text.
pub(crate) fn line_ends(text: &[u8]) -> u64 {
    let ends = memchr::memchr2_iter(b'\n', b'\r', text);
    ends.filter(|&at| text[at] == b'\n' || text.get(at + 1) != Some(&b'\n')).count() as u64
}

/// The line and the character at the end of `before`, a text that begins at the start of the line `line`.
pub(crate) fn place_after(before: &[u8], line: u64) -> (u64, u64) {
    let start = memchr::memrchr2(b'\n', b'\r', before).map_or(0, |at| at + 1);
    let characters = String::from_utf8_lossy(&before[start..]).chars().count() as u64;
    (line + line_ends(before), characters + 1)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Bytes in memory.
    pub(crate) struct Slice(std::io::Cursor<Vec<u8>>);

    impl Slice {
        pub(crate) fn new(bytes: &[u8]) -> Self {
            Self(std::io::Cursor::new(bytes.to_vec()))
        }
    }

    impl Bytes for Slice {
        fn read(&mut self, into: &mut [u8]) -> Result<usize, ReadFault> {
            std::io::Read::read(&mut self.0, into).map_err(ReadFault::Io)
        }
    }

    #[test]
    fn lines_and_marks() {
        for block in 1..9 {
            let text = b"\xef\xbb\xbfone\r\ntwo\rthree\n\nfive";
            let mut blocks = Blocks::new(Box::new(Slice::new(text)), block, RECORD_LIMIT);
            blocks.skip_line().unwrap();
            blocks.skip_line().unwrap();
            let mut lines = Vec::new();
            while let Some((length, whole)) = blocks.line().unwrap() {
                lines.push(String::from_utf8(blocks.window()[..length].to_vec()).unwrap());
                blocks.advance(whole);
            }
            assert_eq!(lines, ["three", "", "five"], "block {block}");
        }
    }

    #[test]
    fn refuses_a_record_past_the_limit() {
        let mut blocks = Blocks::new(Box::new(Slice::new(&[b'x'; 100])), 16, 64);
        assert!(matches!(blocks.line(), Err(ReadFault::TooLong)));
    }

    #[test]
    fn places() {
        assert_eq!(place_after(b"", 7), (7, 1));
        assert_eq!(place_after("a,\"ü\r\nb\rcd".as_bytes(), 7), (9, 3));
        assert_eq!(line_ends(b"\r\n\r\n\n\r"), 4);
    }
}

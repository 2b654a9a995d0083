//! Decodes text of other encodings to UTF-8, strictly: a malformed sequence is a fault, never a replacement character.

use encoding_rs::{Decoder, DecoderResult, Encoding};

use crate::open::{Bytes, ReadFault};

const CHUNK: usize = 1 << 16;

/// A decoded stream. A byte order mark of the encoding is left out.
pub(crate) struct Decoding<B> {
    source: B,
    encoding: &'static Encoding,
    decoder: Decoder,
    /// Bytes read and not decoded yet: `input[taken..filled]`.
    input: Vec<u8>,
    taken: usize,
    filled: usize,
    ended: bool,
    /// Text decoded and not given away yet: `output[given..ready]`.
    output: Vec<u8>,
    given: usize,
    ready: usize,
    finished: bool,
    malformed: bool,
}

impl<B: Bytes> Decoding<B> {
    pub(crate) fn new(source: B, encoding: &'static Encoding) -> Self {
        Self {
            source,
            encoding,
            decoder: encoding.new_decoder_with_bom_removal(),
            input: vec![0; CHUNK],
            taken: 0,
            filled: 0,
            ended: false,
            output: vec![0; CHUNK],
            given: 0,
            ready: 0,
            finished: false,
            malformed: false,
        }
    }

    fn decode(&mut self) -> Result<(), ReadFault> {
        if self.taken == self.filled && !self.ended {
            (self.taken, self.filled) = (0, self.source.read(&mut self.input)?);
            self.ended = self.filled == 0;
        }
        let input = &self.input[self.taken..self.filled];
        let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(input, &mut self.output, self.ended);
        self.taken += read;
        (self.given, self.ready) = (0, written);
        match result {
            DecoderResult::InputEmpty => self.finished = self.ended,
            DecoderResult::OutputFull => {}
            // What was decoded before it is given away first, so that the fault has its place.
            DecoderResult::Malformed(..) => self.malformed = true,
        }
        Ok(())
    }
}

impl<B: Bytes> Bytes for Decoding<B> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, ReadFault> {
        while self.given == self.ready {
            if self.malformed {
                return Err(ReadFault::Malformed { encoding: self.encoding.name() });
            }
            if self.finished {
                return Ok(0);
            }
            self.decode()?;
        }
        let count = into.len().min(self.ready - self.given);
        into[..count].copy_from_slice(&self.output[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::tests::Slice;

    fn decoded(label: &str, bytes: &[u8]) -> (String, bool) {
        let encoding = Encoding::for_label(label.as_bytes()).unwrap();
        let mut decoding = Decoding::new(Slice::new(bytes), encoding);
        let (mut all, mut some) = (Vec::new(), [0; 3]);
        loop {
            match decoding.read(&mut some) {
                Ok(0) => return (String::from_utf8(all).unwrap(), true),
                Ok(count) => all.extend(&some[..count]),
                Err(_) => return (String::from_utf8(all).unwrap(), false),
            }
        }
    }

    #[test]
    fn decodes_or_refuses() {
        assert_eq!(decoded("latin1", b"caf\xe9"), ("café".to_owned(), true));
        assert_eq!(decoded("utf-16le", b"\xff\xfea\0\xac\x20"), ("a€".to_owned(), true));
        assert_eq!(decoded("utf-16be", b"\0a\xd8\0\0b"), ("a".to_owned(), false));
        assert_eq!(decoded("utf-16le", b"a\0b"), ("a".to_owned(), false));
        assert_eq!(decoded("shift_jis", b"\x83\x65\x83"), ("テ".to_owned(), false));
        let long = "ß".repeat(100_000);
        assert_eq!(decoded("windows-1252", &vec![0xdf; 100_000]), (long, true));
    }
}

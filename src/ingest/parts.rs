//! Reads the parts of a binary file whose lengths the file tells. A length is believed only as far as bytes follow.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    open::{Bytes, open_binary},
    problem::{DataProblem, shown},
    spec::SourceFile,
};

/// How much is read at a time.
const BLOCK: usize = 1 << 18;

/// A binary file, read from its first byte to its last.
pub(crate) struct Parts {
    name: String,
    /// How messages call the format, with its article.
    format: &'static str,
    /// The most bytes of a part, compressed or not: so much of the file must be in memory at once.
    pub(crate) limit: usize,
    bytes: Box<dyn Bytes>,
    buffer: Vec<u8>,
    /// Read and not taken yet: `buffer[taken..filled]`.
    taken: usize,
    filled: usize,
    read: Arc<AtomicU64>,
}

impl Parts {
    pub(crate) fn open(file: &SourceFile, format: &'static str, limit: usize) -> Result<Self, DataProblem> {
        let opened = open_binary(file)?;
        let (name, buffer) = (file.name.clone(), vec![0; BLOCK]);
        Ok(Self { name, format, limit, bytes: opened.bytes, buffer, taken: 0, filled: 0, read: opened.read })
    }

    /// Whether no byte follows.
    pub(crate) fn ended(&mut self) -> Result<bool, DataProblem> {
        if self.taken == self.filled {
            self.taken = 0;
            self.filled = 0;
            self.filled = self.bytes.read(&mut self.buffer).map_err(|fault| fault.problem(&self.name))?;
        }
        Ok(self.filled == 0)
    }

    /// As many bytes as are asked for, or all that follow if that is less.
    pub(crate) fn up_to(&mut self, count: usize) -> Result<Vec<u8>, DataProblem> {
        let mut part = Vec::new();
        while part.len() < count && !self.ended()? {
            let some = (self.filled - self.taken).min(count - part.len());
            part.extend_from_slice(&self.buffer[self.taken..self.taken + some]);
            self.taken += some;
        }
        Ok(part)
    }

    /// The next bytes, of a length that the file tells.
    pub(crate) fn part(&mut self, length: i64) -> Result<Vec<u8>, DataProblem> {
        let Ok(length) = usize::try_from(length) else { return Err(self.damaged("a length in it is negative")) };
        if length > self.limit {
            return Err(self.too_long());
        }
        let part = self.up_to(length)?;
        if part.len() < length { Err(self.cut_short()) } else { Ok(part) }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DataProblem> {
        self.up_to(N)?.try_into().map_err(|_| self.cut_short())
    }

    /// How many bytes of the file itself have been read.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(crate) fn cut_short(&self) -> DataProblem {
        self.damaged("it ends in the middle")
    }

    pub(crate) fn damaged(&self, why: &str) -> DataProblem {
        let message = format!("not {} file, or damaged or cut short: {}", self.format, shown(why));
        DataProblem::new("qetl::ingest::corrupt", &self.name, message).help("write or copy the file again; `format` names another format")
    }

    /// A batch of rows that is too large to be read.
    pub(crate) fn too_long(&self) -> DataProblem {
        let message = format!("a batch of its rows is longer than {} MiB, or the file is damaged", self.limit >> 20);
        DataProblem::new("qetl::ingest::too_long", &self.name, message).help("write the file again, with fewer rows in a batch")
    }
}

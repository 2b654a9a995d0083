//! The messages of an Arrow file: dictionaries and batches of rows.
//!
//! A stream has them one behind the other, after its schema. A file also has a footer at its end, with the schema and
//! the place of each message; what stands before the first one is not read, for some writers leave it incomplete.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    vec,
};

use arrow::{buffer::Buffer, datatypes::Schema, error::ArrowError};
use arrow_ipc::{Block, CompressionType, RecordBatch, convert::fb_to_schema, root_as_footer, root_as_message};

use crate::{
    parts::Parts,
    problem::DataProblem,
    spec::SourceFile,
    typed::{guarded, words},
};

/// Begins each message of a stream.
const MARK: [u8; 4] = [0xff; 4];

/// Stands at the beginning and the end of a file.
const MAGIC: [u8; 6] = *b"ARROW1";

/// The most bytes of a batch: some writers make one batch of a whole table.
pub(super) const BATCH_LIMIT: usize = 1 << 30;

pub(super) struct Messages {
    pub(super) parts: Parts,
    /// Those of a file; `None`: a stream.
    blocks: Option<Blocks>,
}

/// The messages that a footer tells of: dictionaries first, for they may stand anywhere.
struct Blocks {
    source: File,
    name: String,
    size: u64,
    left: vec::IntoIter<Block>,
    read: u64,
}

pub(super) struct Message {
    head: Vec<u8>,
    pub(super) body: Buffer,
}

/// Why a message cannot be read.
pub(super) enum Fault {
    Damaged(String),
    TooLong,
}

impl From<ArrowError> for Fault {
    fn from(error: ArrowError) -> Self {
        Fault::Damaged(words(&error))
    }
}

impl Fault {
    pub(super) fn damaged(why: &str) -> Self {
        Fault::Damaged(why.to_owned())
    }
}

impl Messages {
    /// The file, and its schema.
    pub(super) fn open(file: &SourceFile) -> Result<(Self, Schema), DataProblem> {
        let mut parts = Parts::open(file, "an Arrow", BATCH_LIMIT)?;
        let magic = parts.up_to(MARK.len())?;
        if magic == *b"FEA1" {
            let message = "the file is of the first version of Feather, which is not Arrow's format";
            return Err(DataProblem::new("qetl::ingest::format", &file.name, message).help("write it as Feather version 2, or as Parquet"));
        }
        if magic == MAGIC[..MARK.len()] {
            let (blocks, schema) = Blocks::open(file, &parts)?;
            return Ok((Self { parts, blocks: Some(blocks) }, schema));
        }
        if magic != MARK {
            return Err(parts.damaged("it does not begin as one"));
        }
        let mut messages = Self { parts, blocks: None };
        let Some(first) = messages.message()? else { return Err(messages.parts.damaged("it has no schema")) };
        let schema = first.read(|message| schema(message.header_as_schema()));
        let schema = schema.map_err(|fault| messages.problem(fault))?;
        Ok((messages, schema))
    }

    /// The next message; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Message>, DataProblem> {
        if let Some(blocks) = &mut self.blocks {
            return blocks.next(&self.parts);
        }
        if self.parts.ended()? {
            return Err(self.parts.damaged("the mark of its end is missing"));
        }
        if self.parts.array()? != MARK {
            return Err(self.parts.damaged("a message does not begin as one"));
        }
        let message = self.message()?;
        if message.is_none() && !self.parts.ended()? {
            return Err(self.parts.damaged("more follows after its end"));
        }
        Ok(message)
    }

    /// The message of a stream, behind its mark; `None` at the end mark.
    fn message(&mut self) -> Result<Option<Message>, DataProblem> {
        let length = i32::from_le_bytes(self.parts.array()?);
        if length == 0 {
            return Ok(None);
        }
        let head = self.parts.part(i64::from(length))?;
        let length = root_as_message(&head).map(|root| root.bodyLength());
        let length = length.map_err(|error| self.parts.damaged(&format!("a message is malformed: {error}")))?;
        let body = Buffer::from_vec(self.parts.part(length)?);
        Ok(Some(Message { head, body }))
    }

    /// How many bytes of the file have been read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.blocks.as_ref().map_or_else(|| self.parts.bytes_read(), |blocks| blocks.read)
    }

    pub(super) fn problem(&self, fault: Fault) -> DataProblem {
        match fault {
            Fault::Damaged(why) => self.parts.damaged(&why),
            Fault::TooLong => self.parts.too_long(),
        }
    }
}

impl Blocks {
    fn open(file: &SourceFile, parts: &Parts) -> Result<(Self, Schema), DataProblem> {
        let unreadable = |error: io::Error| DataProblem::unreadable(&file.name, &error);
        let source = File::open(&file.path).map_err(unreadable)?;
        let size = source.metadata().map_err(unreadable)?.len();
        let mut blocks = Self { source, name: file.name.clone(), size, left: Vec::new().into_iter(), read: 0 };
        if blocks.bytes(0, MAGIC.len() as u64, parts)? != MAGIC {
            return Err(DataProblem::new("qetl::ingest::format", &file.name, "an Arrow file stands inside gzip or zstd")
                .help("unpack it: Arrow files compress by themselves"));
        }
        const END: u64 = 4 + MAGIC.len() as u64;
        let end = blocks.bytes(size.saturating_sub(END), END, parts)?;
        let length = end.strip_suffix(&MAGIC).and_then(|length| Some(i32::from_le_bytes(length.try_into().ok()?)));
        let length = length.and_then(|length| u64::try_from(length).ok());
        let start = length.and_then(|length| Some((size.checked_sub(END + length)?, length)));
        let Some((start, length)) = start else { return Err(parts.damaged("its end is missing")) };
        let footer = blocks.bytes(start, length, parts)?;
        let read = guarded(|| {
            let footer = root_as_footer(&footer).map_err(|error| Fault::Damaged(format!("its footer is malformed: {error}")))?;
            let all = footer.dictionaries().into_iter().flatten().chain(footer.recordBatches().into_iter().flatten());
            Ok((all.copied().collect::<Vec<_>>(), schema(footer.schema())?))
        });
        match read.unwrap_or_else(|| Err(Fault::damaged("its footer is malformed"))) {
            Ok((all, schema)) => Ok((Self { left: all.into_iter(), ..blocks }, schema)),
            Err(Fault::Damaged(why)) => Err(parts.damaged(&why)),
            Err(Fault::TooLong) => Err(parts.too_long()),
        }
    }

    fn next(&mut self, parts: &Parts) -> Result<Option<Message>, DataProblem> {
        let Some(block) = self.left.next() else { return Ok(None) };
        let lengths = (u64::try_from(block.offset()), u64::try_from(block.metaDataLength()), u64::try_from(block.bodyLength()));
        let (Ok(start), Ok(head_length), Ok(body_length)) = lengths else { return Err(parts.damaged("a length in it is negative")) };
        let mut head = self.bytes(start, head_length, parts)?;
        // Before the message stand its mark, which old writers left out, and its length.
        let prefix = if head.starts_with(&MARK) { 8 } else { 4 };
        head.drain(..prefix.min(head.len()));
        let body = Buffer::from_vec(self.bytes(start.saturating_add(head_length), body_length, parts)?);
        self.read = self.read.max(start + head_length + body_length);
        Ok(Some(Message { head, body }))
    }

    /// The bytes at a place of the file.
    fn bytes(&mut self, start: u64, length: u64, parts: &Parts) -> Result<Vec<u8>, DataProblem> {
        if start.checked_add(length).is_none_or(|end| end > self.size) {
            return Err(parts.cut_short());
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= BATCH_LIMIT).ok_or_else(|| parts.too_long())?;
        let mut bytes = vec![0; length];
        let read = self.source.seek(SeekFrom::Start(start)).and_then(|_| self.source.read_exact(&mut bytes));
        read.map_err(|error| DataProblem::unreadable(&self.name, &error)).map(|()| bytes)
    }
}

fn schema(schema: Option<arrow_ipc::Schema<'_>>) -> Result<Schema, Fault> {
    let schema = schema.ok_or_else(|| Fault::damaged("it has no schema"))?;
    if !schema.endianness().equals_to_target_endianness() {
        return Err(Fault::damaged("its numbers are stored in another byte order than this machine's"));
    }
    Ok(fb_to_schema(schema))
}

impl Message {
    /// What a function reads of it; panics of the library are damage.
    pub(super) fn read<T>(&self, read: impl FnOnce(arrow_ipc::Message<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let read = guarded(|| {
            let root = root_as_message(&self.head).map_err(|error| Fault::Damaged(format!("a message is malformed: {error}")))?;
            read(root)
        });
        read.unwrap_or_else(|| Err(Fault::damaged("its parts do not fit together")))
    }

    /// How many bytes a batch's values have in memory, and that it is safe to decompress them: the library believes the
    /// lengths that are told.
    pub(super) fn size(&self, batch: &RecordBatch<'_>) -> Result<usize, Fault> {
        if !(0..=i64::from(i32::MAX)).contains(&batch.length()) {
            return Err(Fault::damaged("a batch has an impossible number of rows"));
        }
        let Some(compression) = batch.compression() else { return Ok(self.body.len()) };
        let mut size = 0_usize;
        for place in batch.buffers().into_iter().flatten() {
            let buffer = usize::try_from(place.offset()).ok().zip(usize::try_from(place.length()).ok());
            let buffer = buffer.and_then(|(start, length)| self.body.get(start..start.checked_add(length)?));
            let buffer = buffer.ok_or_else(|| Fault::damaged("values lie outside their batch"))?;
            let Some((told, values)) = buffer.split_first_chunk() else {
                if buffer.is_empty() {
                    continue;
                }
                return Err(Fault::damaged("compressed values are cut short"));
            };
            let told = i64::from_le_bytes(*told);
            // Stored as they are.
            let plain = told == -1;
            let length = if plain { Ok(values.len()) } else { usize::try_from(told) };
            let length = length.map_err(|_| Fault::damaged("a length in it is negative"))?;
            size = size.saturating_add(length);
            if size > BATCH_LIMIT {
                return Err(Fault::TooLong);
            }
            if compression.codec() == CompressionType::LZ4_FRAME && !plain {
                let mut decoder = lz4_flex::frame::FrameDecoder::new(values).take(length as u64 + 1);
                let found = io::copy(&mut decoder, &mut io::sink());
                if found.ok() != Some(length as u64) {
                    return Err(Fault::damaged("compressed values are damaged, or have another length than is told"));
                }
            }
        }
        Ok(size)
    }
}

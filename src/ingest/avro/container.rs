//! An Avro object container file: a header with the schema, then blocks of rows, each behind its length and, compressed or
//! not, before the file's sync marker.

use std::io::{self, Read};

use crate::{
    parts::Parts,
    problem::{DataProblem, shown},
    spec::SourceFile,
};

const MAGIC: [u8; 4] = *b"Obj\x01";

/// The most bytes of a block. Decoded rows may be some sixteen times as large.
const BLOCK_LIMIT: usize = 64 << 20;

/// How many entries the header may have.
const ENTRY_LIMIT: u64 = 10_000;

/// An opened file, behind its header.
pub(super) struct Container {
    pub(super) parts: Parts,
    pub(super) schema: String,
    codec: Codec,
    sync: [u8; 16],
}

#[derive(Debug, Clone, Copy)]
enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
}

/// Decompressed rows, and how many they are.
pub(super) struct Block {
    pub(super) rows: usize,
    pub(super) data: Vec<u8>,
}

impl Container {
    pub(super) fn open(file: &SourceFile) -> Result<Self, DataProblem> {
        let mut parts = Parts::open(file, "an Avro", BLOCK_LIMIT)?;
        if parts.up_to(MAGIC.len())? != MAGIC {
            return Err(parts.damaged("it does not begin as one"));
        }
        let (mut schema, mut codec, mut entries) = (None, Codec::Null, 0);
        loop {
            let count = long(&mut parts)?;
            if count == 0 {
                break;
            }
            // A negative count is followed by the entries' length.
            if count < 0 {
                long(&mut parts)?;
            }
            for _ in 0..count.unsigned_abs() {
                entries += 1;
                if entries > ENTRY_LIMIT {
                    return Err(parts.damaged("its header is too long"));
                }
                let (key, value) = (bytes(&mut parts)?, bytes(&mut parts)?);
                match key.as_slice() {
                    b"avro.schema" => schema = String::from_utf8(value).ok(),
                    b"avro.codec" => codec = Codec::of(&value, &file.name)?,
                    _ => {}
                }
            }
        }
        let schema = schema.ok_or_else(|| parts.damaged("its header has no schema"))?;
        let sync = parts.array()?;
        Ok(Self { parts, schema, codec, sync })
    }

    /// The next block; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Block>, DataProblem> {
        if self.parts.ended()? {
            return Ok(None);
        }
        let rows = long(&mut self.parts)?;
        let stored = bytes(&mut self.parts)?;
        if self.parts.array()? != self.sync {
            return Err(self.parts.damaged("a block of it does not end where it should"));
        }
        let data = self.codec.decompress(stored).map_err(|fault| match fault {
            Fault::Damaged(why) => self.parts.damaged(&format!("a compressed block: {why}")),
            Fault::TooLong => self.parts.too_long(),
        })?;
        match usize::try_from(rows) {
            // Every row has a byte, or there would be no end of rows from a short file.
            Ok(rows) if rows <= data.len() => Ok(Some(Block { rows, data })),
            _ => Err(self.parts.damaged("a block has an impossible number of rows")),
        }
    }
}

/// A number of as many bytes as it needs: seven bits each, zigzag.
fn long(parts: &mut Parts) -> Result<i64, DataProblem> {
    let mut bits = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = parts.array()?;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            break;
        }
        bits |= part << shift;
        if byte & 0x80 == 0 {
            return Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
        }
    }
    Err(parts.damaged("a number in it is too long"))
}

fn bytes(parts: &mut Parts) -> Result<Vec<u8>, DataProblem> {
    let length = long(parts)?;
    parts.part(length)
}

/// Why a block cannot be decompressed.
enum Fault {
    Damaged(String),
    TooLong,
}

impl Codec {
    fn of(name: &[u8], file: &str) -> Result<Self, DataProblem> {
        match name {
            b"null" => Ok(Codec::Null),
            b"deflate" => Ok(Codec::Deflate),
            b"snappy" => Ok(Codec::Snappy),
            b"zstandard" => Ok(Codec::Zstandard),
            other => {
                let message = format!("is compressed with `{}`, which qetl does not read", shown(&String::from_utf8_lossy(other)));
                Err(DataProblem::new("qetl::ingest::format", file, message).help("write it with `deflate`, `snappy` or `zstandard`"))
            }
        }
    }

    fn decompress(self, stored: Vec<u8>) -> Result<Vec<u8>, Fault> {
        match self {
            Codec::Null => Ok(stored),
            Codec::Deflate => limited(flate2::read::DeflateDecoder::new(stored.as_slice())),
            Codec::Zstandard => limited(zstd::Decoder::new(stored.as_slice()).map_err(damaged)?),
            Codec::Snappy => snappy(&stored),
        }
    }
}

fn limited(reader: impl Read) -> Result<Vec<u8>, Fault> {
    let mut data = Vec::new();
    reader.take(BLOCK_LIMIT as u64 + 1).read_to_end(&mut data).map_err(damaged)?;
    if data.len() > BLOCK_LIMIT { Err(Fault::TooLong) } else { Ok(data) }
}

/// Behind the data stands its checksum.
fn snappy(stored: &[u8]) -> Result<Vec<u8>, Fault> {
    let (data, checksum) = stored.split_last_chunk().ok_or_else(|| Fault::Damaged("it is cut short".to_owned()))?;
    if snap::raw::decompress_len(data).map_err(damaged)? > BLOCK_LIMIT {
        return Err(Fault::TooLong);
    }
    let data = snap::raw::Decoder::new().decompress_vec(data).map_err(damaged)?;
    let mut crc = flate2::Crc::new();
    crc.update(&data);
    if crc.sum() == u32::from_be_bytes(*checksum) { Ok(data) } else { Err(Fault::Damaged("its checksum is wrong".to_owned())) }
}

fn damaged(error: impl Into<io::Error>) -> Fault {
    Fault::Damaged(error.into().to_string())
}

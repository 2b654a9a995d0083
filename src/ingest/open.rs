//! Opens files: decompresses by the first bytes, whatever the file's name says, and decodes text to UTF-8.

use std::{
    fs::File,
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    encoding::Decoding,
    problem::{DataProblem, shown},
    spec::SourceFile,
};

/// A stream of bytes that tells a bad file from a bad disk.
pub(crate) trait Bytes: Send {
    /// Reads some bytes, none only at the end.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, ReadFault>;
}

/// Why no more bytes come.
#[derive(Debug)]
pub(crate) enum ReadFault {
    Io(io::Error),
    /// A compressed stream ends early or is damaged.
    Corrupt {
        compression: &'static str,
        why: String,
    },
    /// The bytes that follow are not text in this encoding.
    Malformed {
        encoding: &'static str,
    },
    /// One record is longer than a record may be.
    TooLong,
}

impl ReadFault {
    /// The problem, without a place in the text.
    pub(crate) fn problem(&self, file: &str) -> DataProblem {
        match self {
            ReadFault::Io(error) => DataProblem::unreadable(file, error),
            ReadFault::Corrupt { compression, why } => {
                DataProblem::new("qetl::ingest::corrupt", file, format!("the {compression} stream is damaged or cut short: {why}"))
                    .help("write or copy the file again")
            }
            ReadFault::Malformed { encoding } => {
                DataProblem::new("qetl::ingest::encoding", file, format!("the bytes here are not {encoding} text"))
                    .help("`encoding` names the file's encoding, such as `encoding = \"windows-1252\"`")
            }
            ReadFault::TooLong => DataProblem::new("qetl::ingest::too_long", file, "a record is longer than 64 MiB")
                .help("split it, or see whether a quote opens it that is never closed"),
        }
    }
}

/// An opened file.
pub(crate) struct Opened {
    pub(crate) bytes: Box<dyn Bytes>,
    /// How many bytes of the file itself have been read so far.
    pub(crate) read: Arc<AtomicU64>,
    compressed: bool,
}

pub(crate) fn open_text(file: &SourceFile, encoding: &str) -> Result<Opened, DataProblem> {
    let Some(encoding) = encoding_rs::Encoding::for_label_no_replacement(encoding.as_bytes()) else {
        let message = format!("`{}` is not a known encoding", shown(encoding));
        return Err(DataProblem::new("qetl::ingest::encoding", &file.name, message)
            .help("encodings are named as on the web: `utf-8`, `windows-1252`, `latin1`, `utf-16le`, `shift_jis`, …"));
    };
    let (stored, magic, read) = open(file)?;
    refuse_other_formats(&file.name, &magic)?;
    let compressed = stored.compression.is_some();
    let bytes: Box<dyn Bytes> = match encoding == encoding_rs::UTF_8 {
        true => Box::new(stored),
        false => Box::new(Decoding::new(stored, encoding)),
    };
    Ok(Opened { bytes, read, compressed })
}

pub(crate) fn open_binary(file: &SourceFile) -> Result<Opened, DataProblem> {
    let (stored, _, read) = open(file)?;
    let compressed = stored.compression.is_some();
    Ok(Opened { bytes: Box::new(stored), read, compressed })
}

/// The file's bytes, decompressed; the first five as they lie on the disk; how many have been read.
fn open(file: &SourceFile) -> Result<(Stored, Vec<u8>, Arc<AtomicU64>), DataProblem> {
    let unreadable = |error: io::Error| DataProblem::unreadable(&file.name, &error);
    let mut source = File::open(&file.path).map_err(unreadable)?;
    let mut magic = Vec::new();
    Read::by_ref(&mut source).take(5).read_to_end(&mut magic).map_err(unreadable)?;
    let read = Arc::new(AtomicU64::new(magic.len() as u64));
    let rest = Counted { source, count: Arc::clone(&read) };
    let raw = io::Cursor::new(magic.clone()).chain(rest);
    let (reader, compression): (Box<dyn Read + Send>, _) = match magic.as_slice() {
        [0x1f, 0x8b, ..] => (Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::with_capacity(1 << 16, raw))), Some("gzip")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => (Box::new(zstd::Decoder::new(raw).map_err(unreadable)?), Some("zstd")),
        _ => (Box::new(raw), None),
    };
    Ok((Stored { reader, compression }, magic, read))
}

/// The damage of a compressed file, if there is some: what was decompressed before it shows may be wrong already.
pub(crate) fn damage(file: &SourceFile, encoding: &str) -> Option<DataProblem> {
    let mut text = open_text(file, encoding).ok().filter(|text| text.compressed)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match text.bytes.read(&mut buffer) {
            Ok(0) => return None,
            Ok(_) => (),
            Err(fault @ ReadFault::Corrupt { .. }) => return Some(fault.problem(&file.name)),
            Err(ReadFault::Io(_) | ReadFault::Malformed { .. } | ReadFault::TooLong) => return None,
        }
    }
}

/// Says plainly what a file is that is no text at all.
fn refuse_other_formats(name: &str, magic: &[u8]) -> Result<(), DataProblem> {
    let (what, help) = match magic {
        b"PAR1\x15" => ("a Parquet file", "`format = \"parquet\"` reads it"),
        b"ARROW" => ("an Arrow file", "`format = \"arrow\"` reads it"),
        [b'O', b'b', b'j', 1, ..] => ("an Avro file", "`format = \"avro\"` reads it"),
        [b'P', b'K', 3, 4, ..] => ("a zip archive (or a spreadsheet)", "unpack it, or save the sheet as CSV"),
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31] => ("compressed with bzip2", "unpack it, or compress it with gzip or zstd"),
        [0xfd, b'7', b'z', b'X', b'Z'] => ("compressed with xz", "unpack it, or compress it with gzip or zstd"),
        _ => return Ok(()),
    };
    Err(DataProblem::new("qetl::ingest::format", name, format!("the file is {what}, not text")).help(help))
}

/// The file's bytes, decompressed.
struct Stored {
    reader: Box<dyn Read + Send>,
    compression: Option<&'static str>,
}

impl Bytes for Stored {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, ReadFault> {
        loop {
            return match (self.reader.read(into), self.compression) {
                (Ok(count), _) => Ok(count),
                (Err(error), _) if error.kind() == io::ErrorKind::Interrupted => continue,
                (Err(error), Some(compression)) if error.raw_os_error().is_none() => {
                    let why = error.to_string();
                    Err(ReadFault::Corrupt { compression, why })
                }
                (Err(error), _) => Err(ReadFault::Io(error)),
            };
        }
    }
}

/// Counts what is read, for progress.
struct Counted {
    source: File,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(into)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

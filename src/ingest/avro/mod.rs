//! Reads the rows of Avro object container files.
//!
//! The container is ours, its rows are decoded by `arrow-avro`: that library does not look at sync markers, decompresses
//! without a limit, and loops for ever over a block that has more rows than it says.

mod container;

mod schema;

use std::io::{BufRead, Cursor, Read as _};

use arrow::{datatypes::SchemaRef, error::ArrowError};
use arrow_avro::reader::{Reader, ReaderBuilder};
use qetl_core::Type;

use crate::{
    bad::Rows,
    problem::DataProblem,
    rows::{BATCH_BYTES, BATCH_ROWS},
    spec::{ReadSpec, SourceFile},
    typed::{self, Columns, Pieces, guarded, words},
};
use container::Container;

type Decoder = Reader<Box<dyn BufRead + Send>>;

/// The rows of one file.
pub(crate) struct AvroRows {
    container: Container,
    pub(crate) columns: Columns,
    /// The header of an uncompressed container with the file's schema.
    header: Vec<u8>,
    /// Where the wanted columns stand in the file; `None`: all its columns are decoded.
    projection: Option<Vec<usize>>,
    pieces: Pieces,
    pub(crate) warnings: Vec<String>,
}

/// The names of the file's columns.
pub(crate) fn names(file: &SourceFile) -> Result<Vec<String>, DataProblem> {
    Ok(open(file)?.2.fields().iter().map(|field| field.name().clone()).collect())
}

/// The types that the file brings for the columns of the spec that have none; `None` also for one that is all NULL.
pub(crate) fn types(file: &SourceFile, spec: &ReadSpec) -> Result<Vec<Option<Type>>, DataProblem> {
    typed::types(file, spec, &open(file)?.2)
}

/// The container, the header for the decoder, and the rows' schema.
fn open(file: &SourceFile) -> Result<(Container, Vec<u8>, SchemaRef), DataProblem> {
    let container = Container::open(file)?;
    let schema = schema::prepared(&container.schema).map_err(|why| container.parts.damaged(&why))?;
    let mut header = b"Obj\x01\x02".to_vec();
    for entry in ["avro.schema", &schema] {
        put_length(&mut header, entry.len());
        header.extend_from_slice(entry.as_bytes());
    }
    header.push(0);
    header.extend_from_slice(&SYNC);
    let decoder = decoder(header.clone(), Vec::new(), 1, None).map_err(|why| container.parts.damaged(&why))?;
    Ok((container, header, decoder.schema()))
}

impl AvroRows {
    pub(crate) fn open(file: &SourceFile, spec: &ReadSpec) -> Result<Self, DataProblem> {
        let (container, header, schema) = open(file)?;
        let mut warnings = Vec::new();
        let (columns, places) = Columns::new(file, spec, &schema, &mut warnings)?;
        // The library makes no rows of no columns.
        let projection = (!places.is_empty() && places.len() < schema.fields().len()).then_some(places);
        // A wanted column may need a type that an unwanted one defines, and the library leaves that out.
        let projection = projection.filter(|places| decoder(header.clone(), Vec::new(), 1, Some(places.clone())).is_ok());
        Ok(Self { container, columns, header, projection, pieces: Pieces::new(spec), warnings })
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.container.parts.bytes_read()
    }

    pub(crate) fn next_batch(&mut self) -> Result<Option<Rows>, DataProblem> {
        loop {
            if let Some(piece) = self.pieces.next() {
                return self.columns.conform(&piece, &[]).map(Some);
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Decodes as many blocks as make a batch; false at the end of the file.
    fn fill(&mut self) -> Result<bool, DataProblem> {
        let (mut data, mut rows) = (Vec::new(), 0);
        while rows < BATCH_ROWS && data.len() < BATCH_BYTES {
            let Some(block) = self.container.next()? else { break };
            rows += block.rows;
            if data.is_empty() { data = block.data } else { data.extend_from_slice(&block.data) }
        }
        if rows == 0 && data.is_empty() {
            return Ok(false);
        }
        let built = decoder(self.header.clone(), data, rows.max(1), self.projection.clone());
        let mut decoder = built.map_err(|why| self.damaged(&why))?;
        let decoded = match guarded(|| (decoder.next(), decoder.next())) {
            Some((Some(Ok(batch)), None)) => Some(batch),
            Some((Some(Err(error)), _)) => return Err(self.damaged(&format!("a row is malformed: {}", words(&error)))),
            Some(_) => None,
            None => return Err(self.damaged("its parts do not fit together")),
        };
        match decoded.filter(|batch| batch.num_rows() == rows) {
            Some(batch) => self.pieces.put(batch),
            None => return Err(self.damaged("a block has more or fewer rows than it says")),
        }
        Ok(true)
    }

    fn damaged(&self, why: &str) -> DataProblem {
        match self.columns.row {
            0 => self.container.parts.damaged(why),
            row => self.container.parts.damaged(&format!("after row {row}, {why}")),
        }
    }
}

const SYNC: [u8; 16] = [0; 16];

/// Decodes the rows that stand in the data. The first batch has as many as are asked for; what stands behind them, if
/// anything, makes a second one, or an error.
fn decoder(header: Vec<u8>, data: Vec<u8>, rows: usize, projection: Option<Vec<usize>>) -> Result<Decoder, String> {
    let mut lengths = Vec::new();
    put_length(&mut lengths, i64::MAX as usize);
    put_length(&mut lengths, data.len());
    let blocks = Cursor::new(lengths).chain(Cursor::new(data)).chain(Cursor::new(SYNC));
    let bytes: Box<dyn BufRead + Send> = Box::new(Cursor::new(header).chain(blocks));
    // Views of text would be faster, but the library takes NULL for the empty text in them.
    let mut builder = ReaderBuilder::new().with_batch_size(rows);
    if let Some(projection) = projection {
        builder = builder.with_projection(projection);
    }
    let built = guarded(|| builder.build(bytes)).unwrap_or_else(|| Err(ArrowError::AvroError("its schema is malformed".to_owned())));
    built.map_err(|error| words(&error))
}

/// A length as Avro writes numbers.
fn put_length(out: &mut Vec<u8>, length: usize) {
    let mut bits = (length as u64) << 1;
    while bits > 0x7f {
        out.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    out.push(bits as u8);
}

#[cfg(test)]
mod tests;

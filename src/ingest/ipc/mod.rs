//! Reads the rows of Arrow IPC files, in the file format and in the stream format.

mod message;

use std::{collections::BTreeMap, collections::HashMap, sync::Arc};

use arrow::{
    array::ArrayRef,
    datatypes::{Field, Schema, SchemaRef},
    record_batch::{RecordBatch, RecordBatchOptions},
};
use arrow_ipc::{
    MessageHeader,
    reader::{RecordBatchDecoder, read_dictionary},
};
use qetl_core::Type;

use crate::{
    bad::Rows,
    problem::DataProblem,
    spec::{ReadSpec, SourceFile},
    typed::{self, Columns, Pieces, unpacked},
};
use message::{BATCH_LIMIT, Fault, Message, Messages};

/// The rows of one file.
pub(crate) struct ArrowRows {
    messages: Messages,
    schema: SchemaRef,
    dictionaries: HashMap<i64, ArrayRef>,
    /// The bytes of each dictionary.
    sizes: BTreeMap<i64, usize>,
    /// Where the wanted columns stand in the file.
    places: Vec<usize>,
    pub(crate) columns: Columns,
    pieces: Pieces,
    pub(crate) warnings: Vec<String>,
}

/// The names of the file's columns.
pub(crate) fn names(file: &SourceFile) -> Result<Vec<String>, DataProblem> {
    Ok(Messages::open(file)?.1.fields().iter().map(|field| field.name().clone()).collect())
}

/// The types that the file brings for the columns of the spec that have none; `None` also for one that is all NULL.
pub(crate) fn types(file: &SourceFile, spec: &ReadSpec) -> Result<Vec<Option<Type>>, DataProblem> {
    typed::types(file, spec, &Messages::open(file)?.1)
}

impl ArrowRows {
    pub(crate) fn open(file: &SourceFile, spec: &ReadSpec) -> Result<Self, DataProblem> {
        let (messages, schema) = Messages::open(file)?;
        let mut warnings = Vec::new();
        let (columns, places) = Columns::new(file, spec, &schema, &mut warnings)?;
        Ok(Self {
            messages,
            schema: Arc::new(schema),
            dictionaries: HashMap::new(),
            sizes: BTreeMap::new(),
            places,
            columns,
            pieces: Pieces::new(spec),
            warnings,
        })
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.messages.bytes_read()
    }

    pub(crate) fn next_batch(&mut self) -> Result<Option<Rows>, DataProblem> {
        loop {
            if let Some(piece) = self.pieces.next() {
                return self.columns.conform(&piece, &[]).map(Some);
            }
            let Some(message) = self.messages.next()? else {
                return Ok(None);
            };
            self.take(&message).map_err(|fault| self.messages.problem(fault))?;
        }
    }

    fn take(&mut self, message: &Message) -> Result<(), Fault> {
        message.read(|root| match root.header_type() {
            MessageHeader::DictionaryBatch => {
                let batch = root.header_as_dictionary_batch().ok_or_else(|| Fault::damaged("a dictionary is malformed"))?;
                let data = batch.data().ok_or_else(|| Fault::damaged("a dictionary is malformed"))?;
                let before = if batch.isDelta() { self.sizes.get(&batch.id()).copied() } else { None };
                self.sizes.insert(batch.id(), message.size(&data)?.saturating_add(before.unwrap_or(0)));
                if self.sizes.values().fold(0, |sum: usize, size| sum.saturating_add(*size)) > BATCH_LIMIT {
                    return Err(Fault::TooLong);
                }
                Ok(read_dictionary(&message.body, batch, &self.schema, &mut self.dictionaries, &root.version())?)
            }
            MessageHeader::RecordBatch => {
                let batch = root.header_as_record_batch().ok_or_else(|| Fault::damaged("a batch is malformed"))?;
                message.size(&batch)?;
                let version = root.version();
                let decoder = RecordBatchDecoder::try_new(&message.body, batch, Arc::clone(&self.schema), &self.dictionaries, &version)?;
                self.pieces.put(without_dictionaries(&decoder.with_projection(Some(&self.places)).read_record_batch()?)?);
                Ok(())
            }
            other => Err(Fault::Damaged(format!("a message of it is of an unknown kind, {}", other.0))),
        })
    }
}

/// Once for all rows: a dictionary may be longer than the rows that are handed on at a time.
fn without_dictionaries(batch: &RecordBatch) -> Result<RecordBatch, Fault> {
    let arrays: Vec<ArrayRef> = batch.columns().iter().map(unpacked).collect();
    let fields = batch.schema_ref().fields().iter().zip(&arrays);
    let fields = fields.map(|(field, array)| Field::clone(field).with_data_type(array.data_type().clone()).with_nullable(true));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields.collect::<Vec<_>>())), arrays, &options)?)
}

#[cfg(test)]
mod tests;

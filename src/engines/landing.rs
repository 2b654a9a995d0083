//! Landing: source files are read in order, and their rows loaded with what says where they came from. The next rows are read
//! and typed while the database takes the last ones.

use std::{
    panic::resume_unwind,
    sync::mpsc::{SyncSender, sync_channel},
};

use qetl_core::{Column, DatasetName, Type, plan::LANDING_COLUMNS};
use qetl_ingest::{
    DataProblem, DatasetRows, ProblemKind, ReadColumn, ReadSpec, RowHasher, SourceFile, arrow_type, content_hash, lines_of_rows, with_place,
};
use qetl_runtime::{
    RunError,
    engine::{LandError, Landed},
    progress::{Event, Progress},
};

use arrow::array::RecordBatch;

use crate::{
    cell::{Builder, Cell, Cells, coerce},
    database::{Access, Connection, Database, Failure, told},
    records,
    statements::rows_of_batch,
    tables::TableName,
    whole,
};

/// Rows of a dataset that go on together.
const CHUNK: usize = 8192;

/// Batches of rows that wait for the database.
const WAITING: usize = 2;

/// What is landed, and where.
pub(crate) struct Landing<'a> {
    pub(crate) database: &'a dyn Database,
    pub(crate) table: TableName,
    pub(crate) from: From<'a>,
    pub(crate) spec: &'a ReadSpec,
    pub(crate) batch_id: i64,
    /// Whether the order of the rows is part of their content.
    pub(crate) ordered: bool,
}

/// Where rows are read from.
#[derive(Clone, Copy)]
pub(crate) enum From<'a> {
    /// In this order.
    Files(&'a [SourceFile]),
    /// The rows of the same batch in a dataset of the database, in a session of their own.
    Dataset(&'a DatasetName),
}

impl Landing<'_> {
    pub(crate) fn load(&self, connection: &mut dyn Connection, progress: &Progress) -> Result<Landed, LandError> {
        let columns = self.columns();
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(WAITING);
            let reading = scope.spawn(move || self.read(&sender, progress));
            let loaded = connection.load(&self.table, &columns, &mut receiver.iter());
            // The reader ends when nobody takes its rows any more.
            drop(receiver);
            let landed = reading.join().unwrap_or_else(|panic| resume_unwind(panic));
            loaded.map_err(|why: Failure| told(self.database, why))?;
            landed
        })
    }

    fn read(&self, sender: &SyncSender<RecordBatch>, progress: &Progress) -> Result<Landed, LandError> {
        let mut rows = Rows {
            landing: self,
            sender,
            loaded_at: chrono::Utc::now().timestamp_micros(),
            hasher: RowHasher::new(self.spec.columns.iter().map(|column| column.name.as_str())),
            landed: Landed::default(),
        };
        match self.from {
            From::Files(files) => self.read_files(files, &mut rows, progress)?,
            From::Dataset(dataset) => self.read_dataset(dataset, &mut rows, progress)?,
        }
        Ok(rows.landed)
    }

    fn read_files(&self, files: &[SourceFile], rows: &mut Rows<'_>, progress: &Progress) -> Result<(), LandError> {
        let size = |file: &SourceFile| std::fs::metadata(&file.path).map_or(0, |meta| meta.len());
        let total: u64 = files.iter().map(size).sum();
        let mut read_before = 0;
        for file in files {
            let mut rows_of_file = 0_i64;
            let mut reader = qetl_ingest::read(file, self.spec)?;
            while let Some(batch) = reader.next() {
                let batch = batch?;
                self.refuse(file, &batch, rows_of_file)?;
                if !rows.send(&batch, &file.name, rows_of_file)? {
                    return Ok(());
                }
                rows_of_file += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
                let share = (total > 0).then(|| (read_before + reader.bytes_read()) as f64 / total as f64);
                progress.tell(Event::Rows { rows: rows.landed.rows, share });
            }
            read_before += size(file);
            rows.landed.warnings.extend(reader.warnings().iter().cloned());
        }
        Ok(())
    }

    fn read_dataset(&self, dataset: &DatasetName, rows: &mut Rows<'_>, progress: &Progress) -> Result<(), LandError> {
        let name = dataset.to_string();
        let fail = |why: Failure| told(self.database, why);
        let mut connection = whole::open(self.database, Access::Read).map_err(fail)?;
        let stored = records::datasets(self.database, &mut *connection).map_err(fail)?.into_iter().find(|stored| stored.name == *dataset);
        let stored = stored.ok_or_else(|| RunError::failed(format!("`{dataset}` is not there")))?.columns;
        // A column that is not there yet is NULL.
        let own = |column: &ReadColumn| stored.iter().find(|stored| stored.name == column.name).map(|stored| stored.ty);
        let typed = |column: &ReadColumn| Column::new(&column.name, own(column).or(column.ty).unwrap_or(Type::Text));
        let columns: Vec<Column> = self.spec.columns.iter().map(typed).collect();
        let types: Vec<Type> = columns.iter().map(|column| column.ty).collect();
        let mut conform = DatasetRows::new(&name, self.spec, &types)?;
        let query = rows_of_batch(self.database, dataset, &stored, &columns, self.batch_id, self.ordered).map_err(fail)?;
        let mut builder = Builder::new(&columns);
        let mut read = 0_i64;
        let mut refused = None;
        let mut send = |builder: &mut Builder| -> Result<bool, LandError> {
            let batch = builder.take().map_err(RunError::failed)?;
            let first = read;
            read += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
            let goes_on = rows.send(&conform.conform(&batch)?, &name, first)?;
            progress.tell(Event::Rows { rows: rows.landed.rows, share: None });
            Ok(goes_on)
        };
        let asked = connection.query(&query, &[], &mut |_, row| {
            let mut typed = Vec::with_capacity(row.len());
            for (cell, column) in row.into_iter().zip(&columns) {
                let what = || Failure::Other(format!("a value of `{}` is no {}", column.name, column.ty));
                typed.push(coerce(cell, column.ty).ok_or_else(what)?);
            }
            builder.push(typed);
            if builder.rows() < CHUNK {
                return Ok(());
            }
            match send(&mut builder) {
                Ok(true) => Ok(()),
                Ok(false) => Err(Failure::Other("nobody takes the rows any more".to_owned())),
                Err(why) => {
                    refused = Some(why);
                    Err(Failure::Other("the rows do not fit".to_owned()))
                }
            }
        });
        if let Some(why) = refused {
            return Err(why);
        }
        asked.map_err(fail)?;
        send(&mut builder).map(|_| ())
    }

    fn columns(&self) -> Vec<Column> {
        let own = self.spec.columns.iter().map(|column| Column::new(&column.name, column.ty.unwrap_or(Type::Text)));
        own.chain(LANDING_COLUMNS.iter().map(|(name, ty)| Column::new(name, *ty))).collect()
    }

    /// Refuses a value that the database cannot hold, by its place.
    fn refuse(&self, file: &SourceFile, batch: &RecordBatch, rows_before: i64) -> Result<(), DataProblem> {
        let Some(ty) = self.database.picky_about().map(arrow_type) else { return Ok(()) };
        let cells = Cells::of(batch);
        for column in (0..cells.width()).filter(|column| *batch.column(*column).data_type() == ty) {
            for row in 0..batch.num_rows() {
                let cell = cells.cell(row, column);
                let Some(what) = self.database.refuses(&cell) else { continue };
                let number = u64::try_from(rows_before).unwrap_or(0) + row as u64 + 1;
                let line = lines_of_rows(file, self.spec, &[number]).and_then(|lines| lines.first().copied());
                let place = qetl_ingest::Place {
                    file: file.name.clone(),
                    line,
                    row: line.is_none().then_some(number),
                    column: self.spec.columns.get(column).map(|column| column.name.clone()),
                    value: if let Cell::Float(value) = &cell { Some(value.to_string()) } else { None },
                    ..qetl_ingest::Place::default()
                };
                return Err(DataProblem {
                    kind: ProblemKind::Refused,
                    code: "qetl::land::unholdable",
                    message: format!("{what}, which {} cannot hold", self.database.dialect().name()),
                    help: "mend the file, or run the flow on an engine that holds it: `[engine] name = \"datafusion\"` does".to_owned(),
                    place: Box::new(place),
                });
            }
        }
        Ok(())
    }
}

/// Rows on their way into the landing dataset.
struct Rows<'a> {
    landing: &'a Landing<'a>,
    sender: &'a SyncSender<RecordBatch>,
    loaded_at: i64,
    hasher: RowHasher,
    landed: Landed,
}

impl Rows<'_> {
    /// Takes the next rows of a file, before which so many were read of it. Whether anybody wants more.
    fn send(&mut self, batch: &RecordBatch, file: &str, rows_before: i64) -> Result<bool, LandError> {
        let Landing { batch_id, ordered, .. } = self.landing;
        let mut hashes = Vec::new();
        self.hasher.hash(batch, &mut hashes).map_err(RunError::failed)?;
        for (place, hash) in (self.landed.rows..).zip(&hashes) {
            self.landed.content_hash = self.landed.content_hash.wrapping_add(content_hash(*hash, ordered.then_some(place)));
        }
        self.landed.rows += batch.num_rows() as u64;
        let rows = with_place(batch, *batch_id, self.loaded_at, file, rows_before).map_err(RunError::failed)?;
        Ok(self.sender.send(rows).is_ok())
    }
}

//! Landing: source files are read in order, and their rows loaded with what says where they came from. The next rows are read
//! and typed while the database takes the last ones.

use std::{
    collections::BTreeMap,
    panic::resume_unwind,
    sync::mpsc::{SyncSender, sync_channel},
};

use qetl_core::{Column, DatasetName, Type, plan::LANDING_COLUMNS};
use qetl_ingest::{
    DataProblem, DatasetRows, Misfits, Places, ProblemKind, ReadColumn, ReadSpec, RowHasher, Rows as ReadRows, SourceFile, arrow_type,
    bad_rows, content_hash, lines_of_rows, with_place,
};
use qetl_runtime::{
    RunError,
    engine::{FilePart, LandError, Landed, landed_whole},
    progress::{Event, Progress},
};

use arrow::array::{AsArray, RecordBatch};

use crate::{
    cell::{Builder, Cell, Cells, coerce},
    database::{Access, Connection, Database, Failure, told},
    records,
    statements::rows_of_batch,
    tables::{TableName, quoted, quoted_list},
    whole,
};

/// Rows of a dataset that go on together.
const CHUNK: usize = 8192;

/// What landing says of where a row stood.
const FILE: &str = "xt_source_file";
const ROW: &str = "xt_row_number";

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
    /// In this order. Those that were landed before stay in the table.
    Files(&'a [FilePart]),
    /// The rows of the same batch in a dataset of the database, in a session of their own.
    Dataset(&'a DatasetName),
}

impl Landing<'_> {
    pub(crate) fn load(&self, connection: &mut dyn Connection, progress: &Progress) -> Result<Landed, LandError> {
        let columns = self.columns();
        let fail = |why: Failure| LandError::from(told(self.database, why));
        let stay = match self.from {
            From::Files(parts) => FilePart::landed(parts),
            From::Dataset(_) => Vec::new(),
        };
        let counts = if stay.is_empty() { BTreeMap::new() } else { self.counts(connection).map_err(fail)? };
        let (mut landed, places) = self.load_new(connection, &columns, &counts, progress)?;
        if !stay.is_empty() {
            let before = self.landed(connection, &stay, &places).map_err(fail)?;
            landed.rows += before.rows;
            landed.bad_rows += before.bad_rows;
            landed.filled.add(&before.filled);
            landed.content_hash = landed.content_hash.wrapping_add(before.content_hash);
        }
        Ok(landed)
    }

    /// How many rows the batch has of each file.
    pub(crate) fn counts(&self, connection: &mut dyn Connection) -> Result<BTreeMap<String, u64>, Failure> {
        let (file, of_batch) = (quoted(self.database, FILE), self.of_batch());
        let table = self.table.object(self.database.dialect().quote());
        let mut counts = BTreeMap::new();
        for row in connection.rows(&format!("SELECT {file}, COUNT(*) FROM {table} WHERE {of_batch} GROUP BY {file}"), &[])? {
            if let [Cell::Text(name), count] = row.as_slice() {
                counts.insert(name.clone().into_owned(), u64::try_from(records::int(count)).unwrap_or(0));
            }
        }
        Ok(counts)
    }

    /// What the rows that the batch has of these files say.
    pub(crate) fn landed(&self, connection: &mut dyn Connection, files: &[String], places: &Places) -> Result<Landed, Failure> {
        let database = self.database;
        let names = |list: &[Column]| quoted_list(database, list.iter().map(|column| column.name.as_str()));
        let mut columns = vec![Column::new(FILE, Type::Text)];
        columns.extend(self.own_columns());
        columns.extend(self.spec.bad_columns().iter().map(|(name, ty)| Column::new(name, *ty)));
        let order = if self.ordered { format!(" ORDER BY {}, {}", quoted(database, FILE), quoted(database, ROW)) } else { String::new() };
        let table = self.table.object(database.dialect().quote());
        let text = format!("SELECT {} FROM {table} WHERE {}{order}", names(&columns), self.of_batch());
        let mut said = Said {
            hasher: RowHasher::new(self.spec.content_columns()),
            builder: Builder::new(&columns),
            width: self.spec.columns.len(),
            firsts: places.firsts(),
            read: BTreeMap::new(),
            ordered: self.ordered,
            landed: Landed::default(),
        };
        connection.query(&text, &[], &mut |_, row| {
            if !matches!(row.first(), Some(Cell::Text(name)) if files.iter().any(|file| file == name)) {
                return Ok(());
            }
            let mut typed = Vec::with_capacity(row.len());
            for (cell, column) in row.into_iter().zip(&columns) {
                let what = || Failure::Other(format!("a value of `{}` is no {}", column.name, column.ty));
                typed.push(coerce(cell, column.ty).ok_or_else(what)?);
            }
            said.builder.push(typed);
            if said.builder.rows() < CHUNK { Ok(()) } else { said.take() }
        })?;
        said.take()?;
        Ok(said.landed)
    }

    fn of_batch(&self) -> String {
        format!("{} = {}", quoted(self.database, "xt_batch_id"), self.batch_id)
    }

    fn load_new(
        &self,
        connection: &mut dyn Connection,
        columns: &[Column],
        counts: &BTreeMap<String, u64>,
        progress: &Progress,
    ) -> Result<(Landed, Places), LandError> {
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(WAITING);
            let reading = scope.spawn(move || self.read(&sender, counts, progress));
            let loaded = connection.load(&self.table, columns, &mut receiver.iter());
            // The reader ends when nobody takes its rows any more.
            drop(receiver);
            let landed = reading.join().unwrap_or_else(|panic| resume_unwind(panic));
            loaded.map_err(|why: Failure| told(self.database, why))?;
            landed
        })
    }

    fn read(
        &self,
        sender: &SyncSender<RecordBatch>,
        counts: &BTreeMap<String, u64>,
        progress: &Progress,
    ) -> Result<(Landed, Places), LandError> {
        let mut rows = Rows {
            landing: self,
            sender,
            loaded_at: chrono::Utc::now().timestamp_micros(),
            hasher: RowHasher::new(self.spec.content_columns()),
            place: 0,
            landed: Landed::default(),
        };
        let mut places = Places::default();
        match self.from {
            From::Files(parts) => self.read_files(parts, counts, &mut places, &mut rows, progress)?,
            From::Dataset(dataset) => self.read_dataset(dataset, &mut rows, progress)?,
        }
        Ok((rows.landed, places))
    }

    /// Once something does not fit, the rest is read only to tell what else does not.
    fn read_files(
        &self,
        parts: &[FilePart],
        counts: &BTreeMap<String, u64>,
        places: &mut Places,
        rows: &mut Rows<'_>,
        progress: &Progress,
    ) -> Result<(), LandError> {
        let size = |file: &SourceFile| std::fs::metadata(&file.path).map_or(0, |meta| meta.len());
        let total: u64 = parts.iter().map(|part| if let FilePart::Read(file) = part { size(file) } else { 0 }).sum();
        let (mut read_before, mut misfits) = (0, Misfits::default());
        for part in parts {
            let file = match part {
                FilePart::Read(file) => file,
                FilePart::Landed(name) => {
                    places.add(name, counts.get(name).copied().unwrap_or(0));
                    continue;
                }
            };
            let mut rows_of_file = 0;
            rows.place = places.rows();
            let mut reader = qetl_ingest::read(file, self.spec)?;
            while let Some(read) = reader.next() {
                let read = misfits.take(read?, self.spec);
                rows_of_file += read.good.num_rows() as u64;
                self.refuse(file, &read, &mut misfits);
                if misfits.is_empty() && reader.has_right_types() && !rows.send(&read, &file.name)? {
                    return Ok(());
                }
                let share = (total > 0).then(|| (read_before + reader.bytes_read()) as f64 / total as f64);
                progress.tell(Event::Rows { rows: rows.landed.rows, share });
            }
            places.add(&file.name, rows_of_file);
            read_before += size(file);
            misfits.widen(&reader.wider());
            misfits.settle(&reader.untyped());
            rows.landed.emptied.extend(reader.emptied());
            rows.landed.warnings.extend(reader.warnings().iter().cloned());
        }
        rows.landed.bad = misfits.parked().to_vec();
        landed_whole(misfits)
    }

    fn read_dataset(&self, dataset: &DatasetName, rows: &mut Rows<'_>, progress: &Progress) -> Result<(), LandError> {
        let spec = &self.spec.present();
        let name = dataset.to_string();
        let fail = |why: Failure| told(self.database, why);
        let mut connection = whole::open(self.database, Access::Read).map_err(fail)?;
        let stored = records::datasets(self.database, &mut *connection).map_err(fail)?.into_iter().find(|stored| stored.name == *dataset);
        let stored = stored.ok_or_else(|| RunError::failed(format!("`{dataset}` is not there")))?.columns;
        // A column that is not there yet is NULL.
        let own = |column: &ReadColumn| stored.iter().find(|stored| stored.name == column.source).map(|stored| stored.ty);
        let typed = |column: &ReadColumn| Column::new(&column.source, own(column).or(column.ty).unwrap_or(Type::Text));
        let columns: Vec<Column> = spec.columns.iter().map(typed).collect();
        let types: Vec<Type> = columns.iter().map(|column| column.ty).collect();
        let mut conform = DatasetRows::new(&name, self.spec, &types)?;
        let query = rows_of_batch(self.database, dataset, &stored, &columns, self.batch_id, self.ordered).map_err(fail)?;
        let mut builder = Builder::new(&columns);
        let (mut refused, mut misfits) = (None, Misfits::default());
        let mut send = |builder: &mut Builder| -> Result<bool, LandError> {
            let batch = builder.take().map_err(RunError::failed)?;
            let read = misfits.take(conform.conform(&batch)?, self.spec);
            let goes_on = !misfits.is_empty() || !conform.has_right_types() || rows.send(&read, &name)?;
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
        send(&mut builder)?;
        misfits.widen(&conform.wider());
        misfits.settle(&conform.untyped());
        landed_whole(misfits)
    }

    fn own_columns(&self) -> impl Iterator<Item = Column> {
        self.spec.columns.iter().map(|column| Column::new(&column.name, column.ty.unwrap_or(Type::Text)))
    }

    fn columns(&self) -> Vec<Column> {
        let added = self.spec.bad_columns().iter().chain(&LANDING_COLUMNS);
        self.own_columns().chain(added.map(|(name, ty)| Column::new(name, *ty))).collect()
    }

    /// Tells of values that the database cannot hold, by their place.
    fn refuse(&self, file: &SourceFile, read: &ReadRows, misfits: &mut Misfits) {
        let Some(ty) = self.database.picky_about().map(arrow_type) else { return };
        let cells = Cells::of(&read.good);
        let picky: Vec<usize> = (0..cells.width()).filter(|column| *read.good.column(*column).data_type() == ty).collect();
        if picky.is_empty() {
            return;
        }
        let numbers = read.numbers();
        for row in 0..read.good.num_rows() {
            let refused = picky.iter().find_map(|column| {
                let cell = cells.cell(row, *column);
                Some((*column, self.database.refuses(&cell)?, cell))
            });
            let Some((column, what, cell)) = refused else { continue };
            let number = u64::try_from(numbers.value(row)).unwrap_or(0);
            let line = if misfits.names_more() { lines_of_rows(file, self.spec, &[number]) } else { None };
            let line = line.and_then(|lines| lines.first().copied());
            let place = qetl_ingest::Place {
                file: file.name.clone(),
                line,
                row: line.is_none().then_some(number),
                column: self.spec.columns.get(column).map(|column| column.name.clone()),
                value: if let Cell::Float(value) = &cell { Some(value.to_string()) } else { None },
                ..qetl_ingest::Place::default()
            };
            misfits.add(&DataProblem {
                kind: ProblemKind::Refused,
                code: "qetl::land::unholdable",
                message: format!("{what}, which {} cannot hold", self.database.dialect().name()),
                help: "mend the file, or run the flow on an engine that holds it: `[engine] name = \"datafusion\"` does".to_owned(),
                place: Box::new(place),
            });
        }
    }
}

/// Rows on their way into the landing dataset.
struct Rows<'a> {
    landing: &'a Landing<'a>,
    sender: &'a SyncSender<RecordBatch>,
    loaded_at: i64,
    hasher: RowHasher,
    /// The place of the next row among all rows of the batch.
    place: u64,
    landed: Landed,
}

/// Rows that are stored, on their way to say what landing would.
struct Said {
    hasher: RowHasher,
    builder: Builder,
    /// How many of the columns behind the file's are the flow's.
    width: usize,
    firsts: BTreeMap<String, u64>,
    /// How many rows of each file have passed.
    read: BTreeMap<String, u64>,
    ordered: bool,
    landed: Landed,
}

impl Said {
    fn take(&mut self) -> Result<(), Failure> {
        let failed = |why: arrow::error::ArrowError| Failure::Other(why.to_string());
        let rows = self.builder.take().map_err(failed)?;
        let mut hashes = Vec::new();
        self.hasher.hash(&rows, &mut hashes).map_err(failed)?;
        let names = rows.column(0).as_string_view();
        for (row, hash) in hashes.iter().enumerate() {
            let place = self.ordered.then(|| {
                let name = names.value(row);
                let read = self.read.entry(name.to_owned()).or_default();
                *read += 1;
                self.firsts.get(name).copied().unwrap_or(0) + *read - 1
            });
            self.landed.content_hash = self.landed.content_hash.wrapping_add(content_hash(*hash, place));
        }
        let own: Vec<usize> = (1..=self.width).collect();
        self.landed.filled.see(&rows.project(&own).map_err(failed)?, own.len());
        self.landed.rows += rows.num_rows() as u64;
        self.landed.bad_rows += bad_rows(&rows);
        Ok(())
    }
}

impl Rows<'_> {
    /// Takes the next rows of a source. Whether anybody wants more.
    fn send(&mut self, read: &ReadRows, source: &str) -> Result<bool, LandError> {
        let Landing { batch_id, ordered, spec, .. } = self.landing;
        let mut hashes = Vec::new();
        self.hasher.hash(&read.good, &mut hashes).map_err(RunError::failed)?;
        for (place, hash) in (self.place..).zip(&hashes) {
            self.landed.content_hash = self.landed.content_hash.wrapping_add(content_hash(*hash, ordered.then_some(place)));
        }
        let count = read.good.num_rows() as u64;
        (self.landed.rows, self.place) = (self.landed.rows + count, self.place + count);
        self.landed.filled.see(&read.good, spec.columns.len());
        self.landed.bad_rows += bad_rows(&read.good);
        let rows = with_place(&read.good, *batch_id, self.loaded_at, source, read.numbers()).map_err(RunError::failed)?;
        Ok(self.sender.send(rows).is_ok())
    }
}

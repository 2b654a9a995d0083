//! Landing: source files are read in order, and their rows loaded with what says where they came from.

use qetl_core::{Column, plan::LANDING_COLUMNS};
use qetl_ingest::{DataProblem, ProblemKind, ReadSpec, RowHasher, SourceFile, content_hash, lines_of_rows, with_place};
use qetl_runtime::{
    RunError,
    engine::{LandError, Landed},
    progress::{Event, Progress},
};

use arrow::array::RecordBatch;

use crate::{
    cell::{Cell, Cells},
    database::{Connection, Database, told},
};

/// What is landed, and where.
pub(crate) struct Landing<'a> {
    pub(crate) database: &'a dyn Database,
    /// The quoted name.
    pub(crate) table: String,
    pub(crate) files: &'a [SourceFile],
    pub(crate) spec: &'a ReadSpec,
    pub(crate) batch_id: i64,
    /// Whether the order of the rows is part of their content.
    pub(crate) ordered: bool,
}

impl Landing<'_> {
    pub(crate) fn load(&self, connection: &mut dyn Connection, progress: &Progress) -> Result<Landed, LandError> {
        let loaded_at = chrono::Utc::now().timestamp_micros();
        let size = |file: &SourceFile| std::fs::metadata(&file.path).map_or(0, |meta| meta.len());
        let total: u64 = self.files.iter().map(size).sum();
        let hasher = RowHasher::new(self.spec.columns.iter().map(|column| column.name.as_str()));
        let columns = self.columns();
        let (mut landed, mut hashes, mut read_before) = (Landed::default(), Vec::new(), 0);
        for file in self.files {
            let mut rows_of_file = 0_i64;
            let mut reader = qetl_ingest::read(file, self.spec)?;
            while let Some(batch) = reader.next() {
                let batch = batch?;
                self.refuse(file, &batch, rows_of_file)?;
                hashes.clear();
                hasher.hash(&batch, &mut hashes).map_err(RunError::failed)?;
                for (place, hash) in (landed.rows..).zip(&hashes) {
                    landed.content_hash = landed.content_hash.wrapping_add(content_hash(*hash, self.ordered.then_some(place)));
                }
                let rows = with_place(&batch, self.batch_id, loaded_at, &file.name, rows_of_file).map_err(RunError::failed)?;
                connection.load(&self.table, &columns, &rows).map_err(|why| told(self.database, why))?;
                rows_of_file += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
                landed.rows += batch.num_rows() as u64;
                let share = (total > 0).then(|| (read_before + reader.bytes_read()) as f64 / total as f64);
                progress.tell(Event::Rows { rows: landed.rows, share });
            }
            read_before += size(file);
            landed.warnings.extend(reader.warnings().iter().cloned());
        }
        Ok(landed)
    }

    fn columns(&self) -> Vec<Column> {
        let own = self.spec.columns.iter().map(|column| Column::new(&column.name, column.ty.unwrap_or(qetl_core::Type::Text)));
        own.chain(LANDING_COLUMNS.iter().map(|(name, ty)| Column::new(name, *ty))).collect()
    }

    /// Refuses a value that the database cannot hold, by its place.
    fn refuse(&self, file: &SourceFile, batch: &RecordBatch, rows_before: i64) -> Result<(), DataProblem> {
        let cells = Cells::of(batch);
        for column in 0..cells.width() {
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

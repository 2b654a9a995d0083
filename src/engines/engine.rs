//! The engine over a database: one for all of them.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::StreamExt;
use qetl_core::{Column, DatasetName, Plan, Problems, Task, standard::Rendered};
use qetl_runtime::{
    BatchContext, Engine, Fence, FlowLock, FlowRecords, RunError, Work,
    engine::{At, DatasetInfo, KnownBatch, Rows, Stored},
    panics,
    records::{FileRecord, HELD, RunRecord},
    run::blocking,
    standard::{Bench, Checked, Known, Statement},
};
use tokio::sync::{mpsc, oneshot};

use qetl_sql::author::Named;

use crate::{
    author,
    bench::{self, SqlBench},
    cell::{Builder, Cell, coerce},
    database::{Access, Connection, Database, Failure, Found, Hold, told},
    held, records,
    retype::converted,
    runs,
    statements::Statements,
    tables::{self, TableName, quoted, table},
    whole,
    work::SqlWork,
    zones,
};

/// Rows of a query that go on together.
const CHUNK: usize = 8192;
/// Rows that are looked at to tell the types that the database does not say.
const LOOKED_AT: usize = 65_536;

/// Runs flows as SQL, in one database.
pub(crate) struct SqlEngine {
    database: Arc<dyn Database>,
}

struct SqlLock {
    _hold: Box<dyn Hold>,
    fence: Arc<Fence>,
}

impl FlowLock for SqlLock {
    fn fence(&self) -> Arc<Fence> {
        self.fence.clone()
    }
}

impl SqlEngine {
    pub(crate) fn new(database: Arc<dyn Database>) -> Self {
        Self { database }
    }

    /// Reads in a session of its own; what it gives without records is the default.
    async fn read<T: Default + Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Database, &mut dyn Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, RunError> {
        let database = self.database.clone();
        blocking(move || {
            let read = || {
                let mut connection = whole::open(&*database, Access::Read)?;
                if records::there(&*database, &mut *connection)? { read(&*database, &mut *connection) } else { Ok(T::default()) }
            };
            read().map_err(|why| told(&*database, why))
        })
        .await
    }

    /// Writes in a session of its own, once there are records.
    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&dyn Database, &mut dyn Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, RunError> {
        let database = self.database.clone();
        blocking(move || {
            let write = || {
                let mut connection = whole::open(&*database, Access::Write)?;
                prepare(&*database, &mut *connection)?;
                write(&*database, &mut *connection)
            };
            write().map_err(|why| told(&*database, why))
        })
        .await
    }
}

/// Makes the records, or brings older ones up to date. Two who make them at once disturb each other; the second look settles it.
fn prepare(database: &dyn Database, connection: &mut dyn Connection) -> Result<(), Failure> {
    if records::there(database, connection)? {
        return match records::upgrade(database, connection) {
            Err(_) if records::is_current(database, connection)? => Ok(()),
            other => other,
        };
    }
    match records::make(database, connection) {
        Err(_) if records::there(database, connection)? => Ok(()),
        other => other,
    }
}

#[async_trait]
impl Engine for SqlEngine {
    async fn lock(&self, flow: &str, wait: Duration) -> Result<Box<dyn FlowLock>, RunError> {
        let until = Instant::now() + wait;
        let hold = loop {
            let (database, name) = (self.database.clone(), flow.to_owned());
            match blocking(move || database.hold(&name).map_err(|why| told(&*database, why))).await? {
                Some(hold) => break hold,
                None if Instant::now() < until => tokio::time::sleep(Duration::from_millis(50)).await,
                None => return Err(RunError::Locked { flow: flow.to_owned() }),
            }
        };
        let name = flow.to_owned();
        let (number, has_dead) = self.read(move |database, connection| runs::last_fence(database, connection, &name)).await?;
        let fence = Arc::new(Fence::found(number));
        if has_dead {
            let (name, held) = (flow.to_owned(), fence.clone());
            fence.take(self.write(move |database, connection| runs::end_dead(database, connection, &name, &held)).await?);
        }
        Ok(Box::new(SqlLock { _hold: hold, fence }))
    }

    async fn begin_run(&self, lock: &dyn FlowLock, run: &RunRecord) -> Result<(), RunError> {
        let (run, held, fence) = (run.clone(), lock.fence(), lock.fence());
        let begin = move |database: &dyn Database, connection: &mut dyn Connection| {
            whole::catch_up(database, connection)?;
            runs::begin_run(database, connection, &held, &run)
        };
        fence.take(self.write(begin).await?);
        Ok(())
    }

    async fn records(&self, flow: &str) -> Result<FlowRecords, RunError> {
        let flow = flow.to_owned();
        self.read(move |database, connection| records::read(database, connection, &flow)).await
    }

    async fn begin(&self, plan: Arc<Plan>, lock: &dyn FlowLock, _run_id: &str) -> Result<Box<dyn Work>, RunError> {
        let (database, fence) = (self.database.clone(), lock.fence().number());
        let work = blocking(move || {
            let begin = || {
                Statements { database: &*database, plan: &plan, batch: &some_batch() }.check()?;
                let mut connection = whole::open(&*database, Access::Write)?;
                if database.lacks_time_zones() {
                    zones::make_table(&*database, &mut *connection, &plan)?;
                }
                if database.ddl_commits() {
                    tables::follow(&*database, &mut *connection, &plan)?;
                    connection.run(database.begin(), &[])?;
                } else {
                    connection.run(database.begin(), &[])?;
                    tables::follow(&*database, &mut *connection, &plan)?;
                }
                Ok(connection)
            };
            let connection = begin().map_err(|why| told(&*database, why))?;
            Ok(SqlWork::new(database, plan, fence, Access::Write, connection))
        });
        Ok(Box::new(work.await?))
    }

    async fn look(&self, plan: Arc<Plan>) -> Result<Box<dyn Work>, RunError> {
        let database = self.database.clone();
        let work = blocking(move || {
            let look = || {
                let mut connection = whole::open(&*database, Access::Read)?;
                connection.run(database.begin_reading(), &[])?;
                Ok(connection)
            };
            let connection = look().map_err(|why| told(&*database, why))?;
            Ok(SqlWork::new(database, plan, 0, Access::Read, connection))
        });
        Ok(Box::new(work.await?))
    }

    async fn misfits(&self, dataset: &DatasetName, column: &Column) -> Result<u64, RunError> {
        let (dataset, column) = (dataset.clone(), column.clone());
        self.read(move |database, connection| {
            let stored = records::datasets(database, connection)?.into_iter().find(|stored| stored.name == dataset);
            let Some(old) = stored.and_then(|stored| stored.columns.into_iter().find(|old| old.name == column.name)) else {
                return Ok(0);
            };
            let mut misfits = 0;
            let name = quoted(database, &column.name);
            let text = format!("SELECT {name} FROM {} WHERE {name} IS NOT NULL", table(database, &dataset));
            connection.query(&text, &[], &mut |_, row| {
                let fits = row.into_iter().next().and_then(|cell| converted(cell, old.ty, column.ty));
                misfits += u64::from(fits.is_none());
                Ok(())
            })?;
            Ok(misfits)
        })
        .await
    }

    async fn record_run(&self, run: &RunRecord) -> Result<(), RunError> {
        let run = run.clone();
        if let (Some(store), HELD) = (self.database.store(), run.status.as_str()) {
            return held::note(store, &run).map_err(|why| told(&*self.database, why));
        }
        self.write(move |database, connection| {
            connection.run(database.begin(), &[])?;
            runs::replace_run(database, connection, &run)?;
            connection.run("COMMIT", &[]).map(|_| ())
        })
        .await
    }

    /// A database sees to it by itself that its tables are whole.
    async fn refuse_gaps(&self, _datasets: &[DatasetName]) -> Result<(), RunError> {
        Ok(())
    }

    async fn accept_version(&self, version: i64) -> Result<(), RunError> {
        let database = self.database.clone();
        blocking(move || whole::accept(&*database, version).map_err(|why| told(&*database, why))).await
    }

    async fn runs(&self, flow: Option<&str>) -> Result<Vec<RunRecord>, RunError> {
        let wanted = flow.map(str::to_owned);
        let mut runs = self.read(move |database, connection| runs::runs(database, connection, wanted.as_deref())).await?;
        let noted = self.database.store().map(held::noted).unwrap_or_default();
        runs.extend(noted.into_iter().filter(|run| flow.is_none_or(|flow| run.flow == flow)));
        runs.sort_by_key(|run| std::cmp::Reverse(run.started_at));
        Ok(runs)
    }

    async fn datasets(&self) -> Result<Vec<DatasetInfo>, RunError> {
        self.read(|database, connection| {
            let mut datasets = Vec::new();
            for stored in records::datasets(database, connection)? {
                let view = stored.definition.is_some();
                let by_batch = stored.columns.iter().any(|column| column.name == "xt_batch_id");
                let (mut rows, mut batches) = (0, 0);
                if !view {
                    let distinct = if by_batch { format!("COUNT(DISTINCT {})", quoted(database, "xt_batch_id")) } else { "0".to_owned() };
                    let counts = connection.rows(&format!("SELECT COUNT(*), {distinct} FROM {}", table(database, &stored.name)), &[])?;
                    if let Some([all, of_batch]) = counts.first().map(Vec::as_slice) {
                        (rows, batches) = (records::int(all), records::int(of_batch));
                    }
                }
                let count = |count: i64| u64::try_from(count).unwrap_or(0);
                let (rows, batches) = (count(rows), count(batches));
                datasets.push(DatasetInfo { name: stored.name, view, columns: stored.columns, rows, bytes: 0, files: 0, batches });
            }
            Ok(datasets)
        })
        .await
    }

    async fn query(&self, sql: &str, at: Option<At>) -> Result<Rows, RunError> {
        if at.is_some() {
            let message = format!("{} keeps the newest version alone", self.database.place());
            return Err(RunError::usage(message, "leave `--at` out, or run the project on the embedded engine, which keeps versions"));
        }
        rows(self.database.clone(), sql.to_owned()).await
    }

    async fn show(&self, plan: Arc<Plan>, task: &Task) -> Result<String, RunError> {
        let batch = some_batch();
        let statements = Statements { database: &*self.database, plan: &plan, batch: &batch };
        let filled = statements.fill(task, false).map_err(|why| told(&*self.database, why))?;
        Ok(filled.iter().map(|statement| format!("{statement};\n")).collect())
    }

    fn table(&self, dataset: &DatasetName) -> String {
        table(&*self.database, dataset)
    }

    fn quote(&self) -> char {
        self.database.dialect().quote()
    }

    fn statement(&self, sql: &Rendered, target: &DatasetName) -> Result<Statement, Problems> {
        bench::statement(&*self.database, sql, target)
    }

    /// Names and types are the database's to check, when it runs the query.
    async fn check(&self, _sql: &Rendered, _statement: &Statement, _known: &Known) -> Result<Checked, RunError> {
        Ok(Checked::default())
    }

    async fn bench(
        &self,
        flow: &str,
        own: &[DatasetName],
        lock: &dyn FlowLock,
        run_id: &str,
        anew: bool,
    ) -> Result<Box<dyn Bench>, RunError> {
        let (database, flow, own, fence, run_id) =
            (self.database.clone(), flow.to_owned(), own.to_vec(), lock.fence().number(), run_id.to_owned());
        let bench = blocking(move || {
            let begin = || {
                let mut connection = whole::open(&*database, Access::Write)?;
                connection.run(database.begin(), &[])?;
                Ok(connection)
            };
            let connection = begin().map_err(|why| told(&*database, why))?;
            SqlBench::new(database, connection, &flow, &own, fence, &run_id, anew)
        });
        Ok(Box::new(bench.await?))
    }

    async fn stored(&self, dataset: &DatasetName) -> Result<Option<Stored>, RunError> {
        let dataset = dataset.clone();
        self.read(move |database, connection| {
            let found = records::datasets(database, connection)?.into_iter().find(|stored| stored.name == dataset);
            let Some(found) = found else { return Ok(None) };
            Ok(Some(Stored { columns: found.columns, batches: records::dataset_batches(database, connection, &dataset)? }))
        })
        .await
    }

    async fn read_again(&self, flow: &str, lock: &dyn FlowLock, batch_id: i64, files: &[FileRecord]) -> Result<(), RunError> {
        let (flow, fence, files) = (flow.to_owned(), lock.fence().number(), files.to_vec());
        self.write(move |database, connection| {
            connection.run(database.begin(), &[])?;
            if !runs::keeps_fence(database, connection, &flow, fence)? {
                return Err(RunError::Locked { flow }.into());
            }
            records::read_again(database, connection, &flow, batch_id, &files)?;
            connection.run("COMMIT", &[]).map(|_| ())
        })
        .await
    }

    async fn changed(&self, datasets: &[DatasetName]) -> Result<BTreeMap<DatasetName, i64>, RunError> {
        let wanted = datasets.to_vec();
        self.read(move |database, connection| {
            let stored = records::datasets(database, connection)?;
            Ok(stored.into_iter().filter(|stored| wanted.contains(&stored.name)).map(|stored| (stored.name, stored.changes)).collect())
        })
        .await
    }
}

/// A batch like any other, for texts that are shown and not run.
fn some_batch() -> BatchContext {
    let known = |batch_id| KnownBatch { batch_id, processed_at: 0, files: vec!["…".to_owned()], lacks: Vec::new() };
    BatchContext { batch_id: 2, previous: Some(1), processed_at: 0, known: Arc::new(vec![known(1), known(2)]) }
}

/// Runs a query in a thread of its own, which ends when nobody takes its rows any more.
async fn rows(database: Arc<dyn Database>, sql: String) -> Result<Rows, RunError> {
    let (schema_sender, schema) = oneshot::channel();
    let (sender, receiver) = mpsc::channel::<Result<RecordBatch, RunError>>(2);
    tokio::task::spawn_blocking(move || {
        let mut output = Output {
            schema: Some(schema_sender),
            sender: sender.clone(),
            columns: Vec::new(),
            waiting: Vec::new(),
            booleans: Vec::new(),
            given: Vec::new(),
            builder: None,
        };
        let mut run = || {
            let mut connection = whole::open(&*database, Access::Read)?;
            if !database.tells_booleans() {
                output.booleans = booleans(&*database, &mut *connection)?;
            }
            let prepared = author::prepare(&*database, &mut *connection, &sql, None, &[])?;
            let prepared = prepared.map_err(|wrong| RunError::usage(wrong.message, wrong.help))?;
            output.given = prepared.columns;
            let found = connection.query(&prepared.text, &[], &mut |found, row| output.row(found, row))?;
            output.end(&found)
        };
        let told = |why| {
            if let Failure::Wrong(why) = why { RunError::usage(why, "`qetl datasets` lists what there is") } else { told(&*database, why) }
        };
        // Rows that end early must not pass for all of them.
        let Err(failed) = panics::caught_here(|| run().map_err(told)) else { return };
        let _ = sender.blocking_send(Err(failed));
    });
    let mut receiver = receiver;
    let Ok(schema) = schema.await else {
        let why = receiver.recv().await.and_then(Result::err);
        return Err(why.unwrap_or_else(|| RunError::failed("the query ended early")));
    };
    let stream = futures::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    Ok(Rows { schema, stream: stream.boxed() })
}

fn booleans(database: &dyn Database, connection: &mut dyn Connection) -> Result<Vec<(String, String)>, Failure> {
    if !records::there(database, connection)? {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for stored in records::datasets(database, connection)? {
        let table = TableName::of(database, &stored.name).name;
        let own = stored.columns.iter().filter(|column| column.ty == qetl_core::Type::Bool);
        found.extend(own.map(|column| (table.clone(), column.name.clone())));
    }
    Ok(found)
}

/// Where the rows of a query go.
struct Output {
    schema: Option<oneshot::Sender<arrow::datatypes::SchemaRef>>,
    sender: mpsc::Sender<Result<RecordBatch, RunError>>,
    columns: Vec<Column>,
    /// Rows that wait until the types are known.
    waiting: Vec<Vec<Cell<'static>>>,
    /// Columns of datasets, by table and name, that are booleans although the database says numbers.
    booleans: Vec<(String, String)>,
    /// The columns as the query says them, if it does.
    given: Vec<Named>,
    builder: Option<Builder>,
}

impl Output {
    fn row(&mut self, found: &[Found], row: Vec<Cell<'static>>) -> Result<(), Failure> {
        if self.builder.is_some() {
            return self.push(row);
        }
        self.waiting.push(row);
        if found.iter().all(|column| column.ty.is_some()) || self.waiting.len() == LOOKED_AT { self.settle(found) } else { Ok(()) }
    }

    fn end(&mut self, found: &[Found]) -> Result<(), Failure> {
        if self.builder.is_none() {
            self.settle(found)?;
        }
        self.send()
    }

    /// Settles the columns' types: what the database says, else what the values are.
    fn settle(&mut self, found: &[Found]) -> Result<(), Failure> {
        let ty = |place: usize, column: &Found| {
            if column.origin.as_ref().is_some_and(|origin| self.booleans.contains(origin)) {
                return qetl_core::Type::Bool;
            }
            let fits = |ty: qetl_core::Type| self.waiting.iter().all(|row| coerce(row[place].clone(), ty).is_some());
            let given = if self.given.len() == found.len() { author::result_type(self.given.get(place)) } else { None };
            given.or(column.ty).filter(|ty| fits(*ty)).unwrap_or_else(|| widest(self.waiting.iter().map(|row| &row[place])))
        };
        let types: Vec<qetl_core::Type> = found.iter().enumerate().map(|(place, column)| ty(place, column)).collect();
        self.columns = found.iter().zip(types).map(|(column, ty)| Column::new(&column.name, ty)).collect();
        let builder = Builder::new(&self.columns);
        if let Some(schema) = self.schema.take() {
            let _ = schema.send(builder.schema());
        }
        self.builder = Some(builder);
        std::mem::take(&mut self.waiting).into_iter().try_for_each(|row| self.push(row))
    }

    fn push(&mut self, row: Vec<Cell<'static>>) -> Result<(), Failure> {
        let mut typed = Vec::with_capacity(row.len());
        for (cell, column) in row.into_iter().zip(&self.columns) {
            let what = || Failure::Other(format!("`{}` has values of several types: cast it to one", column.name));
            typed.push(coerce(cell, column.ty).ok_or_else(what)?);
        }
        let Some(builder) = &mut self.builder else { return Ok(()) };
        builder.push(typed);
        if builder.rows() == CHUNK { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<(), Failure> {
        let Some(builder) = &mut self.builder else { return Ok(()) };
        let batch = builder.take().map_err(|why| Failure::Other(why.to_string()))?;
        self.sender.blocking_send(Ok(batch)).map_err(|_| Failure::from(RunError::interrupted()))
    }
}

/// The type that holds all of the values.
fn widest<'a>(cells: impl Iterator<Item = &'a Cell<'static>> + Clone) -> qetl_core::Type {
    use qetl_core::Type;
    let types = || cells.clone().filter_map(Cell::ty);
    let Some(first) = types().next() else { return Type::Text };
    let scale = types().map(|ty| if let Type::Decimal { scale, .. } = ty { scale } else { 0 }).max().unwrap_or(0);
    let candidates = [first, Type::Int, Type::Decimal { precision: 38, scale }, Type::Float];
    let fits = |ty: &Type| cells.clone().all(|cell| coerce(cell.clone(), *ty).is_some());
    candidates.into_iter().find(fits).unwrap_or(Type::Text)
}

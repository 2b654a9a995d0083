//! The work on one batch, in one transaction of the database.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use qetl_core::{DatasetName, Plan, Task, ir::Steps};
use qetl_ingest::{Places, ReadColumn, ReadSpec};
use qetl_runtime::{
    BatchContext, Place, RunError, Work,
    engine::{BatchSource, FilePart, LandError, Landed, Publish},
    progress::Progress,
    report::StepReport,
    run::blocking,
};

use crate::{
    cell::{Builder, Cell, coerce},
    database::{Access, Connection, Database, Failure, told},
    kept::Kept,
    landing::{From, Landing},
    records::{self, Touched},
    runs,
    statements::Statements,
    stored::as_stored,
    tables::{TableName, asks_for_replaced, quoted, table},
    whole,
};

/// How often, and with which pauses, a lost connection is made again to see what became of a COMMIT.
const LOOKS: u32 = 8;

/// Fewer new rows than this are no news to a planner.
const NEWS: u64 = 10_000;

/// The work, with the session that it is done in.
pub(crate) struct SqlWork {
    shared: Arc<Shared>,
}

struct Shared {
    database: Arc<dyn Database>,
    plan: Arc<Plan>,
    fence: i64,
    /// A session that only reads finds the tables as they are.
    access: Access,
    session: Mutex<Session>,
}

struct Session {
    connection: Box<dyn Connection>,
    done: Done,
}

/// What was done in the session.
struct Done {
    kept: Kept,
    touched: Touched,
}

impl SqlWork {
    pub(crate) fn new(database: Arc<dyn Database>, plan: Arc<Plan>, fence: i64, access: Access, connection: Box<dyn Connection>) -> Self {
        let done = Done { kept: Kept::default(), touched: Touched::new() };
        Self { shared: Arc::new(Shared { database, plan, fence, access, session: Mutex::new(Session { connection, done }) }) }
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared, &mut dyn Connection, &mut Done) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, RunError> {
        let shared = self.shared.clone();
        blocking(move || {
            let mut session = shared.session.lock().unwrap_or_else(PoisonError::into_inner);
            let Session { connection, done } = &mut *session;
            work(&shared, &mut **connection, done).map_err(|why| told(&*shared.database, why))
        })
        .await
    }
}

#[async_trait]
impl Work for SqlWork {
    async fn land(
        &mut self,
        batch: &BatchContext,
        source: &BatchSource,
        spec: &ReadSpec,
        ordered: bool,
        progress: &Progress,
    ) -> Result<Landed, LandError> {
        let (source, spec, batch, progress) = (source.clone(), spec.clone(), batch.clone(), progress.clone());
        let landed = self.with(move |shared, connection, done| {
            let database = &*shared.database;
            let landing = shared.landing()?;
            done.kept.forget(database, connection)?;
            done.touched.insert((landing.clone(), batch.batch_id));
            let stay = match &source {
                BatchSource::Files(parts) => FilePart::landed(parts),
                BatchSource::Dataset(_) => Vec::new(),
            };
            shared.set_aside(connection, &landing, &batch, &stay)?;
            let name = TableName::of(database, &landing);
            let from = match &source {
                BatchSource::Files(parts) => From::Files(parts),
                BatchSource::Dataset(dataset) => From::Dataset(dataset),
            };
            let landed =
                Landing { database, table: name, from, spec: &spec, batch_id: batch.batch_id, ordered }.load(connection, &progress);
            if let Ok(landed) = &landed {
                learn(database, connection, &table(database, &landing), landed.rows)?;
            }
            Ok(landed)
        });
        landed.await?
    }

    async fn landed(&mut self, batch: &BatchContext, files: &[String], spec: &ReadSpec, ordered: bool) -> Result<Landed, RunError> {
        let (files, spec, batch_id) = (files.to_vec(), spec.clone(), batch.batch_id);
        self.with(move |shared, connection, _| {
            let database = &*shared.database;
            let landing = shared.landing()?;
            // Columns that came since are NULL, which does not count.
            let stored = records::datasets(database, connection)?.into_iter().find(|stored| stored.name == landing);
            let Some(stored) = stored else { return Ok(Landed::default()) };
            let is_there = |column: &ReadColumn| stored.columns.iter().any(|there| there.name == column.name);
            let spec = ReadSpec { columns: spec.columns.iter().filter(|column| is_there(column)).cloned().collect(), ..spec };
            let (from, table) = (From::Files(&[]), TableName::of(database, &landing));
            let stored = Landing { database, table, from, spec: &spec, batch_id, ordered };
            let counts = stored.counts(connection)?;
            let mut places = Places::default();
            files.iter().for_each(|file| places.add(file, counts.get(file).copied().unwrap_or(0)));
            stored.landed(connection, &files, &places)
        })
        .await
    }

    async fn run(&mut self, batch: &BatchContext, task: &Task, whole: bool, _progress: &Progress) -> Result<StepReport, RunError> {
        let (batch, task, started) = (batch.clone(), task.clone(), Instant::now());
        self.with(move |shared, connection, done| {
            let database = &*shared.database;
            let statements = Statements { database, plan: &shared.plan, batch: &batch };
            if task.write_mode.is_of_batch() {
                done.touched.insert((task.target.clone(), batch.batch_id));
            }
            let task = done.kept.task(&statements, connection, &task, whole)?;
            let mut rows = 0;
            for statement in statements.fill(&task, whole)? {
                let touched = connection.run(&statement, &[])?;
                if statement.starts_with("INSERT") {
                    rows = touched;
                }
            }
            learn(database, connection, &table(database, &task.target), rows)?;
            let mut counts = BTreeMap::new();
            if let Some(count) = statements.count(&task) {
                for row in connection.rows(&count, &[])? {
                    if let [Cell::Text(word), count] = row.as_slice() {
                        counts.insert(word.clone().into_owned(), u64::try_from(records::int(count)).unwrap_or(0));
                    }
                }
            }
            Ok(StepReport { step: task.target.to_string(), rows, seconds: started.elapsed().as_secs_f64(), counts })
        })
        .await
    }

    async fn rows(&mut self, batch: &BatchContext, steps: &Steps) -> Result<Vec<RecordBatch>, RunError> {
        let (batch, steps) = (batch.clone(), steps.clone());
        self.with(move |shared, connection, done| {
            let statements = Statements { database: &*shared.database, plan: &shared.plan, batch: &batch };
            let steps = match shared.access {
                Access::Read => as_stored(&steps, &records::datasets(&*shared.database, connection)?)?,
                Access::Write => done.kept.steps(&statements, connection, &steps)?,
            };
            let Some(last) = steps.0.last() else { return Ok(Vec::new()) };
            let columns = last.rel.columns().to_vec();
            let mut builder = Builder::new(&columns);
            connection.query(&statements.query(&steps, &last.name)?, &[], &mut |_, row| {
                let mut typed = Vec::with_capacity(row.len());
                for (cell, column) in row.into_iter().zip(&columns) {
                    let what = format!("{cell:?} in `{}` is no {}", column.name, column.ty);
                    typed.push(coerce(cell, column.ty).ok_or(Failure::Other(what))?);
                }
                builder.push(typed);
                Ok(())
            })?;
            Ok(vec![builder.take().map_err(|why| Failure::Other(why.to_string()))?])
        })
        .await
    }

    async fn publish(self: Box<Self>, publish: Publish) -> Result<(), RunError> {
        self.with(move |shared, connection, done| shared.publish(connection, &publish, &done.touched)).await
    }
}

pub(crate) fn learn(database: &dyn Database, connection: &mut dyn Connection, table: &str, rows: u64) -> Result<(), Failure> {
    match database.learn(table) {
        Some(statement) if rows >= NEWS => connection.run(&statement, &[]).map(|_| ()),
        _ => Ok(()),
    }
}

/// Takes the rows of a batch out of a landing dataset, but for those of some files.
pub(crate) fn forget_batch(
    database: &dyn Database,
    connection: &mut dyn Connection,
    landing: &DatasetName,
    batch_id: i64,
    stay: &[String],
) -> Result<u64, Failure> {
    let mut condition = format!("{} = {batch_id}", quoted(database, "xt_batch_id"));
    if !stay.is_empty() {
        let names: Vec<String> = stay.iter().map(|name| database.dialect().text(name).to_string()).collect();
        condition.push_str(&format!(" AND {} NOT IN ({})", quoted(database, "xt_source_file"), names.join(", ")));
    }
    connection.run(&format!("DELETE FROM {} WHERE {condition}", table(database, landing)), &[])
}

impl Shared {
    fn landing(&self) -> Result<DatasetName, Failure> {
        let landing = self.plan.landing().map(|landing| landing.name.clone());
        landing.ok_or_else(|| Failure::Other("the flow has no landing dataset".to_owned()))
    }

    /// Takes the batch's rows out of the landing dataset, but for those of some files, and keeps them where tasks ask for them.
    fn set_aside(
        &self,
        connection: &mut dyn Connection,
        landing: &DatasetName,
        batch: &BatchContext,
        stay: &[String],
    ) -> Result<(), Failure> {
        let database = &*self.database;
        if let (true, Some(dataset)) = (asks_for_replaced(&self.plan), self.plan.landing()) {
            let statements = Statements { database, plan: &self.plan, batch };
            for statement in statements.keep_replaced(landing, &dataset.schema)? {
                connection.run(&statement, &[])?;
            }
        }
        forget_batch(database, connection, landing, batch.batch_id, stay).map(|_| ())
    }

    fn publish(&self, connection: &mut dyn Connection, publish: &Publish, touched: &Touched) -> Result<(), Failure> {
        let database = &*self.database;
        if !runs::keeps_fence(database, connection, &publish.flow, self.fence)? {
            return Err(RunError::Locked { flow: publish.flow.clone() }.into());
        }
        records::publish(database, connection, publish, touched, chrono::Utc::now().timestamp_micros())?;
        commit(database, connection, publish)
    }
}

/// Commits; when the connection is lost on the way, the batch is looked up.
pub(crate) fn commit(database: &dyn Database, connection: &mut dyn Connection, publish: &Publish) -> Result<(), Failure> {
    match connection.run("COMMIT", &[]) {
        Err(Failure::Lost(why)) => look_up(database, publish, &why),
        other => other.map(|_| ()).and_then(|()| whole::acknowledge_publish(database, connection)),
    }
}

/// The transaction wrote the flow's row among the fences: once that can be written again, it has ended one way or the other.
fn look_up(database: &dyn Database, publish: &Publish, lost: &str) -> Result<(), Failure> {
    let mut last = lost.to_owned();
    for look in 0..LOOKS {
        std::thread::sleep(Duration::from_millis(50 << look.min(6)));
        let found = whole::open(database, Access::Write).and_then(|mut connection| {
            connection.run(database.begin(), &[])?;
            runs::wait_for_publishes(database, &mut *connection, &publish.flow)?;
            // What was committed meanwhile is seen by a new transaction only.
            connection.run("ROLLBACK", &[])?;
            records::is_published(database, &mut *connection, publish)
        });
        match found {
            Ok(true) => return Ok(()),
            Ok(false) => return Err(Failure::Lost(lost.to_owned())),
            Err(why) => last = why.to_string(),
        }
    }
    let message =
        format!("the connection to {} was lost while the batch was published ({lost}), and it does not answer: {last}", database.place());
    let help = "the batch is there whole or not at all: run the same command again when the database answers".to_owned();
    Err(RunError::Failed { place: Place::default(), message, help }.into())
}

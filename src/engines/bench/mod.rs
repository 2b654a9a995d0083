//! The work on a batch of a standard flow: tasks fill tables in one transaction, in the words of their authors.
//!
//! What a table's columns are is known once its task has run. Where a CREATE would end the transaction, the work is given up then, the
//! table is made without rows, and all that was done is done again.

mod fill;
mod names;
mod read;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use qetl_core::{
    Column, DatasetName, Problems, Type,
    plan::LANDING_COLUMNS,
    standard::{Rendered, same_dataset},
};
use qetl_ingest::{ReadSpec, SourceFile};
use qetl_runtime::{
    RunError,
    engine::{FilePart, LandError, Landed, Publish},
    progress::Progress,
    run::blocking,
    standard::{Bench, Filled, From, Moment, Scopes, Statement, Target, TemporaryTable},
};
use qetl_sql::dialects::Scratch;

use crate::{
    arrow_file,
    cell::coerce,
    database::{Connection, Database, Failure, told},
    landing::{self, Landing},
    records::{self, Touched},
    runs,
    tables::{self, TableName, quoted_list, table},
    work::{commit, forget_batch},
};

/// What qetl adds to a result.
const OWN: [(&str, Type); 2] = [("xt_batch_id", Type::Int), ("xt_processed_at", Type::Timestamp)];
/// Where a task's rows stand before they go into its target.
const FILLED: &str = "qetl_filled";

/// Reads a task's SQL.
pub(crate) fn statement(database: &dyn Database, sql: &Rendered, target: &DatasetName) -> Result<Statement, Problems> {
    let read = qetl_sql::task::read(sql, target, database.syntax())?;
    let temporary = |table: qetl_sql::task::TemporaryTable| {
        let qetl_sql::task::TemporaryTable { name, written, query, span } = table;
        TemporaryTable { name, written, query, span }
    };
    Ok(Statement {
        temporary: read.temporary.into_iter().map(temporary).collect(),
        qualified: read.qualified,
        kind: read.kind,
        query: read.query,
        columns: read.columns,
        reads: read.reads.into_iter().map(|read| (read.dataset, read.span)).collect(),
        functions: read.functions,
    })
}

/// The work, with the session that it is done in. Tasks take turns.
pub(crate) struct SqlBench(Arc<Shared>);

struct Shared {
    database: Arc<dyn Database>,
    connection: Mutex<Box<dyn Connection>>,
    /// The work so far, where it may have to be done again.
    done: Mutex<Vec<Again>>,
    /// Something failed: nothing more is done.
    failed: AtomicBool,
    /// What has to be made first.
    missing: Mutex<Option<Missing>>,
    flow: String,
    own: Vec<DatasetName>,
    fence: i64,
    /// What tasks derived before is gone; datasets that were filled since.
    anew: Option<Mutex<BTreeSet<DatasetName>>>,
    touched: Mutex<Touched>,
    folder: PathBuf,
}

type Again = Box<dyn Fn(&Shared, &mut dyn Connection) -> Result<(), Failure> + Send + Sync>;

/// A table that is not there yet, or not with all columns.
#[derive(PartialEq)]
struct Missing {
    dataset: DatasetName,
    columns: Vec<Column>,
    keys: Vec<String>,
    by_batch: bool,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl SqlBench {
    /// The connection is in a transaction.
    pub(crate) fn new(
        database: Arc<dyn Database>,
        connection: Box<dyn Connection>,
        flow: &str,
        own: &[DatasetName],
        fence: i64,
        run_id: &str,
        anew: bool,
    ) -> Result<Self, RunError> {
        let folder = std::env::temp_dir().join(format!("qetl-{flow}-{run_id}"));
        std::fs::create_dir_all(&folder).map_err(|why| RunError::failed(format!("`{}`: {why}", folder.display())))?;
        let anew = anew.then(Mutex::default);
        let (flow, own, connection) = (flow.to_owned(), own.to_vec(), Mutex::new(connection));
        let (done, failed, missing, touched) = (Mutex::default(), AtomicBool::new(false), Mutex::default(), Mutex::default());
        Ok(Self(Arc::new(Shared { database, connection, done, failed, missing, flow, own, fence, anew, touched, folder })))
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared, &mut dyn Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, RunError> {
        let shared = self.0.clone();
        blocking(move || {
            let mut connection = held(&shared.connection);
            // The transaction may be gone with what failed in it.
            if shared.failed.load(Ordering::Relaxed) {
                return Err(RunError::Abandoned);
            }
            let outcome = work(&shared, &mut **connection);
            shared.failed.store(outcome.is_err(), Ordering::Relaxed);
            outcome.map_err(|why| told(&*shared.database, why))
        })
        .await
    }

    /// The same for work that fills tables. `content` is what must be the same when it is done again; `None`: it need not be.
    async fn fills<T: Send + 'static>(
        &self,
        content: fn(&T) -> Option<(u64, u128)>,
        work: impl Fn(&Shared, &mut dyn Connection) -> Result<T, Failure> + Send + Sync + 'static,
    ) -> Result<T, RunError> {
        self.with(move |shared, connection| {
            let mut outcome = work(shared, connection);
            let mut made = Vec::new();
            while outcome.is_err()
                && let Some(missing) = held(&shared.missing).take()
            {
                if made.contains(&missing) {
                    return Err(Failure::Other(format!("the columns of `{}` change with every attempt", missing.dataset)));
                }
                shared.make(connection, &missing)?;
                made.push(missing);
                let again = held(&shared.done).iter().try_for_each(|work| work(shared, connection));
                outcome = again.and_then(|()| work(shared, connection));
            }
            let value = outcome?;
            if let (true, Some(first)) = (shared.database.ddl_commits(), content(&value)) {
                held(&shared.done).push(Box::new(move |shared, connection| {
                    let changed = content(&work(shared, connection)?) != Some(first);
                    if changed { Err(RunError::failed("a source was changed while it was read").into()) } else { Ok(()) }
                }));
            }
            Ok(value)
        })
        .await
    }
}

fn held<T: ?Sized>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where rows come from, owned by the thread that reads them.
enum Source {
    Query { sql: Box<Rendered>, statement: Box<Statement>, scopes: Scopes },
    File(SourceFile),
}

#[async_trait]
impl Bench for SqlBench {
    fn folder(&self) -> &Path {
        &self.0.folder
    }

    async fn land(
        &self,
        batch_id: i64,
        into: &DatasetName,
        files: &[FilePart],
        spec: &ReadSpec,
        progress: &Progress,
    ) -> Result<Landed, LandError> {
        let (into, files, spec, progress) = (into.clone(), files.to_vec(), spec.clone(), progress.clone());
        // A landing that ends in a wider type begins anew by itself.
        let content = |landed: &Result<Landed, LandError>| landed.as_ref().ok().map(|landed| (landed.rows, landed.content_hash));
        let landed = self.fills(content, move |shared, connection| {
            let database = &*shared.database;
            let own = spec.columns.iter().map(|column| Column::new(&column.name, column.ty.unwrap_or(Type::Text)));
            let columns: Vec<Column> =
                own.chain(spec.bad_columns().iter().chain(&LANDING_COLUMNS).map(|(name, ty)| Column::new(name, *ty))).collect();
            shared.follow(connection, Missing { dataset: into.clone(), columns, keys: Vec::new(), by_batch: true })?;
            let gone = forget_batch(database, connection, &into, batch_id, &FilePart::landed(&files))?;
            let table = TableName::of(database, &into);
            let landing = Landing { database, table, from: landing::From::Files(&files), spec: &spec, batch_id, ordered: false };
            let landed = landing.load(connection, &progress);
            // A batch without rows is none of the dataset's.
            if gone + landed.as_ref().map_or(0, |landed| landed.rows) > 0 {
                shared.touch(&into, batch_id);
            }
            Ok(landed)
        });
        landed.await?
    }

    async fn fill(&self, moment: Moment, from: From<'_>, target: &Target, _progress: &Progress) -> Result<Filled, RunError> {
        let source = match from {
            From::Query { sql, statement, scopes } => {
                Source::Query { sql: Box::new(sql.clone()), statement: Box::new(statement.clone()), scopes: scopes.clone() }
            }
            From::File(file) => Source::File(self.0.keep(file)?),
        };
        let target = target.clone();
        self.fills(
            |_: &Filled| Some((0, 0)),
            move |shared, connection| {
                let ((found, warnings), listed) = match &source {
                    Source::Query { sql, statement, scopes } => {
                        (shared.run_statements(connection, moment, sql, statement, scopes)?, statement.columns.as_slice())
                    }
                    Source::File(file) => ((shared.read_file(connection, file)?, Vec::new()), &[] as &[String]),
                };
                Ok(Filled { rows: shared.fill(connection, moment, &target, &found, listed)?, warnings })
            },
        )
        .await
    }

    async fn export(&self, moment: Moment, dataset: &DatasetName, scopes: &Scopes, path: &Path) -> Result<(), RunError> {
        let (dataset, scopes, path) = (dataset.clone(), scopes.clone(), path.to_owned());
        self.with(move |shared, connection| shared.export(connection, moment, &dataset, &scopes, &path)).await
    }

    async fn publish(&self, publish: Publish) -> Result<(), RunError> {
        self.with(move |shared, connection| {
            let database = &*shared.database;
            if !runs::keeps_fence(database, connection, &publish.flow, shared.fence)? {
                return Err(RunError::Locked { flow: publish.flow.clone() }.into());
            }
            let touched = held(&shared.touched);
            records::publish(database, connection, &publish, &touched, chrono::Utc::now().timestamp_micros())?;
            commit(database, connection, &publish)
        })
        .await
    }
}

impl Shared {
    fn touch(&self, dataset: &DatasetName, batch_id: i64) {
        held(&self.touched).insert((dataset.clone(), batch_id));
    }

    /// Sees to it that the table has these columns, if that can be done here.
    fn follow(&self, connection: &mut dyn Connection, table: Missing) -> Result<(), Failure> {
        let database = &*self.database;
        let stored = records::datasets(database, connection)?.into_iter().find(|stored| stored.name == table.dataset);
        if stored.is_some_and(|stored| table.columns.iter().all(|column| stored.columns.contains(column))) {
            return Ok(());
        }
        if database.ddl_commits() {
            *held(&self.missing) = Some(table);
            return Err(Failure::Other("a table has to be made first".to_owned()));
        }
        tables::follow_table(database, connection, &self.flow, &table.dataset, &table.columns, &table.keys)
    }

    /// Gives the work up, makes the table, and begins anew.
    fn make(&self, connection: &mut dyn Connection, table: &Missing) -> Result<(), Failure> {
        let database = &*self.database;
        connection.run("ROLLBACK", &[])?;
        if let Some(made) = &self.anew {
            held(made).clear();
        }
        let is_new = !records::datasets(database, connection)?.iter().any(|stored| stored.name == table.dataset);
        tables::follow_table(database, connection, &self.flow, &table.dataset, &table.columns, &table.keys)?;
        if is_new {
            records::keeps_by_batch(database, connection, &table.dataset, table.by_batch)?;
        }
        connection.run(database.begin(), &[]).map(|_| ())
    }

    /// The file of a script's result, which may be read again after the script's own folder is gone.
    fn keep(&self, file: &SourceFile) -> Result<SourceFile, RunError> {
        if !self.database.ddl_commits() {
            return Ok(file.clone());
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let path = self.folder.join(format!("kept_{}.arrow", NEXT.fetch_add(1, Ordering::Relaxed)));
        let linked = std::fs::hard_link(&file.path, &path).or_else(|_| std::fs::copy(&file.path, &path).map(|_| ()));
        linked.map_err(|why| RunError::failed(format!("`{}`: {why}", path.display())))?;
        Ok(SourceFile { path, ..file.clone() })
    }

    fn drop_scratch(&self, connection: &mut dyn Connection, name: &str) -> Result<(), Failure> {
        let temporary = if self.database.dialect().scratch() == Scratch::TemporaryDropped { "TEMPORARY " } else { "" };
        connection.run(&format!("DROP {temporary}TABLE IF EXISTS {name}"), &[]).map(|_| ())
    }

    /// Writes a dataset's rows to an Arrow file that any Arrow library reads.
    fn export(
        &self,
        connection: &mut dyn Connection,
        moment: Moment,
        dataset: &DatasetName,
        scopes: &Scopes,
        path: &Path,
    ) -> Result<(), Failure> {
        let database = &*self.database;
        let found = records::datasets(database, connection)?.into_iter().find(|stored| same_dataset(&stored.name, dataset));
        let Some(stored) = found else {
            return Err(RunError::failed(format!("dataset `{dataset}` is not there")).into());
        };
        let condition = self.condition(&stored, moment, scopes).map_or_else(String::new, |condition| format!(" WHERE {condition}"));
        let names = quoted_list(database, stored.columns.iter().map(|column| column.name.as_str()));
        let query = format!("SELECT {names} FROM {}{condition}", table(database, &stored.name));
        arrow_file::write(connection, &query, &stored.columns, path, &mut |row| {
            let typed = row.into_iter().zip(&stored.columns).map(|(cell, column)| {
                coerce(cell, column.ty).ok_or_else(|| Failure::Other(format!("a value of `{}` is no {}", column.name, column.ty)))
            });
            typed.collect()
        })
    }
}

//! The work on a batch of a standard flow: tasks fill tables in one transaction, in the words of their authors.
//!
//! What a table's columns are is known once its task has run. Where a CREATE would end the transaction, the work is given up then, the
//! table is made without rows, and all that was done is done again.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use qetl_core::{
    Column, DatasetName, Problems, Type,
    format::ReaderOptions,
    load::OnExtraColumns,
    plan::LANDING_COLUMNS,
    standard::{Rendered, SourceScope, WriteMode, same_dataset},
};
use qetl_ingest::{ReadColumn, ReadSpec, SourceFile};
use qetl_runtime::{
    Place, RunError,
    engine::{LandError, Landed, Publish},
    progress::Progress,
    run::blocking,
    standard::{Bench, From, Moment, Statement, Target},
};

use crate::{
    arrow_file,
    cell::{Cell, coerce, joined},
    database::{Connection, Database, Failure, Found, told},
    landing::{self, Landing},
    records::{self, Stored, Touched, numbered},
    tables::{self, TableName, quoted, quoted_list, table},
    work::commit,
};

/// What qetl adds to a result.
const OWN: [(&str, Type); 2] = [("xt_batch_id", Type::Int), ("xt_processed_at", Type::Timestamp)];
/// Where a task's rows stand before they go into its target.
const FILLED: &str = "qetl_filled";

/// Reads a task's SQL.
pub(crate) fn statement(database: &dyn Database, sql: &Rendered, target: &DatasetName) -> Result<Statement, Problems> {
    let read = qetl_sql::task::read(sql, target, database.syntax())?;
    Ok(Statement {
        temporary: read.temporary.into_iter().map(|table| (table.written, table.query)).collect(),
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
        let (done, missing, touched) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Self(Arc::new(Shared { database, connection, done, missing, flow, own, fence, anew, touched, folder })))
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared, &mut dyn Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, RunError> {
        let shared = self.0.clone();
        blocking(move || {
            let mut connection = held(&shared.connection);
            work(&shared, &mut **connection).map_err(|why| told(&*shared.database, why))
        })
        .await
    }

    /// The same for work that fills tables.
    async fn fills<T: Send + 'static>(
        &self,
        work: impl Fn(&Shared, &mut dyn Connection) -> Result<T, Failure> + Send + Sync + 'static,
    ) -> Result<T, RunError> {
        self.with(move |shared, connection| {
            let mut outcome = work(shared, connection);
            while outcome.is_err()
                && let Some(missing) = held(&shared.missing).take()
            {
                shared.make(connection, &missing)?;
                let again = held(&shared.done).iter().try_for_each(|work| work(shared, connection));
                outcome = again.and_then(|()| work(shared, connection));
            }
            let value = outcome?;
            if shared.database.ddl_commits() {
                held(&shared.done).push(Box::new(move |shared, connection| work(shared, connection).map(|_| ())));
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
    Query { sql: Box<Rendered>, statement: Box<Statement>, scope: SourceScope },
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
        files: &[SourceFile],
        spec: &ReadSpec,
        progress: &Progress,
    ) -> Result<Landed, LandError> {
        let (into, files, spec, progress) = (into.clone(), files.to_vec(), spec.clone(), progress.clone());
        let landed = self.fills(move |shared, connection| {
            let database = &*shared.database;
            let own = spec.columns.iter().map(|column| Column::new(&column.name, column.ty.unwrap_or(Type::Text)));
            let columns: Vec<Column> = own.chain(LANDING_COLUMNS.iter().map(|(name, ty)| Column::new(name, *ty))).collect();
            shared.follow(connection, Missing { dataset: into.clone(), columns, keys: Vec::new(), by_batch: true })?;
            let of_batch = format!("{} = {batch_id}", quoted(database, "xt_batch_id"));
            connection.run(&format!("DELETE FROM {} WHERE {of_batch}", table(database, &into)), &[])?;
            shared.touch(&into, batch_id);
            let table = TableName::of(database, &into);
            let landing = Landing { database, table, from: landing::From::Files(&files), spec: &spec, batch_id, ordered: false };
            Ok(landing.load(connection, &progress))
        });
        landed.await?
    }

    async fn fill(&self, moment: Moment, from: From<'_>, target: &Target, _progress: &Progress) -> Result<u64, RunError> {
        let source = match from {
            From::Query { sql, statement, scope } => {
                Source::Query { sql: Box::new(sql.clone()), statement: Box::new(statement.clone()), scope }
            }
            From::File(file) => Source::File(file.clone()),
        };
        let target = target.clone();
        self.fills(move |shared, connection| {
            let (found, listed) = match &source {
                Source::Query { sql, statement, scope } => {
                    (shared.run_statements(connection, moment, sql, statement, *scope)?, statement.columns.as_slice())
                }
                Source::File(file) => (shared.read_file(connection, file)?, &[] as &[String]),
            };
            shared.fill(connection, moment, &target, &found, listed)
        })
        .await
    }

    async fn export(&self, moment: Moment, dataset: &DatasetName, scope: SourceScope, path: &Path) -> Result<(), RunError> {
        let (dataset, path) = (dataset.clone(), path.to_owned());
        self.with(move |shared, connection| shared.export(connection, moment, &dataset, scope, &path)).await
    }

    async fn publish(&self, publish: Publish) -> Result<(), RunError> {
        self.with(move |shared, connection| {
            let database = &*shared.database;
            if !records::keeps_fence(database, connection, &publish.flow, shared.fence)? {
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

    fn drop_scratch(&self, connection: &mut dyn Connection, name: &str) -> Result<(), Failure> {
        let temporary = if self.database.ddl_commits() { "TEMPORARY " } else { "" };
        connection.run(&format!("DROP {temporary}TABLE IF EXISTS {name}"), &[]).map(|_| ())
    }

    /// The condition that a task's rows of a dataset meet, if not all do.
    fn condition(&self, stored: &Stored, moment: Moment, scope: SourceScope) -> Option<String> {
        if !stored.columns.iter().any(|column| column.name == "xt_batch_id") {
            return None;
        }
        let column = quoted(&*self.database, "xt_batch_id");
        let is_own = self.own.iter().any(|own| same_dataset(own, &stored.name));
        match scope {
            SourceScope::Batch => Some(format!("{column} = {}", moment.batch_id)),
            // A batch that is derived again must not find later ones.
            SourceScope::All if is_own && stored.by_batch => Some(format!("{column} <= {}", moment.batch_id)),
            SourceScope::All => None,
        }
    }

    /// Runs an author's statements, the last one's query into the scratch table: what they must not see of a dataset is hidden by an
    /// expression of its name.
    fn run_statements(
        &self,
        connection: &mut dyn Connection,
        moment: Moment,
        sql: &Rendered,
        statement: &Statement,
        scope: SourceScope,
    ) -> Result<Vec<Column>, Failure> {
        let database = &*self.database;
        let mut hidden = Vec::new();
        for stored in records::datasets(database, connection)? {
            if !statement.reads.iter().any(|(read, _)| same_dataset(read, &stored.name)) {
                continue;
            }
            if let Some(condition) = self.condition(&stored, moment, scope) {
                let real = database.real_table(&stored.name);
                let expression = format!("{} AS (SELECT * FROM {real} WHERE {condition})", quoted(database, &stored.name.name));
                hidden.push((stored.name.name, expression));
            }
        }
        self.drop_scratch(connection, FILLED)?;
        let last = (FILLED.to_owned(), statement.query.clone());
        for (name, query) in statement.temporary.iter().chain([&last]) {
            let mut expressions: Vec<&str> = hidden.iter().map(|(_, expression)| expression.as_str()).collect();
            let own = format!("qetl_result AS (\n{}\n)", &sql.text[query.clone()]);
            expressions.push(&own);
            let made = format!("CREATE TEMPORARY TABLE {name} AS WITH {} SELECT * FROM qetl_result", expressions.join(", "));
            connection.run(&made, &[]).map_err(|why| {
                let Failure::Wrong(message) = why else { return why };
                let problem = sql.problem("qetl::sql::engine", query.clone(), message).label("this query");
                RunError::from(sql.placed(problem.into())).into()
            })?;
            // From here on the name is the temporary table's.
            hidden.retain(|(dataset, _)| !dataset.eq_ignore_ascii_case(name) && quoted(database, dataset) != *name);
        }
        for (name, _) in &statement.temporary {
            self.drop_scratch(connection, name)?;
        }
        let mut seen: Vec<Option<Type>> = Vec::new();
        let found = connection.query(&format!("SELECT * FROM {FILLED}"), &[], &mut |found, row| {
            seen.resize(found.len(), None);
            for (seen, cell) in seen.iter_mut().zip(&row) {
                *seen = joined(*seen, cell.ty());
            }
            Ok(())
        })?;
        seen.resize(found.len(), None);
        let ty = |found: &Found, seen: Option<Type>| match found.ty {
            Some(Type::Decimal { precision: 38, scale: 0 }) => joined(found.ty, seen),
            known => known.or(seen),
        };
        Ok(found.iter().zip(seen).map(|(found, seen)| Column::new(&found.name, ty(found, seen).unwrap_or(Type::Text))).collect())
    }

    /// Reads a script's result into the scratch table, as any Arrow file is read.
    fn read_file(&self, connection: &mut dyn Connection, file: &SourceFile) -> Result<Vec<Column>, Failure> {
        let data = |problem: qetl_ingest::DataProblem| Failure::from(RunError::from(problem));
        let names = qetl_ingest::column_names(file, &ReaderOptions::default()).map_err(data)?;
        let names: Vec<String> = names.into_iter().filter(|name| !name.to_ascii_lowercase().starts_with("xt_")).collect();
        if let Some((name, why)) = names.iter().find_map(|name| Some((name, qetl_core::schema::refuse_column_name(name)?))) {
            return Err(
                RunError::usage(format!("`{name}` cannot be a column of a dataset"), format!("{why}; rename it in the script")).into()
            );
        }
        let column = |name: &String| ReadColumn { name: name.clone(), ty: None, required: false, inferred: false };
        let columns = names.iter().map(column).collect();
        let mut spec = ReadSpec { columns, options: ReaderOptions::default(), on_extra_columns: OnExtraColumns::Ignore };
        let types = qetl_ingest::infer(std::slice::from_ref(file), &spec).map_err(data)?;
        for (column, found) in spec.columns.iter_mut().zip(&types) {
            column.ty = Some(found.ty);
        }
        let found: Vec<Column> = names.iter().zip(&types).map(|(name, found)| Column::new(name, found.ty)).collect();
        let database = &*self.database;
        self.drop_scratch(connection, FILLED)?;
        connection.run(&format!("CREATE TEMPORARY TABLE {FILLED} ({})", tables::declared(database, &found)?), &[])?;
        let filled = TableName { schema: None, name: FILLED.to_owned() };
        tables::load_all(connection, &filled, &found, qetl_ingest::read(file, &spec).map_err(data)?)?;
        Ok(found)
    }

    /// From the scratch table into the target. `listed`: the columns that an INSERT fills, in its order.
    fn fill(
        &self,
        connection: &mut dyn Connection,
        moment: Moment,
        target: &Target,
        found: &[Column],
        listed: &[String],
    ) -> Result<u64, Failure> {
        let database = &*self.database;
        if !listed.is_empty() && listed.len() != found.len() {
            let message = format!("the INSERT lists {} columns, and its query gives {}", listed.len(), found.len());
            return Err(RunError::usage(message, "list as many columns as the query gives").into());
        }
        let named = |(place, column): (usize, &Column)| {
            let name = listed.get(place).unwrap_or(&column.name).clone();
            (quoted(database, &column.name), Column::new(&name, column.ty))
        };
        let result: Vec<(String, Column)> = found.iter().enumerate().map(named).collect();
        let result: Vec<(String, Column)> =
            result.into_iter().filter(|(_, column)| !column.name.to_ascii_lowercase().starts_with("xt_")).collect();
        let first = self.anew.as_ref().is_some_and(|made| held(made).insert(target.dataset.clone()));
        let stored = records::datasets(database, connection)?.into_iter().find(|stored| stored.name == target.dataset);
        let replaces = target.mode == WriteMode::Replace || first;
        let by_batch = target.mode == WriteMode::ReplaceBatch;
        // A table is made anew with other columns only in the transaction itself.
        let stays = !replaces || database.ddl_commits();
        let kept: Vec<Column> = stored.as_ref().filter(|_| stays).map(|stored| stored.columns.clone()).unwrap_or_default();
        let mut columns = Vec::new();
        let into = table(database, &target.dataset);
        for (_, column) in &result {
            let mut old = kept.iter().find(|old| old.name == column.name).map(|old| old.ty);
            // Of a column that has no value yet nobody may have known the type.
            if old == Some(Type::Text) && column.ty != Type::Text {
                let name = quoted(database, &column.name);
                let values = connection.rows(&format!("SELECT {name} FROM {into} WHERE {name} IS NOT NULL LIMIT 1"), &[])?;
                old = old.filter(|_| !values.is_empty());
            }
            columns.push(Column::new(&column.name, fitted(&target.dataset, column, old)?));
        }
        columns.extend(OWN.map(|(name, ty)| Column::new(name, ty)));
        match &stored {
            Some(stored) if !stays && stored.columns != columns => {
                connection.run(&format!("DROP TABLE {into}"), &[])?;
                records::forget_dataset(database, connection, &target.dataset)?;
            }
            Some(_) if replaces => {
                connection.run(&format!("DELETE FROM {into}"), &[])?;
            }
            Some(stored) if by_batch && !target.append && !stored.by_batch => {
                let message = format!("the rows of `{}` are not kept by batch: its task replaced all of them, or merged", target.dataset);
                return Err(RunError::usage(message, "derive everything again with `--full-refresh`, or set the `write_mode` back").into());
            }
            Some(_) if by_batch && !target.append => {
                let of_batch = format!("{} = {}", quoted(database, "xt_batch_id"), moment.batch_id);
                connection.run(&format!("DELETE FROM {into} WHERE {of_batch}"), &[])?;
            }
            Some(_) | None => (),
        }
        if by_batch {
            self.touch(&target.dataset, moment.batch_id);
        }
        let fills = quoted_list(database, columns.iter().map(|column| column.name.as_str()));
        self.follow(connection, Missing { dataset: target.dataset.clone(), columns, keys: target.unique_key.clone(), by_batch })?;
        records::keeps_by_batch(database, connection, &target.dataset, by_batch)?;
        let distinct = if target.mode == WriteMode::Merge { "DISTINCT " } else { "" };
        if target.mode == WriteMode::Merge {
            self.make_way(connection, target, &result, &into)?;
        }
        let mut values: Vec<String> = result.iter().map(|(place, _)| place.clone()).collect();
        for (_, ty) in OWN {
            let ty = database.dialect().type_name(ty).map_err(|what| Failure::Other(what.to_string()))?;
            values.push(format!("CAST(? AS {ty})"));
        }
        let insert = format!("INSERT INTO {into} ({fills}) SELECT {distinct}{} FROM {FILLED}", values.join(", "));
        connection.run(&numbered(database, &insert), &[Cell::Int(moment.batch_id), Cell::Timestamp(moment.processed_at)])
    }

    /// Takes the rows of the new ones' keys away. Of two new rows with one key nobody could say which counts.
    fn make_way(&self, connection: &mut dyn Connection, target: &Target, result: &[(String, Column)], into: &str) -> Result<(), Failure> {
        let database = &*self.database;
        let mut keys = Vec::new();
        for key in &target.unique_key {
            let Some((place, _)) = result.iter().find(|(_, column)| column.name == *key) else {
                let message = format!("`unique_key` names `{key}`, which is no column of the result");
                let known = result.iter().map(|(_, column)| column.name.as_str());
                return Err(RunError::usage(message, qetl_core::suggest::help(key, known)).into());
            };
            keys.push((place.clone(), quoted(database, key)));
        }
        let places: Vec<&str> = keys.iter().map(|(place, _)| place.as_str()).collect();
        let all: Vec<&str> = result.iter().map(|(place, _)| place.as_str()).collect();
        let twice = format!(
            "SELECT {0}, COUNT(*) FROM (SELECT DISTINCT {1} FROM {FILLED}) AS once GROUP BY {0} HAVING COUNT(*) > 1 LIMIT 1",
            places.join(", "),
            all.join(", ")
        );
        if let Some(row) = connection.rows(&twice, &[])?.first() {
            let text = |cell: &Cell<'static>| match coerce(cell.clone(), Type::Text) {
                Some(Cell::Text(text)) => text.into_owned(),
                _ => "NULL".to_owned(),
            };
            let key: Vec<String> = target.unique_key.iter().zip(row).map(|(key, cell)| format!("{key} = {}", text(cell))).collect();
            let times = row.last().map_or(2, records::int);
            let message = format!("{times} different rows have the key {}", key.join(", "));
            let help = "`merge` keeps one row a key: let the query give one, such as with `GROUP BY` or `ROW_NUMBER()`";
            return Err(RunError::refused(Place::default(), message, help).into());
        }
        let same: Vec<String> = keys.iter().map(|(place, key)| format!("n.{place} {} {into}.{key}", database.same())).collect();
        connection.run(&format!("DELETE FROM {into} WHERE EXISTS (SELECT 1 FROM {FILLED} n WHERE {})", same.join(" AND ")), &[])?;
        Ok(())
    }

    /// Writes a dataset's rows to an Arrow file that any Arrow library reads.
    fn export(
        &self,
        connection: &mut dyn Connection,
        moment: Moment,
        dataset: &DatasetName,
        scope: SourceScope,
        path: &Path,
    ) -> Result<(), Failure> {
        let database = &*self.database;
        let found = records::datasets(database, connection)?.into_iter().find(|stored| same_dataset(&stored.name, dataset));
        let Some(stored) = found else {
            return Err(RunError::failed(format!("dataset `{dataset}` is not there")).into());
        };
        let condition = self.condition(&stored, moment, scope).map_or_else(String::new, |condition| format!(" WHERE {condition}"));
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

/// The type that holds the column's new rows and those that stay.
fn fitted(dataset: &DatasetName, column: &Column, old: Option<Type>) -> Result<Type, RunError> {
    match old {
        None => Ok(column.ty),
        Some(old) if old == column.ty => Ok(old),
        Some(old) => match joined(Some(old), Some(column.ty)) {
            Some(ty) if ty.is_numeric() => Ok(ty),
            _ if column.ty == Type::Text && old != Type::Text => Ok(old),
            _ => {
                let message = format!("column `{}` of `{dataset}` was {old} and would be {} now", column.name, column.ty);
                Err(RunError::usage(message, format!("cast it to {old}, or derive everything again with `--full-refresh`")))
            }
        },
    }
}

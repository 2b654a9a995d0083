//! The work on a standard flow: files, SQL and scripts' results go into staged files, then all is published.

mod fill;
mod tables;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use datafusion::{
    catalog::{MemoryCatalogProviderList, TableProvider},
    datasource::ViewTable,
    error::Result as PlanResult,
    execution::SessionStateBuilder,
    logical_expr::ident,
    prelude::{SessionContext, lit},
};
use qetl_core::{
    Column, DatasetName, Problem, Problems,
    plan::LANDING_COLUMNS,
    schema::Schema,
    standard::{Rendered, same_dataset},
};
use qetl_ingest::ReadSpec;
use qetl_runtime::{
    RunError,
    engine::{FilePart, LandError, Landed, Publish},
    panics,
    progress::Progress,
    run::blocking,
    standard::{Bench, Checked, Filled, From, Known, Moment, Scopes, Statement, Target},
};

use crate::{
    author::{self, Wrong},
    calendar,
    catalog::{BatchRange, Catalog, CatalogTable, Changes, DataFile, Snapshot, TableChange, refuse_gaps},
    error,
    landed::LandedRows,
    landing::{Rows, StopWhenDropped, land},
    lower::scan,
    query::{CATALOG_PLACEHOLDER, arrow_schema, columns},
    scan::PinnedTable,
    session::Limits,
    stage::{Layout, StagedFile, remove},
    staging::{external, lock},
};
use tables::{Datasets, Names, Unread};

/// What the SQL of tasks calls the warehouse's catalog.
const CATALOG: &str = "warehouse";

/// Reads a task's SQL.
pub(crate) fn statement(sql: &Rendered, target: &DatasetName) -> Result<Statement, Problems> {
    let read = qetl_sql::task::read(sql, target, &qetl_sql::syntax::GenericDialect {})?;
    if let Some(table) = read.temporary.first() {
        let what = "the embedded engine makes no temporary tables";
        let problem = Problem::new("qetl::sql::temporary_table", table.span, what).label("made here");
        return Err(problem.help(format!("name the query in the task's own: `WITH {} AS (SELECT …) SELECT …`", table.name)).into());
    }
    Ok(Statement {
        temporary: Vec::new(),
        qualified: read.qualified,
        kind: read.kind,
        query: read.query,
        columns: read.columns,
        reads: read.reads.into_iter().map(|read| (read.dataset, read.span)).collect(),
        functions: read.functions,
    })
}

/// Checks a task's SQL over datasets of which the columns are known.
pub(crate) async fn check(limits: &Limits, sql: &Rendered, statement: &Statement, known: &Known) -> Result<Checked, RunError> {
    let read = |name: &DatasetName| statement.reads.iter().any(|(read, _)| same_dataset(read, name));
    let known: Known = known.iter().filter(|(name, _)| read(name)).map(|(name, known)| (name.clone(), known.clone())).collect();
    let typed = known.values().all(|known| known.typed);
    let session = base_session(limits, true).map_err(error::engine)?;
    // Nothing is worked out, so that no time matters.
    calendar::register(&session, 0).map_err(error::engine)?;
    session.register_catalog(CATALOG, Arc::new(Names(Arc::new(Unread(known)))));
    match author::plan(&session, sql, statement).await {
        Ok(query) => {
            // What is presumed is text, so a cast to text is told of types that are known.
            let columns = query.columns.into_iter().map(|column| column.column).collect();
            Ok(Checked { columns: Some(columns), warnings: query.warnings })
        }
        Err(Wrong::Other(_)) if !typed => Ok(Checked::default()),
        Err(Wrong::Name(problem) | Wrong::Other(problem)) => Err(sql.placed(problem.into()).into()),
        Err(Wrong::Engine(why)) => Err(error::engine(why)),
    }
}

/// A session for the SQL of authors.
fn base_session(limits: &Limits, hash_joins: bool) -> PlanResult<SessionContext> {
    let session = limits.work_session(hash_joins, 0)?;
    {
        let state = session.state_ref();
        let mut state = state.write();
        let options = state.config_mut().options_mut();
        // Whoever writes SQL has not ordered joins by size.
        options.optimizer.join_reordering = true;
    }
    author::register(&session);
    Ok(session)
}

/// What the work has made of a dataset.
struct Made {
    layout: Arc<Layout>,
    /// As people and SQL see them.
    columns: Vec<Column>,
    /// Nothing that was published remains.
    replaced: bool,
    /// Rows that are not kept apart by batch.
    whole: Vec<StagedFile>,
    /// Staged files by batch; a batch without files is empty from now on.
    batches: BTreeMap<i64, Vec<StagedFile>>,
    by_batch: bool,
}

impl Made {
    fn files(&self) -> impl Iterator<Item = &StagedFile> {
        self.whole.iter().chain(self.batches.values().flatten())
    }
}

/// What all tasks of a work share.
struct Shared {
    catalog: Catalog,
    limits: Limits,
    snapshot: Snapshot,
    fence: i64,
    flow: String,
    run_id: String,
    own: Vec<DatasetName>,
    anew: bool,
    spill: PathBuf,
    made: Mutex<BTreeMap<DatasetName, Made>>,
    /// With hash joins, and with joins that sort and spill; both with one pool of memory.
    sessions: [SessionContext; 2],
    /// Its files may be published: only the next lock of the flow takes away those that are not.
    publishing: AtomicBool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the work of {}", self.flow)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.publishing.load(Ordering::SeqCst) {
            for made in lock(&self.made).values() {
                made.files().for_each(|file| remove(std::slice::from_ref(file)));
            }
        }
    }
}

/// The engine's side of [`Bench`].
pub(crate) struct DataFusionBench(Arc<Shared>);

/// Whose work it is.
pub(crate) struct About<'a> {
    pub(crate) flow: &'a str,
    pub(crate) own: &'a [DatasetName],
    pub(crate) fence: i64,
    pub(crate) run_id: &'a str,
    pub(crate) anew: bool,
}

impl DataFusionBench {
    pub(crate) fn new(catalog: Catalog, limits: Limits, snapshot: Snapshot, about: &About<'_>) -> Result<Self, RunError> {
        let hashing = base_session(&limits, true).map_err(error::engine)?;
        let sorting = {
            let mut state = hashing.state();
            state.config_mut().options_mut().optimizer.prefer_hash_join = false;
            SessionContext::new_with_state(state)
        };
        let shared = Shared {
            spill: limits.spill.clone().unwrap_or_else(std::env::temp_dir),
            catalog,
            limits,
            snapshot,
            fence: about.fence,
            flow: about.flow.to_owned(),
            run_id: about.run_id.to_owned(),
            own: about.own.to_vec(),
            anew: about.anew,
            made: Mutex::default(),
            sessions: [hashing, sorting],
            publishing: AtomicBool::new(false),
        };
        Ok(Self(Arc::new(shared)))
    }

    /// Folders of the flow's datasets: what died runs left there can go.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        self.0.own.iter().map(|dataset| self.0.folder(dataset)).collect()
    }
}

impl Shared {
    fn table(&self, dataset: &DatasetName) -> Option<&CatalogTable> {
        self.snapshot.tables.get(dataset)
    }

    fn folder(&self, dataset: &DatasetName) -> PathBuf {
        let new = || self.catalog.data.join(&dataset.namespace).join(&dataset.name);
        self.table(dataset).map_or_else(new, |table| table.folder.clone())
    }

    fn layout(&self, dataset: &DatasetName, columns: &[Column]) -> Arc<Layout> {
        let about = [("flow", self.flow.clone()), ("run", self.run_id.clone())];
        Arc::new(Layout::new(self.folder(dataset), self.table(dataset), columns, false, &about))
    }

    fn is_own(&self, dataset: &DatasetName) -> bool {
        self.own.iter().any(|own| same_dataset(own, dataset))
    }

    /// The columns of a dataset as tasks see it now.
    fn columns(&self, dataset: &DatasetName) -> Option<Vec<Column>> {
        let made = lock(&self.made).get(dataset).map(|made| made.columns.clone());
        made.or_else(|| self.table(dataset).map(columns))
    }

    fn published(&self, dataset: &DatasetName) -> Result<Vec<(Option<i64>, DataFile)>, RunError> {
        match self.table(dataset) {
            Some(table) => self.catalog.listed(self.snapshot.id, table, BatchRange::All, None),
            None => Ok(Vec::new()),
        }
    }

    /// The files of a dataset that a task sees, and whether all of their rows are of the batches that it sees.
    fn files(&self, dataset: &DatasetName, moment: Moment, scopes: &Scopes) -> Result<(Vec<DataFile>, bool), RunError> {
        let scope = scopes.of(dataset);
        let is_own = self.is_own(dataset);
        let is_seen = |batch: i64| match scope {
            Some(batches) => batches.contains(&batch),
            // A batch that is derived again must not find later ones.
            None => !is_own || batch <= moment.batch_id,
        };
        let made = lock(&self.made);
        let made = made.get(dataset);
        let mut files = Vec::new();
        let mut exact = true;
        if !made.is_some_and(|made| made.replaced) {
            for (batch, file) in self.published(dataset)? {
                match batch {
                    Some(batch) if !is_seen(batch) || made.is_some_and(|made| made.batches.contains_key(&batch)) => continue,
                    Some(_) => (),
                    None => exact = false,
                }
                files.push(file);
            }
        }
        // What was made in place of a file that is missing makes good for it.
        refuse_gaps(files.iter())?;
        if let Some(made) = made {
            exact &= made.whole.is_empty();
            let seen = made.batches.iter().filter(|(batch, _)| is_seen(**batch)).flat_map(|(_, files)| files);
            files.extend(made.whole.iter().chain(seen).map(|file| DataFile {
                id: None,
                path: file.path.clone(),
                rows: file.rows,
                bytes: file.bytes,
                bounds: None,
                deletes: None,
            }));
        }
        Ok((files, exact || scope.is_none()))
    }

    /// A stored dataset as a task sees it.
    fn provider(&self, dataset: &DatasetName, moment: Moment, scopes: &Scopes) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        let Some(columns) = self.columns(dataset) else { return Ok(None) };
        let (files, exact) = self.files(dataset, moment, scopes).map_err(external)?;
        let schema = Schema::new(columns).unwrap_or_default();
        let table: Arc<dyn TableProvider> = Arc::new(PinnedTable::new(arrow_schema(&schema), files, None));
        match scopes.of(dataset) {
            Some(batches) if !exact => of_batches(&dataset.name, table, batches).map(Some),
            Some(_) | None => Ok(Some(table)),
        }
    }
}

/// The rows of batches; a table without batches is as it is.
fn of_batches(name: &str, table: Arc<dyn TableProvider>, batches: &BTreeSet<i64>) -> PlanResult<Arc<dyn TableProvider>> {
    if table.schema().field_with_name("xt_batch_id").is_err() {
        return Ok(table);
    }
    let batches = batches.iter().map(|batch| lit(*batch)).collect();
    let plan = scan(name, table)?.filter(ident("xt_batch_id").in_list(batches, false))?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// The datasets as one task sees them.
#[derive(Debug, Clone)]
struct Seen {
    work: Arc<Shared>,
    moment: Moment,
    scopes: Arc<Scopes>,
    sorting: bool,
}

impl Seen {
    /// A session in which SQL finds them.
    fn session(&self) -> PlanResult<SessionContext> {
        let base = &self.work.sessions[usize::from(self.sorting)];
        let builder = SessionStateBuilder::new_from_existing(base.state()).with_catalog_list(Arc::new(MemoryCatalogProviderList::new()));
        let session = SessionContext::new_with_state(builder.build());
        session.register_catalog(CATALOG, Arc::new(Names(Arc::new(self.clone()))));
        calendar::register(&session, self.moment.processed_at)?;
        Ok(session)
    }
}

#[async_trait]
impl Datasets for Seen {
    fn names(&self) -> Vec<DatasetName> {
        let mut names: BTreeSet<DatasetName> = lock(&self.work.made).keys().cloned().collect();
        names.extend(self.work.snapshot.tables.keys().chain(self.work.snapshot.views.keys()).cloned());
        names.into_iter().collect()
    }

    async fn table(&self, dataset: &DatasetName) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = self.work.provider(dataset, self.moment, &self.scopes)? {
            return Ok(Some(table));
        }
        let Some(view) = self.work.snapshot.views.get(dataset) else { return Ok(None) };
        // The text is the catalog's, which is as trusted as the data.
        let whole = Seen { scopes: Arc::default(), ..self.clone() };
        let plan = Box::pin(whole.session()?.state().create_logical_plan(&view.sql.replace(CATALOG_PLACEHOLDER, CATALOG))).await?;
        Ok(Some(Arc::new(ViewTable::new(plan, Some(view.sql.clone())))))
    }
}

#[async_trait]
impl Bench for DataFusionBench {
    fn folder(&self) -> &Path {
        &self.0.spill
    }

    async fn land(
        &self,
        batch_id: i64,
        into: &DatasetName,
        files: &[FilePart],
        spec: &ReadSpec,
        progress: &Progress,
    ) -> Result<Landed, LandError> {
        let own = spec.columns.iter().map(|column| Column::new(&column.name, column.ty.unwrap_or(qetl_core::Type::Text)));
        let columns: Vec<Column> =
            own.chain(spec.bad_columns().iter().chain(&LANDING_COLUMNS).map(|(name, ty)| Column::new(name, *ty))).collect();
        let layout = self.0.layout(into, &columns);
        let names = FilePart::landed(files);
        let landed = match names.is_empty() {
            true => None,
            false => {
                let shared = &self.0;
                let of = (&shared.catalog, &shared.snapshot);
                Some(LandedRows::of(&shared.sessions[0], of, into, &layout, batch_id, &names, false).await?)
            }
        };
        let (rows, spec, progress, staged_as) = (Rows::Files(files.to_vec(), landed), spec.clone(), progress.clone(), layout.clone());
        let stop = StopWhenDropped(Arc::new(AtomicBool::new(false)));
        let stopped = stop.0.clone();
        let writers = self.0.limits.threads.clamp(1, 4);
        let landed =
            tokio::task::spawn_blocking(move || land(rows, &spec, batch_id, false, &staged_as, writers, &progress, &stopped)).await;
        let (landed, staged) = landed.map_err(panics::joined)??;
        drop(stop);
        let mut all = lock(&self.0.made);
        let new = Made { layout, columns, replaced: false, whole: Vec::new(), batches: BTreeMap::new(), by_batch: true };
        let made = all.entry(into.clone()).or_insert(new);
        if let Some(old) = made.batches.insert(batch_id, staged) {
            remove(&old);
        }
        Ok(landed)
    }

    async fn fill(&self, moment: Moment, from: From<'_>, target: &Target, progress: &Progress) -> Result<Filled, RunError> {
        let rows = fill::fill(&self.0, moment, from, target, progress).await?;
        Ok(Filled { rows, warnings: Vec::new() })
    }

    async fn export(&self, moment: Moment, dataset: &DatasetName, scopes: &Scopes, path: &Path) -> Result<(), RunError> {
        let seen = Seen { work: self.0.clone(), moment, scopes: Arc::new(scopes.clone()), sorting: false };
        let found = seen.names().into_iter().find(|name| same_dataset(name, dataset));
        let table = match found {
            Some(found) => seen.table(&found).await.map_err(error::engine)?,
            None => None,
        };
        let table = table.ok_or_else(|| RunError::failed(format!("dataset `{dataset}` is not there")))?;
        fill::export(&seen.session().map_err(error::engine)?, &dataset.name, table, path).await.map_err(error::engine)
    }

    async fn publish(&self, publish: Publish) -> Result<(), RunError> {
        let shared = &self.0;
        let (mut tables, mut folders) = (Vec::new(), BTreeSet::new());
        for (dataset, made) in lock(&shared.made).iter() {
            folders.extend(made.files().filter_map(|file| file.path.parent().map(PathBuf::from)));
            let published = shared.published(dataset)?;
            let rows = |wanted: &dyn Fn(Option<i64>) -> bool| {
                published.iter().filter(|(batch, _)| wanted(*batch)).map(|(_, file)| file.rows).sum::<u64>()
            };
            let batch = |(batch, files): (&i64, &Vec<StagedFile>)| (*batch, rows(&|other| other == Some(*batch)), files.clone());
            tables.push(TableChange {
                checkpoint: None,
                name: dataset.clone(),
                was: shared.table(dataset).cloned(),
                columns: made.layout.catalog_columns(),
                batches: made.batches.iter().map(batch).collect(),
                whole: made.replaced.then(|| (rows(&|_| true), made.whole.clone())),
                edit: None,
                by_batch: made.by_batch,
                drop_columns: made.replaced,
            });
        }
        let changes = Changes { base: shared.snapshot.id, fence: shared.fence, tables, views: Vec::new(), publish };
        let catalog = shared.catalog.clone();
        shared.publishing.store(true, Ordering::SeqCst);
        // It goes on when nobody waits for it any more.
        blocking(move || {
            catalog.sync(&folders)?;
            catalog.publish(&changes)
        })
        .await
    }
}

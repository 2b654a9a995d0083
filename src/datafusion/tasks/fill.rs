//! Filling a task's target from a query or a script's file.

use std::{
    collections::BTreeMap,
    fs::File,
    path::Path,
    sync::{Arc, Mutex},
};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{DataType, Field, Int64Type, Schema as ArrowSchema},
    ipc::writer::FileWriter,
    util::display::{ArrayFormatter, FormatOptions},
};
use datafusion::{
    catalog::{TableProvider, streaming::StreamingTable},
    common::JoinType,
    error::{DataFusionError, Result as PlanResult},
    functions_aggregate::expr_fn::count,
    logical_expr::{LogicalPlan, LogicalPlanBuilder, cast, ident, try_cast},
    prelude::{Expr, SessionContext, lit},
    scalar::ScalarValue,
};
use qetl_core::{Column, DatasetName, Type, format::ReaderOptions, load::OnExtraColumns, schema::same_name, standard::WriteMode};
use qetl_ingest::{BadRows, ReadColumn, ReadSpec, SourceFile, arrow_type};
use qetl_runtime::{
    Place, RunError, panics,
    progress::Progress,
    standard::{From, Moment, Scopes, Target},
};
use tokio::sync::mpsc;

use super::{Made, Seen, Shared};
use crate::{
    author::{self, ResultColumn, Wrong},
    error,
    lower::{pairs, scan},
    pipe::Pipe,
    scratch::Scratch,
    stage::remove,
    staging::{Written, drain, external, lock, take, write},
};

/// What qetl adds to a result.
const OWN: [(&str, Type); 2] = [("xt_batch_id", Type::Int), ("xt_processed_at", Type::Timestamp)];

pub(super) async fn fill(
    work: &Arc<Shared>,
    moment: Moment,
    from: From<'_>,
    target: &Target,
    progress: &Progress,
) -> Result<u64, RunError> {
    match attempt(work, moment, from, target, progress, false).await {
        Err(Failure::Engine(why)) if error::is_exhausted(&why) => attempt(work, moment, from, target, progress, true).await,
        other => other,
    }
    .map_err(|failure| match failure {
        Failure::Engine(why) => error::engine(why),
        Failure::Run(error) => error,
    })
}

enum Failure {
    Engine(DataFusionError),
    Run(RunError),
}

impl std::convert::From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Self {
        Failure::Engine(error)
    }
}

impl std::convert::From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Failure::Run(error)
    }
}

async fn attempt(
    work: &Arc<Shared>,
    moment: Moment,
    from: From<'_>,
    target: &Target,
    progress: &Progress,
    sorting: bool,
) -> Result<u64, Failure> {
    let scopes = match from {
        From::Query { scopes, .. } => Arc::new(scopes.clone()),
        From::File(_) => Arc::default(),
    };
    let seen = Seen { work: work.clone(), moment, scopes, sorting };
    let session = seen.session()?;
    let (plan, found) = match from {
        From::Query { sql, statement, .. } => match author::plan(&session, sql, statement).await {
            Ok(query) => (query.plan, query.columns),
            Err(Wrong::Name(problem) | Wrong::Other(problem)) => return Err(RunError::from(sql.placed(problem.into())).into()),
            Err(Wrong::Engine(why)) => return Err(why.into()),
        },
        From::File(file) => of_file(file)?,
    };
    if target.mode == WriteMode::ReplaceBatch && !target.append {
        refuse_rows_without_batch(work, &target.dataset)?;
    }
    // What is kept of earlier rows decides their types; what is replaced whole begins anew.
    let kept = if target.mode == WriteMode::Replace { None } else { kept_columns(work, &target.dataset) };
    let (plan, found) = renamed(plan, found, kept.as_deref().unwrap_or_default())?;
    let kept = match kept {
        Some(kept) => Some(with_values(&seen, &target.dataset, &found, kept).await?),
        None => None,
    };
    let target = &keyed(target, &found);
    let mut columns = fitted(&target.dataset, &found, kept.as_deref().unwrap_or_default())?;
    refuse_lost_digits(&seen, &target.dataset, kept.as_deref().unwrap_or_default(), &columns).await?;
    if target.append {
        let old = kept.iter().flatten().filter(|old| !old.name.starts_with("xt_"));
        let missing: Vec<Column> = old.filter(|old| !columns.iter().any(|column| column.name == old.name)).cloned().collect();
        columns.extend(missing);
    }
    let plan = retyped(plan, &columns)?;
    let columns: Vec<Column> = columns.into_iter().chain(OWN.map(|(name, ty)| Column::new(name, ty))).collect();
    let layout = work.layout(&target.dataset, &columns);
    let (new, written) = match target.mode {
        WriteMode::Replace | WriteMode::ReplaceBatch => {
            let written = write(&session, tagged(plan, moment)?, layout.clone(), None, progress).await?;
            (written.rows, written)
        }
        WriteMode::Merge => {
            let new = distinct(work, &session, plan).await?;
            refuse_equal_keys(&session, &new, target).await?;
            let mut written = write(&session, tagged(new.clone(), moment)?, layout.clone(), None, progress).await?;
            let rows = written.rows;
            if kept.is_some() {
                let old = others(&seen, &columns, &new, target).await?;
                written.add(write(&session, old, layout.clone(), None, &Progress::silent()).await?);
            }
            (rows, written)
        }
    };
    keep(work, moment, target, Outcome { layout, columns, written });
    Ok(new)
}

struct Outcome {
    layout: Arc<crate::stage::Layout>,
    columns: Vec<Column>,
    written: Written,
}

/// The columns of the target's rows that stay, if any may.
fn kept_columns(work: &Shared, target: &DatasetName) -> Option<Vec<Column>> {
    let made = lock(&work.made).contains_key(target);
    if work.anew && !made { None } else { work.columns(target) }
}

/// Rows of a task that replaced everything cannot be told apart by batch.
fn refuse_rows_without_batch(work: &Shared, target: &DatasetName) -> Result<(), RunError> {
    if work.anew || work.published(target)?.iter().all(|(batch, _)| batch.is_some()) {
        return Ok(());
    }
    let message = format!("the rows of `{target}` are not kept by batch: its task replaced all of them, or merged");
    Err(RunError::usage(message, "derive everything again with `--full-refresh`, or set the `write_mode` back"))
}

fn keep(work: &Shared, moment: Moment, target: &Target, result: Outcome) {
    let mut all = lock(&work.made);
    let by_batch = target.mode == WriteMode::ReplaceBatch;
    let made = all.entry(target.dataset.clone()).or_insert_with(|| Made {
        layout: result.layout.clone(),
        columns: Vec::new(),
        replaced: work.anew,
        whole: Vec::new(),
        batches: BTreeMap::new(),
        by_batch,
    });
    (made.layout, made.columns) = (result.layout, result.columns);
    match (by_batch, target.append) {
        // What the earlier task replaced, it replaced whole.
        (true, true) if !made.by_batch => made.whole.extend(result.written.files),
        (true, true) => made.batches.entry(moment.batch_id).or_default().extend(result.written.files),
        (true, false) => {
            if let Some(old) = made.batches.insert(moment.batch_id, result.written.files) {
                remove(&old);
            }
        }
        (false, _) => {
            (made.replaced, made.by_batch) = (true, false);
            remove(&std::mem::replace(&mut made.whole, result.written.files));
            std::mem::take(&mut made.batches).values().for_each(|files| remove(files));
        }
    }
}

/// A script's result: read as any Arrow file is, so that nothing is rounded or lost on the way.
fn of_file(file: &SourceFile) -> Result<(LogicalPlan, Vec<ResultColumn>), Failure> {
    let data = |problem: qetl_ingest::DataProblem| Failure::Run(problem.into());
    let names = qetl_ingest::column_names(file, &ReaderOptions::default()).map_err(data)?;
    let names: Vec<String> = names.into_iter().filter(|name| !name.to_ascii_lowercase().starts_with("xt_")).collect();
    if let Some((name, why)) = names.iter().find_map(|name| Some((name, qetl_core::schema::refuse_column_name(name)?))) {
        let help = format!("{why}; rename it in the script");
        return Err(RunError::usage(format!("`{name}` cannot be a column of a dataset"), help).into());
    }
    if let Err(twice) = qetl_core::Schema::new(names.iter().map(|name| Column::new(name, Type::Text)).collect()) {
        return Err(RunError::usage(format!("the script's result has two columns `{twice}`"), "rename one of them").into());
    }
    let mut spec = ReadSpec {
        columns: names.iter().map(|name| ReadColumn::new(name, None)).collect(),
        options: ReaderOptions::default(),
        on_extra_columns: OnExtraColumns::Ignore,
        bad_rows: BadRows::default(),
    };
    let types = qetl_ingest::infer(std::slice::from_ref(file), &spec).map_err(data)?;
    for (column, found) in spec.columns.iter_mut().zip(&types) {
        column.ty = Some(found.ty);
    }
    let found = spec.columns.iter().zip(&types).map(|(column, found)| ResultColumn {
        column: Column::new(&column.name, found.ty),
        // Text is also what a column without any value is.
        untyped: found.ty == Type::Text,
    });
    let found: Vec<ResultColumn> = found.collect();
    let fields: Vec<Field> = found.iter().map(|own| Field::new(&own.column.name, arrow_type(own.column.ty), true)).collect();
    let schema = Arc::new(ArrowSchema::new(fields));
    let (sender, receiver) = mpsc::channel::<PlanResult<RecordBatch>>(2);
    let file = file.clone();
    tokio::task::spawn_blocking(move || {
        let send = |batch| sender.blocking_send(batch).is_ok();
        let read = panics::caught_here(|| {
            for rows in qetl_ingest::read(&file, &spec)? {
                if !send(Ok(rows?.whole()?)) {
                    break;
                }
            }
            Ok(())
        });
        // Rows that end early must not pass for all of them.
        if let Err(error) = read {
            send(Err(external(error)));
        }
    });
    let pipe = Pipe { schema: schema.clone(), receiver: Mutex::new(Some(receiver)) };
    let table = StreamingTable::try_new(schema, vec![Arc::new(pipe)])?;
    Ok((scan("result", Arc::new(table))?.build()?, found))
}

/// The kept columns, but for those of another type than the result's that have no value yet: of these nobody may have known the
/// type.
async fn with_values(seen: &Seen, target: &DatasetName, found: &[ResultColumn], kept: Vec<Column>) -> PlanResult<Vec<Column>> {
    let differs = |old: &Column| found.iter().any(|new| new.column.name == old.name && new.column.ty != old.ty && !new.untyped);
    let mut columns = Vec::with_capacity(kept.len());
    for old in kept {
        if !differs(&old) || has_value(seen, target, &old.name).await? {
            columns.push(old);
        }
    }
    Ok(columns)
}

async fn has_value(seen: &Seen, target: &DatasetName, column: &str) -> PlanResult<bool> {
    has_row(seen, target, ident(column).is_not_null()).await
}

/// Whether some stored row, of whatever batch, is like that.
async fn has_row(seen: &Seen, target: &DatasetName, is_it: Expr) -> PlanResult<bool> {
    let all = Moment { batch_id: i64::MAX, ..seen.moment };
    let Some(stored) = seen.work.provider(target, all, &Scopes::default())? else { return Ok(false) };
    let plan = scan("stored", stored)?.filter(is_it)?.limit(0, Some(1))?.build()?;
    let rows = seen.session()?.execute_logical_plan(plan).await?.collect().await?;
    Ok(rows.iter().any(|batch| batch.num_rows() > 0))
}

/// A decimal of more digits behind the point may have too few before it for what is stored.
async fn refuse_lost_digits(seen: &Seen, target: &DatasetName, kept: &[Column], columns: &[Column]) -> Result<(), Failure> {
    let whole = |ty: Type| match ty {
        Type::Decimal { precision, scale } => precision - scale,
        Type::Int | Type::Text | Type::Float | Type::Bool | Type::Date | Type::Timestamp => 0,
    };
    for old in kept {
        let Some(new) = columns.iter().find(|new| new.name == old.name && whole(new.ty) < whole(old.ty)) else { continue };
        let is_lost = try_cast(ident(&old.name), arrow_type(new.ty)).is_null().and(ident(&old.name).is_not_null());
        if has_row(seen, target, is_lost).await? {
            let message = format!("column `{}` of `{target}` was {} and would be {} now", old.name, old.ty, new.ty);
            let help = format!("stored values have too many digits for that: cast it to {}", old.ty);
            return Err(RunError::usage(message, help).into());
        }
    }
    Ok(())
}

/// The result with the names that kept rows have, where those differ in case alone.
fn renamed(plan: LogicalPlan, mut found: Vec<ResultColumn>, kept: &[Column]) -> PlanResult<(LogicalPlan, Vec<ResultColumn>)> {
    let mut exprs = Vec::new();
    let mut differ = false;
    for ResultColumn { column, .. } in &mut found {
        let value = ident(&column.name);
        let has = |name: &str| kept.iter().any(|old| old.name == name);
        if let Some(old) = kept.iter().find(|old| same_name(&old.name, &column.name)).filter(|_| !has(&column.name)) {
            differ = true;
            column.name.clone_from(&old.name);
        }
        exprs.push(value.alias(&column.name));
    }
    let plan = if differ { LogicalPlanBuilder::new(plan).project(exprs)?.build()? } else { plan };
    Ok((plan, found))
}

/// The target with its keys named as the result names them.
fn keyed(target: &Target, found: &[ResultColumn]) -> Target {
    let named = |key: &String| {
        let own = found.iter().map(|found| &found.column.name);
        own.clone().find(|name| *name == key).or_else(|| own.clone().find(|name| same_name(name, key))).unwrap_or(key).clone()
    };
    Target { unique_key: target.unique_key.iter().map(named).collect(), ..target.clone() }
}

/// The result's columns, of types that hold the kept rows too.
fn fitted(target: &DatasetName, found: &[ResultColumn], kept: &[Column]) -> Result<Vec<Column>, RunError> {
    let mut columns = Vec::new();
    for ResultColumn { column, untyped } in found {
        let old = kept.iter().find(|old| old.name == column.name);
        let ty = match old {
            None => column.ty,
            Some(old) if old.ty == column.ty || *untyped => old.ty,
            Some(old) => common(old.ty, column.ty).ok_or_else(|| {
                let message = format!("column `{}` of `{target}` was {} and would be {} now", column.name, old.ty, column.ty);
                let help = format!("cast it to {}, or derive everything again with `--full-refresh`", old.ty);
                RunError::usage(message, help)
            })?,
        };
        columns.push(Column::new(&column.name, ty));
    }
    Ok(columns)
}

/// A type that holds the values of both without loss, as far as 38 digits do.
fn common(a: Type, b: Type) -> Option<Type> {
    let digits = |ty: Type| match ty {
        Type::Int => Some((19, 0)),
        Type::Decimal { precision, scale } => Some((precision, scale)),
        Type::Text | Type::Float | Type::Bool | Type::Date | Type::Timestamp => None,
    };
    let ((p1, s1), (p2, s2)) = (digits(a)?, digits(b)?);
    let scale = s1.max(s2);
    let whole = (p1 - s1).max(p2 - s2);
    Some(Type::Decimal { precision: (whole + scale).min(38), scale })
}

/// The plan with exactly these columns; those that it lacks are NULL.
fn retyped(plan: LogicalPlan, columns: &[Column]) -> PlanResult<LogicalPlan> {
    let fields = plan.schema().fields().clone();
    let fits = |(field, column): (&Arc<Field>, &Column)| *field.data_type() == arrow_type(column.ty);
    if fields.len() == columns.len() && fields.iter().zip(columns).all(fits) {
        return Ok(plan);
    }
    let value = |column: &Column| match fields.iter().any(|field| *field.name() == column.name) {
        true => cast(ident(&column.name), arrow_type(column.ty)).alias(&column.name),
        false => cast(lit(ScalarValue::Null), arrow_type(column.ty)).alias(&column.name),
    };
    LogicalPlanBuilder::new(plan).project(columns.iter().map(value).collect::<Vec<Expr>>())?.build()
}

/// The rows with what says which batch they are of.
fn tagged(plan: LogicalPlan, moment: Moment) -> PlanResult<LogicalPlan> {
    let values: Vec<Expr> = plan.schema().fields().iter().map(|field| ident(field.name())).collect();
    let at = ScalarValue::TimestampMicrosecond(Some(moment.processed_at), Some("UTC".into()));
    let own = [lit(moment.batch_id).alias(OWN[0].0), lit(at).alias(OWN[1].0)];
    LogicalPlanBuilder::new(plan).project(values.into_iter().chain(own))?.build()
}

/// The rows, each once, computed once: exact copies are no conflict.
async fn distinct(work: &Shared, session: &SessionContext, plan: LogicalPlan) -> PlanResult<LogicalPlan> {
    let plan = LogicalPlanBuilder::new(plan).distinct()?.build()?;
    let schema = Arc::new(plan.schema().as_arrow().clone());
    let scratch = Arc::new(Mutex::new(Scratch::new(&schema, work.spill.clone())));
    let shared = scratch.clone();
    drain(session, plan, move |batch| lock(&shared).push(&batch)).await?;
    let table = match take(scratch).finish()? {
        Some(table) => table,
        None => Arc::new(datafusion::datasource::empty::EmptyTable::new(schema)) as Arc<dyn TableProvider>,
    };
    scan("new", table)?.build()
}

/// Per key one row: which of two would win nobody could say.
async fn refuse_equal_keys(session: &SessionContext, new: &LogicalPlan, target: &Target) -> Result<(), Failure> {
    for key in &target.unique_key {
        if !new.schema().has_column_with_unqualified_name(key) {
            let known: Vec<&str> = new.schema().fields().iter().map(|field| field.name().as_str()).collect();
            let message = format!("`unique_key` names `{key}`, which is no column of the result");
            return Err(RunError::usage(message, qetl_core::suggest::help(key, known)).into());
        }
    }
    let keys: Vec<Expr> = target.unique_key.iter().map(|key| ident(key.as_str())).collect();
    let rows = count(lit(1_i64)).alias("xt_rows");
    let twice =
        LogicalPlanBuilder::new(new.clone()).aggregate(keys, vec![rows])?.filter(ident("xt_rows").gt(lit(1_i64)))?.limit(0, Some(1))?;
    let found = session.execute_logical_plan(twice.build()?).await?.collect().await?;
    let Some(row) = found.iter().find(|batch| batch.num_rows() > 0) else { return Ok(()) };
    let options = FormatOptions::new().with_null("NULL");
    let value = |key: &String| -> PlanResult<String> {
        let column = row.column_by_name(key).ok_or_else(|| DataFusionError::Internal("a key is gone".to_owned()))?;
        Ok(format!("{key} = {}", ArrayFormatter::try_new(column, &options)?.value(0)))
    };
    let key: Vec<String> = target.unique_key.iter().map(value).collect::<PlanResult<_>>()?;
    let times = row.column_by_name("xt_rows").and_then(|rows| rows.as_primitive_opt::<Int64Type>()).map_or(2, |rows| rows.value(0));
    let message = format!("{times} different rows have the key {}", key.join(", "));
    let help = "`merge` keeps one row a key: let the query give one, such as with `GROUP BY` or `ROW_NUMBER()`";
    Err(RunError::refused(Place::default(), message, help).into())
}

/// The target's rows of other keys, as they were.
async fn others(seen: &Seen, columns: &[Column], new: &LogicalPlan, target: &Target) -> PlanResult<LogicalPlan> {
    let stored = seen.work.provider(&target.dataset, seen.moment, &Scopes::default())?;
    let stored = stored.ok_or_else(|| DataFusionError::Internal("the target is gone".to_owned()))?;
    let there = stored.schema();
    let value = |column: &Column| {
        let ty = arrow_type(column.ty);
        match there.field_with_name(&column.name) {
            Ok(field) if *field.data_type() == ty => ident(&column.name),
            Ok(_) => cast(ident(&column.name), ty).alias(&column.name),
            Err(_) => cast(lit(ScalarValue::Null), ty).alias(&column.name),
        }
    };
    let stored = scan("stored", stored)?.project(columns.iter().map(value).collect::<Vec<Expr>>())?.alias("r")?.build()?;
    let keys = pairs(&target.unique_key);
    let side = |side: &str, names: Vec<&String>| -> Vec<datafusion::common::Column> {
        names.into_iter().map(|name| datafusion::common::Column::new(Some(side), name.as_str())).collect()
    };
    let on = (side("l", keys.iter().map(|pair| &pair.0).collect()), side("r", keys.iter().map(|pair| &pair.1).collect()));
    LogicalPlanBuilder::new(new.clone())
        .alias("l")?
        .join_detailed(stored, JoinType::RightAnti, on, None, datafusion::common::NullEquality::NullEqualsNull)?
        .build()
}

/// Writes a table's rows to an Arrow file that any Arrow library reads.
pub(super) async fn export(session: &SessionContext, name: &str, table: Arc<dyn TableProvider>, path: &Path) -> PlanResult<()> {
    let plain = |ty: &DataType| if *ty == DataType::Utf8View { DataType::Utf8 } else { ty.clone() };
    let schema = table.schema();
    let value = |field: &Arc<Field>| match plain(field.data_type()) {
        ty if ty == *field.data_type() => ident(field.name()),
        ty => cast(ident(field.name()), ty).alias(field.name()),
    };
    let plan = scan(name, table)?.project(schema.fields().iter().map(value).collect::<Vec<Expr>>())?.build()?;
    let fields: Vec<Field> = schema.fields().iter().map(|field| Field::new(field.name(), plain(field.data_type()), true)).collect();
    let schema = Arc::new(ArrowSchema::new(fields));
    let writer = Arc::new(Mutex::new(FileWriter::try_new(File::create(path)?, &schema)?));
    let shared = writer.clone();
    drain(session, plan, move |batch| {
        let batch = RecordBatch::try_new(schema.clone(), batch.columns().to_vec())?;
        Ok(lock(&shared).write(&batch)?)
    })
    .await?;
    Ok(take(writer).finish()?)
}

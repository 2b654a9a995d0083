//! `--target sql`: two scripts a flow. `tables.sql` makes its tables, `batch.sql` derives one batch of what was landed.

use minijinja::{context, value::Serde};
use qetl_core::{
    Column, DatasetName, Flow, Plan, Problems, Type,
    ir::{AsOf, Expr, Rel, Steps},
    plan::{Check, Dataset, DatasetKind, LateBatches, Rule, Task},
};
use qetl_sql::{
    Dialect, Extent, Of, Parameters, Sql, Unsupported,
    dialects::{DuckDb, MySql, Postgres, Sqlite},
};
use serde::Serialize;

use crate::{
    Files, GenerateError, Target,
    expand::{expand, unordered, unsupported},
    naming::Naming,
    templates::fill,
};

/// A database's shell: how its scripts are written.
pub(crate) struct Shell {
    dialect: &'static dyn Dialect,
    naming: Naming,
}

const SHELLS: [Shell; 4] = [
    Shell { dialect: &DuckDb::SHELL, naming: Naming::Schemas { main: "main" } },
    Shell { dialect: &MySql::SHELL, naming: Naming::Prefixes },
    Shell { dialect: &Postgres, naming: Naming::Schemas { main: "public" } },
    Shell { dialect: &Sqlite::SHELL, naming: Naming::Prefixes },
];

pub(crate) fn dialects() -> Vec<&'static str> {
    SHELLS.iter().map(|shell| shell.dialect.name()).collect()
}

pub(crate) fn shell(dialect: &str) -> Option<&'static Shell> {
    SHELLS.iter().find(|shell| shell.dialect.name() == dialect)
}

/// Every batch that a script has derived, of all flows.
const BATCHES: &str = "qetl_script_batches";

pub(crate) fn generate(flows: &[&Flow], shell: &Shell) -> Result<Files, GenerateError> {
    let (mut files, mut problems) = (Files::new(), Problems::default());
    for flow in flows {
        let made = expand(flow, Target::Sql).and_then(|plan| {
            let script = Script::of(&plan, shell).map_err(|why| unsupported(flow, shell.dialect, &why))?;
            Ok(["tables", "batch"].map(|part| {
                let template = format!("sql/{}/{part}", shell.dialect.name());
                (format!("{}/{part}.sql", flow.id()), fill(&template, context! { flow => Serde(&script) }))
            }))
        });
        match made {
            Ok(both) => files.extend(both),
            Err(found) => problems.append(found),
        }
    }
    problems.or(())?;
    Ok(files)
}

/// The statements that make the landing table alone.
pub(crate) fn landing(plan: &Plan, dialect: &'static dyn Dialect, naming: Naming) -> Result<String, Unsupported> {
    let script = Script::of(plan, &Shell { dialect, naming })?;
    Ok(fill("dbt/landing.sql", context! { flow => Serde(script) }))
}

/// What the templates know of a flow. SQL is without its semicolon, names are quoted.
#[derive(Debug, Serialize)]
struct Script {
    id: String,
    /// The flow's file.
    file: String,
    dialect: &'static str,
    /// Statements that a connection runs first.
    session: Vec<String>,
    /// The schema of the datasets, quoted, where it must be made.
    schema: Option<String>,
    tables: Vec<Made>,
    indexes: Vec<Index>,
    views: Vec<Made>,
    landing: Landing,
    batches: String,
    /// The file names of each batch; only if their order means something.
    files: String,
    late: Late,
    /// Whether execution times must rise with the batch ids.
    times_rise: bool,
    /// Rules for what was landed.
    landed: Vec<Judged>,
    tasks: Vec<Fill>,
}

#[derive(Debug, Serialize)]
struct Made {
    name: String,
    about: String,
    statements: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Index {
    /// Not quoted.
    name: String,
    statement: String,
    /// The same, where an index of that name may be there.
    if_missing: String,
}

/// What batches after this one need.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Late {
    /// The same script for each of them.
    Again,
    /// There must be none.
    Refuse,
    /// Nothing: the tables are made of all batches.
    Nothing,
}

#[derive(Debug, Serialize)]
struct Landing {
    name: String,
    columns: Vec<LandingColumn>,
}

/// An input column.
#[derive(Debug, Serialize)]
struct LandingColumn {
    name: String,
    /// What to read it as from text, of `x`, where text is not read by itself.
    is_text: bool,
    is_integer: bool,
    is_float: bool,
    is_boolean: bool,
    /// Of a decimal.
    scale: Option<u8>,
}

/// A rule as a condition that holds when it is broken.
#[derive(Debug, Serialize)]
struct Judged {
    rule: String,
    /// What the database says when it is broken.
    message: String,
    /// What a database's message has room for.
    short: String,
    help: String,
    query: String,
    /// Of a row of the query that breaks the rule; any row does without.
    broken: Option<String>,
    /// What says that guards are off; only for guards.
    guard: Option<String>,
}

#[derive(Debug, Serialize)]
struct Fill {
    target: String,
    about: String,
    mode: String,
    before: Vec<Judged>,
    statements: Vec<String>,
    after: Vec<Judged>,
}

impl Script {
    fn of(plan: &Plan, shell: &Shell) -> Result<Script, Unsupported> {
        let (dialect, naming) = (shell.dialect, shell.naming);
        let table = |dataset: &DatasetName| naming.name(dialect, dataset);
        let own = |name: String| DatasetName { namespace: plan.flow.namespace().to_owned(), name };
        let batches = table(&DatasetName { namespace: "main".to_owned(), name: BATCHES.to_owned() });
        let files = table(&own(format!("{}_landed_files", plan.flow.dataset_prefix)));
        let parameters: Parameters = dialect.parameters(plan.flow.id(), batches.clone(), files.clone());
        let sql = Sql { dialect, batch: Of::Parameters(&parameters), table: &table };
        let writer = Writer { sql: &sql, guard: dialect.parameter("accept_guards") };

        let stored = plan.datasets.iter().filter(|dataset| dataset.is_stored());
        let rules = plan.flow.properties.batches(&plan.flow);
        let mut views = Vec::new();
        for dataset in &plan.datasets {
            if let DatasetKind::View(rel) = &dataset.kind {
                views.push(made(dataset, table(&dataset.name), sql.create_view(&dataset.name, rel)?));
            }
        }
        let landing = plan.landing().unwrap_or_else(|| unreachable!("a flow whose types are declared lands rows"));
        Ok(Script {
            id: plan.flow.id().to_owned(),
            file: plan.flow.source.name().to_owned(),
            dialect: dialect.name(),
            session: dialect.session().iter().map(ToString::to_string).collect(),
            schema: naming
                .schema(plan.flow.namespace())
                .filter(|_| plan.flow.namespace() != "main")
                .map(|schema| qetl_sql::ident(dialect.quote(), &schema).to_string()),
            tables: stored
                .clone()
                .map(|dataset| Ok(made(dataset, table(&dataset.name), vec![sql.create_table(&dataset.name, &dataset.schema)?])))
                .collect::<Result<_, Unsupported>>()?,
            indexes: stored.filter_map(|dataset| index(&sql, plan, dataset)).collect(),
            views,
            landing: Landing {
                name: table(&landing.name).to_string(),
                columns: plan.input.iter().map(|input| landing_column(dialect, &input.name, input.ty)).collect(),
            },
            batches: batches.to_string(),
            files: files.to_string(),
            late: match (rules.build_on_earlier, plan.flow.properties.late_batches()) {
                (false, _) => Late::Nothing,
                (true, LateBatches::Reject) => Late::Refuse,
                (true, LateBatches::Cascade) => Late::Again,
            },
            times_rise: rules.times_rise,
            landed: writer.landed(plan, landing)?,
            tasks: plan.tasks.iter().map(|task| writer.fill(plan, task)).collect::<Result<_, _>>()?,
        })
    }
}

fn made(dataset: &Dataset, name: qetl_sql::ObjectName, statements: Vec<String>) -> Made {
    Made { name: name.to_string(), about: dataset.about.clone(), statements }
}

fn landing_column(dialect: &dyn Dialect, name: &str, ty: Type) -> LandingColumn {
    LandingColumn {
        name: qetl_sql::ident(dialect.quote(), name).to_string(),
        is_text: ty == Type::Text,
        is_integer: ty == Type::Int,
        is_float: ty == Type::Float,
        is_boolean: ty == Type::Bool,
        scale: if let Type::Decimal { scale, .. } = ty { Some(scale) } else { None },
    }
}

/// An index on the batch, and on the keys where a table has all of them.
fn index(sql: &Sql<'_>, plan: &Plan, dataset: &Dataset) -> Option<Index> {
    let column = |name: &str| dataset.schema.column(name).cloned();
    let keys: Option<Vec<Column>> = plan.flow.input.key_names().iter().map(|key| column(key)).collect();
    let keys = keys.filter(|_| dataset.kind == DatasetKind::Derived).unwrap_or_default();
    let columns: Vec<Column> = keys.into_iter().chain(column("xt_batch_id")).collect();
    column("xt_batch_id")?;
    let name = match dataset.name.namespace.as_str() {
        "main" => format!("{}_by_key", dataset.name.name),
        namespace => format!("{namespace}_{}_by_key", dataset.name.name),
    };
    let statement = sql.create_index(&dataset.name, &name, &columns)?;
    let if_missing = format!("CREATE INDEX IF NOT EXISTS {}", statement.strip_prefix("CREATE INDEX ").unwrap_or(&statement));
    Some(Index { name, statement, if_missing })
}

struct Writer<'a> {
    sql: &'a Sql<'a>,
    /// The parameter that turns guards off.
    guard: String,
}

impl Writer<'_> {
    /// What qetl itself would see when it reads the rows: columns that must have a value.
    fn landed(&self, plan: &Plan, landing: &Dataset) -> Result<Vec<Judged>, Unsupported> {
        let required: Vec<&str> = plan.input.iter().filter(|input| input.required).map(|input| input.name.as_str()).collect();
        if required.is_empty() {
            return Ok(Vec::new());
        }
        let is_missing = Expr::any(required.iter().map(|name| Expr::column(name).is_null()));
        let mut steps = Steps::default();
        let rows = Rel::scan(&landing.name, &landing.schema, AsOf::ThisBatch).filter(is_missing);
        let shown = required.iter().copied().chain(["xt_source_file", "xt_row_number"]);
        let rows = rows.and_then(|rows| rows.select(shown)).unwrap_or_else(|error| unreachable!("the columns are the landing's: {error}"));
        steps.add("missing", rows);
        let problem = format!("a value is missing in a column that must have one ({})", required.join(", "));
        let help = "mend the rows that were landed".to_owned();
        let check = Check { rule: Rule::None { problem, help }, steps, guard: false };
        Ok(vec![self.judged(&check)?])
    }

    fn fill(&self, plan: &Plan, task: &Task) -> Result<Fill, Unsupported> {
        let (before, after): (Vec<_>, Vec<_>) = task.checks.iter().partition(|check| check.is_of_landing());
        let judged = |checks: Vec<&Check>| {
            checks.into_iter().filter(|check| check.refuses()).map(|check| self.judged(check)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Fill {
            target: (self.sql.table)(&task.target).to_string(),
            about: plan.dataset(&task.target).map_or_else(String::new, |dataset| dataset.about.clone()),
            mode: match task.write_mode.is_of_batch() {
                true => "the rows of this batch are replaced".to_owned(),
                false => "all rows are replaced".to_owned(),
            },
            before: judged(before)?,
            // What a replaced batch had is not known here, so tables made of all batches are made anew.
            statements: self.sql.fill(task, Extent::Everything)?,
            after: judged(after)?,
        })
    }

    fn judged(&self, check: &Check) -> Result<Judged, Unsupported> {
        let query = self.sql.query(&unordered(&check.steps))?;
        let name = |name: &str| qetl_sql::ident(self.sql.dialect.quote(), name).to_string();
        let (broken, help) = match &check.rule {
            Rule::NotEmpty => (Some(format!("{} = 0", name("n"))), "set `allow_empty_snapshot = true` if an empty snapshot is meant"),
            Rule::MaxDeleteRatio(most) => {
                (Some(format!("{} > {most} * {}", name("deleted"), name("live"))), "see whether the batch is complete")
            }
            Rule::DuplicateKey { .. } => (None, "mend the rows, or say which counts with `on_duplicate_key`"),
            Rule::None { help, .. } => (None, help.as_str()),
            Rule::Warn(what) => (None, what.as_str()),
        };
        let (rule, message) = match &check.rule {
            Rule::None { problem, .. } => (format!("it is not so that {problem}"), format!("refused: {problem}")),
            rule @ (Rule::NotEmpty | Rule::MaxDeleteRatio(_) | Rule::DuplicateKey { .. } | Rule::Warn(_)) => {
                (rule.to_string(), format!("refused, it does not hold that {rule}"))
            }
        };
        Ok(Judged {
            message,
            short: rule.chars().filter(|c| *c != '`').take(60).collect(),
            rule,
            help: help.to_owned(),
            query,
            broken,
            guard: check.guard.then(|| format!("{} = 1", self.guard)),
        })
    }
}

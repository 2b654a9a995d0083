//! `--target dbt`: a project. A task is a model, a rule is a test; what is landed is a source.
//!
//! SQL is written with names that stand for what dbt knows (`"qetl:ref:NAME"`), and these become dbt's own words at last.

mod words;

use std::collections::BTreeSet;

use minijinja::{context, value::Serde};
use qetl_core::{
    DatasetName, Flow, Plan, Problems, Schema, Type,
    ir::Steps,
    plan::{Check, Dataset, DatasetKind, Invariant, LateBatches, Rule, WriteMode},
};
use qetl_sql::{
    Dialect, ObjectName, Of, Parameters, Sql, Unsupported,
    dialects::{DuckDb, Postgres},
    ident,
};
use serde::Serialize;

use crate::{
    Files, GenerateError, Target,
    expand::{expand, unordered, unsupported},
    naming::Naming,
    templates::fill,
};

/// One of dbt's adapters.
pub(crate) struct Adapter {
    dialect: &'static dyn Dialect,
    naming: Naming,
}

/// SQLite's adapter has not been kept up with dbt since its version 1.4.
const ADAPTERS: [Adapter; 2] = [
    Adapter { dialect: &DuckDb::SHELL, naming: Naming::Schemas { main: "main" } },
    Adapter { dialect: &Postgres, naming: Naming::Schemas { main: "public" } },
];

pub(crate) fn dialects() -> Vec<&'static str> {
    ADAPTERS.iter().map(|adapter| adapter.dialect.name()).collect()
}

pub(crate) fn adapter(dialect: &str) -> Option<&'static Adapter> {
    ADAPTERS.iter().find(|adapter| adapter.dialect.name() == dialect)
}

pub(crate) fn generate(flows: &[&Flow], adapter: &Adapter, project: &str) -> Result<Files, GenerateError> {
    let (mut files, mut problems) = (Files::new(), Problems::default());
    let dialect = adapter.dialect.name();
    let ids: Vec<String> = flows.iter().map(|flow| flow.id().to_owned()).collect();
    let project = context! { dialect, flows => ids, project => project_name(project) };
    files.insert("dbt_project.yml".to_owned(), fill("dbt/dbt_project.yml", project));
    files.insert("profiles.yml".to_owned(), fill(&format!("dbt/profiles/{dialect}"), context! {}));
    files.insert("macros/qetl.sql".to_owned(), fill("dbt/macros.sql", context! {}));
    files.insert("tests/generic/qetl_unique_together.sql".to_owned(), fill("dbt/unique_together.sql", context! {}));
    for flow in flows {
        let of_flow = |plan: Plan| {
            let files = FlowFiles { plan: &plan, invariants: plan.invariants()?, adapter };
            files.all().map_err(|why| unsupported(flow, adapter.dialect, &why))
        };
        match expand(flow, Target::Dbt).and_then(of_flow) {
            Ok(made) => files.extend(made),
            Err(found) => problems.append(found),
        }
    }
    problems.or(())?;
    Ok(files)
}

/// A project's name as dbt wants it: small letters, digits and `_`.
fn project_name(name: &str) -> String {
    let name: String = name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { format!("qetl_{name}") }
}

/// How a model comes to be, in dbt's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Incremental: the rows of the batch are replaced.
    Batch,
    Table,
    View,
}

#[derive(Debug, Serialize)]
struct Described {
    name: String,
    about: String,
    columns: Vec<DescribedColumn>,
    /// Columns that are unique together, quoted.
    unique: Vec<String>,
}

#[derive(Debug, Serialize)]
struct DescribedColumn {
    name: String,
    about: &'static str,
    is_required: bool,
    values: &'static [&'static str],
}

struct FlowFiles<'a> {
    plan: &'a Plan,
    invariants: Vec<Invariant>,
    adapter: &'a Adapter,
}

impl FlowFiles<'_> {
    fn all(&self) -> Result<Files, Unsupported> {
        let (plan, id) = (self.plan, self.plan.flow.id());
        let mut files = Files::new();
        let model = |name: &str| format!("models/{id}/{name}.sql");
        let (batches, landed) = (self.own("batches"), self.own("landed_files"));
        files.insert(model(&self.model(&batches)), self.batches(&batches)?);
        files.insert(model(&self.model(&landed)), self.landed_files(&landed));

        let mut made: BTreeSet<DatasetName> = BTreeSet::new();
        for task in &plan.tasks {
            let (kind, steps) = match &task.write_mode {
                WriteMode::ReplaceBatch => (Kind::Batch, &task.steps),
                WriteMode::ReplaceAll => (Kind::Table, &task.steps),
                WriteMode::ReplaceKeys(keys) => (Kind::Table, &keys.whole),
            };
            files.insert(model(&self.model(&task.target)), self.text(&task.target, kind, steps, &made)?);
            made.insert(task.target.clone());
        }
        for dataset in &plan.datasets {
            if let DatasetKind::View(rel) = &dataset.kind {
                let mut steps = Steps::default();
                steps.add(&dataset.name.name, rel.clone());
                files.insert(model(&self.model(&dataset.name)), self.text(&dataset.name, Kind::View, &steps, &made)?);
            }
        }
        files.extend(self.tests(&made)?);
        files.insert(format!("models/{id}/schema.yml"), self.schema());
        let tables = crate::script::landing(plan, self.adapter.dialect, self.adapter.naming)?;
        files.insert(format!("landing/{id}.sql"), tables);
        Ok(files)
    }

    /// A table of the flow's that is no dataset.
    fn own(&self, suffix: &str) -> DatasetName {
        let flow = &self.plan.flow;
        DatasetName { namespace: flow.namespace().to_owned(), name: format!("{}_{suffix}", flow.dataset_prefix) }
    }

    /// A model's name, which is unique in the project.
    fn model(&self, dataset: &DatasetName) -> String {
        Naming::Prefixes.table(dataset)
    }

    /// What a model's `config` begins with: where its table stands, if its name does not say.
    fn place(&self, dataset: &DatasetName) -> String {
        match self.adapter.naming {
            Naming::Schemas { .. } if dataset.namespace != "main" => {
                format!("schema=\"{}\", alias=\"{}\", ", dataset.namespace, dataset.name)
            }
            Naming::Schemas { .. } | Naming::Prefixes => String::new(),
        }
    }

    fn batches(&self, dataset: &DatasetName) -> Result<String, Unsupported> {
        let flow = &self.plan.flow;
        let timestamp = self.adapter.dialect.type_name(Type::Timestamp)?;
        Ok(fill("dbt/batches.sql", context! { id => flow.id(), file => flow.source.name(), config => self.place(dataset), timestamp }))
    }

    fn landed_files(&self, dataset: &DatasetName) -> String {
        let flow = &self.plan.flow;
        let landing = words::source(flow.id(), &self.model(&self.landing().name));
        fill("dbt/files.sql", context! { id => flow.id(), file => flow.source.name(), config => self.place(dataset), landing })
    }

    fn landing(&self) -> &Dataset {
        self.plan.landing().unwrap_or_else(|| unreachable!("a flow whose types are declared lands rows"))
    }

    /// A model's file.
    fn text(&self, dataset: &DatasetName, kind: Kind, steps: &Steps, made: &BTreeSet<DatasetName>) -> Result<String, Unsupported> {
        let query = self.query(steps, made)?;
        let mut earlier = Vec::new();
        for known in self.plan.datasets.iter().filter(|known| known.is_stored()) {
            if query.contains(&words::nothing(&self.model(&known.name))) {
                earlier.push(context! { name => words::nothing(&self.model(&known.name)), query => self.nothing(&known.schema)? });
            }
        }
        let file = self.plan.flow.source.name();
        Ok(fill("dbt/model.sql", context! { file, config => self.place(dataset), kind => Serde(kind), earlier, query }))
    }

    /// A query with the columns and no row.
    fn nothing(&self, schema: &Schema) -> Result<String, Unsupported> {
        let dialect = self.adapter.dialect;
        let column = |column: &qetl_core::Column| {
            Ok(format!("CAST(NULL AS {}) AS {}", dialect.type_name(column.ty)?, ident(dialect.quote(), &column.name)))
        };
        let columns = schema.columns().iter().map(column).collect::<Result<Vec<_>, Unsupported>>()?;
        Ok(words::escape(&format!("SELECT {} WHERE 1 = 0", columns.join(", "))))
    }

    /// The steps in dbt's words. What is not among `made` is read as earlier runs left it.
    fn query(&self, steps: &Steps, made: &BTreeSet<DatasetName>) -> Result<String, Unsupported> {
        let (dialect, naming, landing) = (self.adapter.dialect, self.adapter.naming, &self.landing().name);
        let quote = dialect.quote();
        let named = |kind: &str, dataset: &DatasetName| {
            ObjectName::from(vec![ident(quote, &words::name(kind, &self.model(dataset))), ident(quote, &naming.table(dataset))])
        };
        let table = |dataset: &DatasetName| match dataset {
            dataset if dataset == landing => named("source", dataset),
            dataset if made.contains(dataset) => named("ref", dataset),
            dataset => named("earlier", dataset),
        };
        let (batches, files) = (self.own("batches"), self.own("landed_files"));
        let parameters = Parameters {
            batch_id: words::BATCH_ID.to_owned(),
            previous: words::PREVIOUS.to_owned(),
            processed_at: words::PROCESSED_AT.to_owned(),
            flow: self.plan.flow.id().to_owned(),
            batches: named("ref", &batches),
            files: named("ref", &files),
        };
        let sql = Sql { dialect, batch: Of::Parameters(&parameters), table: &table };
        Ok(words::into_dbt(&sql.query(steps)?, self.plan.flow.id(), &self.model(&batches)))
    }

    fn tests(&self, made: &BTreeSet<DatasetName>) -> Result<Files, Unsupported> {
        let (flow, mut files) = (&self.plan.flow, Files::new());
        let (id, batches) = (flow.id(), words::reference(&self.model(&self.own("batches"))));
        let mut add = |name: &str, rule: &str, help: &str, query: &str, broken: Option<String>, guard: bool| {
            let text = fill("dbt/test.sql", context! { file => flow.source.name(), rule, help, query, broken, guard });
            let mut path = format!("tests/{id}/{id}_{name}.sql");
            let mut number = 1;
            while files.contains_key(&path) {
                number += 1;
                path = format!("tests/{id}/{id}_{name}_{number}.sql");
            }
            files.insert(path, text);
        };
        for task in &self.plan.tasks {
            for Check { rule, steps, guard } in task.checks.iter().filter(|check| check.refuses()) {
                let name = |name: &str| ident(self.adapter.dialect.quote(), name).to_string();
                let (what, help, broken) = match rule {
                    Rule::DuplicateKey { .. } => ("one_row_a_key", "mend the rows, or say which counts with `on_duplicate_key`", None),
                    Rule::NotEmpty => ("not_empty", "set `allow_empty_snapshot = true` if it is meant", Some(format!("{} = 0", name("n")))),
                    Rule::MaxDeleteRatio(most) => {
                        let broken = format!("{} > {most} * {}", name("deleted"), name("live"));
                        ("few_deletions", "see whether the batch is complete", Some(broken))
                    }
                    Rule::None { help, .. } => ("rule", help.as_str(), None),
                    Rule::Warn(what) => ("warning", what.as_str(), None),
                };
                let name = format!("{}_{what}", self.model(&task.target));
                add(&name, &rule.to_string(), help, &self.query(&unordered(steps), made)?, broken, *guard);
            }
        }
        let rules = flow.properties.batches(flow);
        let this = "{{ qetl_batch_id() }}";
        // Between a late batch and the last of those that are derived again after it, tables are not of one mind.
        let are_derived = || format!("({this} < 1 OR NOT EXISTS (SELECT 1 FROM {batches} WHERE batch_id > {this}))");
        for invariant in &self.invariants {
            let about = invariant.about.clone();
            add(
                &invariant.name,
                &about,
                "the tables were changed by others",
                &self.query(&unordered(&invariant.steps), made)?,
                rules.build_on_earlier.then(are_derived),
                false,
            );
        }
        if rules.build_on_earlier && flow.properties.late_batches() == LateBatches::Reject {
            let query = format!("SELECT * FROM {batches} WHERE batch_id > {this}");
            add("no_late_batch", "no later batch is derived already", "load it as a new batch", &query, None, false);
        }
        if rules.times_rise {
            let query = format!(
                "SELECT this.batch_id FROM {batches} AS this JOIN {batches} AS other ON other.batch_id < this.batch_id AND other.processed_at >= this.processed_at"
            );
            add("times_rise", "execution times rise with the batches", "give processed_at", &query, None, false);
        }
        Ok(files)
    }

    /// Sources, models, their columns and tests.
    fn schema(&self) -> String {
        let plan = self.plan;
        let (flow, landing) = (&plan.flow, self.landing());
        let about = flow.header.description.as_ref().or(flow.header.name.as_ref()).unwrap_or(&flow.header.id);
        let schema = match (self.adapter.naming.schema(flow.namespace()), flow.namespace()) {
            (None, _) | (_, "main") => "{{ target.schema }}".to_owned(),
            (Some(schema), _) => schema,
        };
        let source = context! {
            schema, name => self.model(&landing.name), table => self.adapter.naming.table(&landing.name), about => &landing.about,
            columns => Serde(landing.schema.columns().iter().map(|column| self.column(&column.name)).collect::<Vec<_>>()),
        };
        let models = plan.datasets.iter().filter(|dataset| dataset.kind != DatasetKind::Landing);
        let models: Vec<Described> = models.map(|dataset| self.described(dataset)).collect();
        fill(
            "dbt/schema.yml",
            context! { file => flow.source.name(), id => flow.id(), about => &about.value, landing => source, models => Serde(models) },
        )
    }

    fn described(&self, dataset: &Dataset) -> Described {
        let has = |name: &str| dataset.schema.column(name).is_some();
        let keys = self.plan.flow.input.key_names();
        let with_keys = |more: &[&str]| keys.iter().cloned().chain(more.iter().map(ToString::to_string)).collect::<Vec<_>>();
        let unique = match () {
            () if has("xt_transaction_id") => vec!["xt_transaction_id".to_owned()],
            () if has("xt_record_type") => with_keys(&["xt_batch_id"]),
            () if has("xt_version") => with_keys(&["xt_version"]),
            () => Vec::new(),
        };
        Described {
            name: self.model(&dataset.name),
            about: dataset.about.clone(),
            columns: dataset.schema.columns().iter().map(|column| self.column(&column.name)).collect(),
            unique: unique.iter().map(|name| ident(self.adapter.dialect.quote(), name).to_string()).collect(),
        }
    }

    fn column(&self, name: &str) -> DescribedColumn {
        let is_required = self.plan.input.iter().any(|input| input.name == name && input.required) || REQUIRED.contains(&name);
        let about = COLUMNS.iter().find(|(column, ..)| *column == name).map_or("", |(_, about, _)| *about);
        let values = COLUMNS.iter().find(|(column, ..)| *column == name).map_or(&[][..], |(.., values)| *values);
        DescribedColumn { name: name.to_owned(), about, is_required, values }
    }
}

/// System columns that always have a value.
const REQUIRED: [&str; 5] = ["xt_batch_id", "xt_record_type", "xt_transaction_id", "xt_transaction_type", "xt_parked_reason"];

/// What system columns hold, and the only values that they have, where these are few.
const COLUMNS: [(&str, &str, &[&str]); 16] = [
    ("xt_batch_id", "the batch that caused the row", &[]),
    ("xt_loaded_at", "when the row was landed", &[]),
    ("xt_source_file", "the file that the row was read from", &[]),
    ("xt_row_number", "which row of the file it is, from 1", &[]),
    ("xt_processed_at", "the batch's execution time", &[]),
    ("xt_record_type", "what became of the key in the batch", &["NEW", "CHANGED", "DELETED", "STALE", "REACTIVATED"]),
    ("xt_changed_columns", "the tracked columns that differ, joined by commas", &[]),
    ("xt_parked_reason", "why the row was set aside", &["null_key", "duplicate_key", "superseded", "unknown_key", "already_deleted"]),
    ("xt_transaction_id", "the transaction's id, the same on every engine", &[]),
    ("xt_transaction_type", "what is booked", &["INITIAL_BOOKING", "REVERSAL", "DELTA_CORRECTION", "REPUBLISH"]),
    ("xt_referred_transaction_id", "the transaction that this one reverses, corrects or follows", &[]),
    ("xt_version", "the key's versions, from 1", &[]),
    ("xt_effective_from", "from when on the version holds", &[]),
    ("xt_effective_to", "until when it held; NULL: it holds", &[]),
    ("xt_is_current", "whether the version holds", &[]),
    ("session_id", "the user and the session's number or start", &[]),
];

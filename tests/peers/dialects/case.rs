//! A life as the statements of one dialect: all that a program needs to live it, as JSON.

use std::collections::BTreeMap;

use qetl_core::{
    Column, DatasetName, Flow, Plan,
    plan::{self, DatasetKind, InputType, Known},
};
use qetl_sql::{Batch, Dialect, Extent, ObjectName, Sql, Unsupported};
use qetl_test_models::tables::text;
use serde_json::{Value, json};

use super::lives::{self, Life};

pub(crate) struct Case {
    pub(crate) json: Value,
    /// What cannot be asked of the tables in this dialect.
    pub(crate) left_out: Vec<Unsupported>,
}

/// The case, or what of a task the dialect cannot say.
pub(crate) fn case(life: &Life, dialect: &dyn Dialect) -> Result<Case, Unsupported> {
    let mut writer = Writer { dialect, plan: &plan_of(life), known: BTreeMap::new() };
    let tables = writer.tables()?;
    let batches = life.batches.iter().map(|batch| writer.arrive(batch)).collect::<Result<Vec<_>, _>>()?;
    let refresh = writer.derive_all()?;
    let (queries, left_out) = writer.queries();
    let landing = writer.landing();
    let (columns, types): (Vec<&str>, Vec<String>) =
        landing.schema.columns().iter().map(|column| (column.name.as_str(), column.ty.to_string())).unzip();
    let json = json!({
        "session": dialect.session(),
        "tables": tables,
        "landing": { "table": landing.name.name, "columns": columns, "types": types },
        "batches": batches,
        "refresh": refresh,
        "expected": writer.expected(life),
        "queries": queries,
    });
    Ok(Case { json, left_out })
}

fn plan_of(life: &Life) -> Plan {
    let flow = Flow::parse("h.toml", &life.flow, &qetl_plugins::registry()).unwrap_or_else(|problems| panic!("{problems}\n{}", life.flow));
    let input = flow.input.columns.iter();
    let input = input.map(|column| InputType::new(&column.value.name, column.value.declared().unwrap(), Known::Declared));
    plan::expand(&flow, input.collect()).unwrap_or_else(|problems| panic!("{problems}\n{}", life.flow))
}

struct Writer<'a> {
    dialect: &'a dyn Dialect,
    plan: &'a Plan,
    /// Of each batch that has come: when it was executed, and its files.
    known: BTreeMap<i64, (i64, Vec<String>)>,
}

impl Writer<'_> {
    fn landing(&self) -> &plan::Dataset {
        self.plan.landing().unwrap()
    }

    /// Writes for one of the known batches; 0 for none.
    fn write<T>(&self, batch_id: i64, write: impl FnOnce(&Sql<'_>) -> T) -> T {
        let several = self.known.iter().filter(|(_, (_, files))| files.len() > 1);
        let batch = Batch {
            batch_id,
            previous: self.known.range(..batch_id).next_back().map_or(0, |(id, _)| *id),
            processed_at: self.known.get(&batch_id).map_or(0, |(at, _)| *at),
            batches: self.known.iter().map(|(id, (at, _))| (*id, *at)).collect(),
            files: several.map(|(id, (_, files))| (*id, files.clone())).collect(),
            lacking: Vec::new(),
        };
        let table = |dataset: &DatasetName| ObjectName::from(vec![qetl_sql::ident(self.dialect.quote(), &dataset.name)]);
        write(&Sql { dialect: self.dialect, batch: (&batch).into(), table: &table })
    }

    fn tables(&self) -> Result<Vec<String>, Unsupported> {
        let keys = self.plan.flow.input.key_names();
        let is_indexed = |column: &&Column| keys.contains(&column.name) || column.name == "xt_batch_id";
        self.write(0, |sql| {
            let (mut tables, mut views) = (Vec::new(), Vec::new());
            for dataset in &self.plan.datasets {
                if let DatasetKind::View(rel) = &dataset.kind {
                    views.extend(sql.create_view(&dataset.name, rel)?);
                    continue;
                }
                let indexed: Vec<Column> = dataset.schema.columns().iter().filter(is_indexed).cloned().collect();
                tables.push(sql.create_table(&dataset.name, &dataset.schema)?);
                tables.extend(sql.create_index(&dataset.name, &format!("i_{}", dataset.name.name), &indexed));
            }
            Ok([tables, views].concat())
        })
    }

    /// What runs before the batch's rows are landed in place of those of that id, the rows, and what runs then: as qetl itself does it.
    fn arrive(&mut self, batch: &lives::Batch) -> Result<Value, Unsupported> {
        let is_first = self.known.is_empty();
        // The order of names is not that of files, and they need quoting.
        let names: Vec<String> = (0..batch.files.len()).map(|file| format!("file_{}'\\", 9 - file)).collect();
        self.known.insert(batch.id, (batch.processed_at, names.clone()));
        let rows = batch.files.iter().zip(&names).flat_map(|(rows, name)| {
            (1..).zip(rows).map(move |(number, row)| {
                let place = [batch.id.to_string(), "1970-01-01T00:00:00.000000Z".to_owned(), name.clone(), i32::to_string(&number)];
                row.iter().map(text).chain(place.map(Some)).collect::<Vec<_>>()
            })
        });
        let landing = self.landing();
        let before = self.write(batch.id, |sql| sql.keep_replaced(&landing.name, &landing.schema))?;
        let mut then = self.fill(batch.id, true, Extent::Touched)?;
        let builds_on_earlier = self.plan.flow.properties.batches(&self.plan.flow).build_on_earlier;
        let later: Vec<i64> = self.known.range(batch.id + 1..).map(|(id, _)| *id).filter(|_| builds_on_earlier).collect();
        for id in &later {
            then.extend(self.fill(*id, true, Extent::Touched)?);
        }
        let extent = if is_first || !later.is_empty() { Extent::Everything } else { Extent::Touched };
        then.extend(self.fill(batch.id, false, extent)?);
        then.push(self.write(batch.id, |sql| sql.forget_replaced(&landing.name)));
        Ok(json!({ "id": batch.id, "before": before, "rows": rows.collect::<Vec<_>>(), "then": then }))
    }

    /// Everything once more, as a full refresh does it.
    fn derive_all(&self) -> Result<Vec<String>, Unsupported> {
        let mut statements = Vec::new();
        for id in self.known.keys() {
            statements.extend(self.fill(*id, true, Extent::Everything)?);
        }
        statements.extend(self.fill(self.last(), false, Extent::Everything)?);
        Ok(statements)
    }

    /// Runs the tasks that run for each batch, or the others.
    fn fill(&self, batch_id: i64, of_batch: bool, extent: Extent) -> Result<Vec<String>, Unsupported> {
        let tasks = self.plan.tasks.iter().filter(|task| task.write_mode.is_of_batch() == of_batch);
        let statements = tasks.map(|task| self.write(batch_id, |sql| sql.fill(task, extent))).collect::<Result<Vec<_>, _>>()?;
        Ok(statements.concat())
    }

    fn last(&self) -> i64 {
        *self.known.keys().next_back().unwrap()
    }

    /// The model's tables, without what is landed as it is.
    fn expected(&self, life: &Life) -> Vec<Value> {
        let tables = life.tables.iter().filter(|table| table.dataset != self.landing().name.name);
        let expected = tables.map(|table| {
            let dataset = self.plan.datasets.iter().find(|dataset| dataset.name.name == table.dataset).unwrap();
            let types: Vec<String> = table.columns.iter().map(|name| dataset.schema.column(name).unwrap().ty.to_string()).collect();
            json!({ "table": table.dataset, "columns": table.columns, "types": types, "rows": table.rows })
        });
        expected.collect()
    }

    /// What is asked of the tables in the end: invariants, by name, which must give no rows, and checks, which may.
    fn queries(&self) -> (Vec<Value>, Vec<Unsupported>) {
        let invariants = self.plan.invariants().unwrap_or_else(|problems| panic!("{problems}"));
        let invariants = invariants.iter().map(|invariant| (Some(&invariant.name), &invariant.steps));
        let checks = self.plan.tasks.iter().flat_map(|task| task.checks.iter().map(|check| (None, &check.steps)));
        let (mut queries, mut left_out) = (Vec::new(), Vec::new());
        for (invariant, steps) in invariants.chain(checks) {
            match self.write(self.last(), |sql| sql.query(steps)) {
                Ok(sql) => queries.push(json!({ "invariant": invariant, "sql": sql })),
                Err(why) => left_out.push(why),
            }
        }
        (queries, left_out)
    }
}

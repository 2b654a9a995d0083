//! Statements around the queries: tables, indexes and views, and the ways in which a task's rows come into its target.
#![expect(clippy::wildcard_enum_match_arm, reason = "scans are looked for among all operators")]

use qetl_core::{
    DatasetName, Schema,
    ir::{AsOf, Op, Rel, Step, Steps},
    plan::{Task, WriteMode},
    schema::Column,
};
use sqlparser::ast::{self, ObjectName, Query, SelectItem, Statement};

use crate::{Sql, Unsupported, dialects::Scratch, tree};

/// How much of a target a task fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What its batch touches.
    Touched,
    /// All of it, as when everything is derived again.
    Everything,
}

impl Sql<'_> {
    /// `CREATE TABLE IF NOT EXISTS` with the schema's columns. No column is declared NOT NULL.
    pub fn create_table(&self, dataset: &DatasetName, schema: &Schema) -> Result<String, Unsupported> {
        self.refuse_width("a table", schema.columns().len(), self.dialect.most_columns().map(|most| most.table))?;
        let mut statement = tree::statement("CREATE TABLE IF NOT EXISTS t (a INT)");
        if let Statement::CreateTable(create) = &mut statement {
            create.name = (self.table)(dataset);
            let column = |column: &Column| {
                let data_type = tree::raw_type(&self.dialect.column_type(column.ty)?);
                Ok(ast::ColumnDef { name: self.ident(&column.name), data_type, options: Vec::new() })
            };
            create.columns = schema.columns().iter().map(column).collect::<Result<_, _>>()?;
            self.dialect.finish_table(create);
        }
        // sqlparser leaves blanks behind the last column.
        Ok(format!("{statement:#}").lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
    }

    /// An index on the columns; `None` for no columns, and where the database has no indexes.
    pub fn create_index(&self, dataset: &DatasetName, name: &str, columns: &[Column]) -> Option<String> {
        if columns.is_empty() {
            return None;
        }
        let mut statement = tree::statement("CREATE INDEX i ON t (a)");
        if let Statement::CreateIndex(create) = &mut statement {
            create.name = Some(ObjectName::from(vec![self.ident(name)]));
            create.table_name = (self.table)(dataset);
            let keys = columns.iter().map(|column| self.dialect.index_key(self.ident(&column.name), column.ty));
            let keys = keys.collect::<Option<Vec<_>>>()?;
            let one = create.columns[0].clone();
            create.columns = keys
                .into_iter()
                .map(|expr| ast::IndexColumn { column: ast::OrderByExpr { expr, ..one.column.clone() }, ..one.clone() })
                .collect();
        }
        Some(format!("{statement:#}"))
    }

    /// The view of that name, in place of one that may be there.
    pub fn create_view(&self, dataset: &DatasetName, rel: &Rel) -> Result<Vec<String>, Unsupported> {
        let mut steps = Steps::default();
        steps.add(&dataset.name, rel.clone());
        let mut drop = tree::statement("DROP VIEW IF EXISTS v");
        if let Statement::Drop { names, .. } = &mut drop {
            *names = vec![(self.table)(dataset)];
        }
        let mut create = tree::statement("CREATE VIEW v AS SELECT 1");
        if let Statement::CreateView(view) = &mut create {
            view.name = (self.table)(dataset);
            *view.query = self.tree(&steps)?;
        }
        Ok(vec![format!("{drop:#}"), format!("{create:#}")])
    }

    /// Keeps this batch's landed rows in a scratch table, from which [`AsOf::ReplacedBatch`] reads: before others are
    /// landed in their place. With [`Sql::forget_replaced`] for afterwards.
    pub fn keep_replaced(&self, landing: &DatasetName, schema: &Schema) -> Result<Vec<String>, Unsupported> {
        let mut steps = Steps::default();
        steps.add("landed", Rel::scan(landing, schema, AsOf::ThisBatch));
        let name = self.scratch(landing, "replaced");
        Ok(vec![self.drop_scratch(&name), self.create_scratch(name, self.tree(&steps)?)])
    }

    pub fn forget_replaced(&self, landing: &DatasetName) -> String {
        self.drop_scratch(&self.scratch(landing, "replaced"))
    }

    /// Works steps out once, into a scratch table of that name; [`kept`] reads it in place of the last one.
    pub fn keep(&self, scratch: &str, steps: &Steps) -> Result<String, Unsupported> {
        Ok(self.create_scratch(self.scratch_named(scratch), self.tree(steps)?))
    }

    /// The statements that fill a task's target, in order.
    pub fn fill(&self, task: &Task, extent: Extent) -> Result<Vec<String>, Unsupported> {
        match &task.write_mode {
            WriteMode::ReplaceBatch => {
                let of_batch = tree::binary(self.column("xt_batch_id"), ast::BinaryOperator::Eq, self.batch_id());
                self.replace(task, &task.steps, Some(of_batch))
            }
            WriteMode::ReplaceAll => self.replace(task, &task.steps, None),
            WriteMode::ReplaceKeys(keys) if extent == Extent::Everything => self.replace(task, &keys.whole, None),
            WriteMode::ReplaceKeys(keys) => {
                let touched = self.scratch(&task.target, "touched");
                let position = task.steps.0.iter().position(|step| step.name == keys.touched);
                let position = position.unwrap_or_else(|| unreachable!("the task has the step `{}`", keys.touched));
                // The keys are worked out once: what they are told by may be the rows that are deleted next.
                let before = Steps(task.steps.0[..=position].to_vec());
                let mut rows = Steps(task.steps.0.clone());
                rows.0[position] = kept(&scratch_name(&task.target, "touched"), &before.0[position]);
                let columns: Vec<ast::Expr> = keys.keys.iter().map(|key| self.column(key)).collect();
                let among = self.dialect.among(columns, tree::named_table(touched.clone(), None, self.dialect.quote()));
                let mut all = vec![self.drop_scratch(&touched), self.create_scratch(touched.clone(), self.tree(&before)?)];
                all.extend(self.replace(task, &rows, Some(among))?);
                all.push(self.drop_scratch(&touched));
                Ok(all)
            }
        }
    }

    /// DELETE and INSERT; by way of a scratch table if the query reads what is deleted.
    fn replace(&self, task: &Task, steps: &Steps, which: Option<ast::Expr>) -> Result<Vec<String>, Unsupported> {
        let steps = steps.needed();
        let Some(last) = steps.0.last() else { return Ok(Vec::new()) };
        let target = (self.table)(&task.target);
        let columns: Vec<&str> = last.rel.column_names().collect();
        let query = self.tree(&steps)?;
        let delete = self.delete(target.clone(), which);
        if !steps.0.iter().any(|step| reads_all(&step.rel, &task.target)) {
            return Ok(vec![delete, self.insert(target, &columns, query)]);
        }
        let rows = self.scratch(&task.target, "rows");
        let items = columns.iter().map(|name| SelectItem::UnnamedExpr(self.column(name))).collect();
        let kept = tree::select(items, tree::named_table(rows.clone(), None, self.dialect.quote()));
        Ok(vec![
            self.drop_scratch(&rows),
            self.create_scratch(rows.clone(), query),
            delete,
            self.insert(target, &columns, kept),
            self.drop_scratch(&rows),
        ])
    }

    fn delete(&self, target: ObjectName, which: Option<ast::Expr>) -> String {
        let mut statement = tree::statement("DELETE FROM t");
        if let Statement::Delete(delete) = &mut statement {
            if let ast::FromTable::WithFromKeyword(from) = &mut delete.from {
                from[0].relation = tree::named_table(target, None, self.dialect.quote());
            }
            delete.selection = which.or_else(|| self.dialect.every_row());
        }
        format!("{statement:#}")
    }

    fn insert(&self, target: ObjectName, columns: &[&str], query: Query) -> String {
        let mut statement = tree::statement("INSERT INTO t (a) SELECT 1");
        if let Statement::Insert(insert) = &mut statement {
            insert.table = ast::TableObject::TableName(target);
            insert.columns = columns.iter().map(|name| ObjectName::from(vec![self.ident(name)])).collect();
            insert.source = Some(Box::new(query));
        }
        format!("{statement:#}")
    }

    fn create_scratch(&self, name: ObjectName, query: Query) -> String {
        let mut statement = tree::statement("CREATE TEMPORARY TABLE t AS SELECT 1");
        if let Statement::CreateTable(create) = &mut statement {
            create.name = name;
            create.query = Some(Box::new(query));
            create.temporary = self.dialect.scratch() != Scratch::Plain;
        }
        format!("{statement:#}")
    }

    /// The name of a table that lives no longer than the work on a batch.
    pub(crate) fn scratch(&self, dataset: &DatasetName, what: &str) -> ObjectName {
        self.scratch_named(&scratch_name(dataset, what))
    }

    pub(crate) fn scratch_named(&self, name: &str) -> ObjectName {
        ObjectName::from(vec![self.ident(name)])
    }

    fn drop_scratch(&self, table: &ObjectName) -> String {
        let mut statement = tree::statement("DROP TABLE IF EXISTS t");
        if let Statement::Drop { names, temporary, .. } = &mut statement {
            *names = vec![table.clone()];
            *temporary = self.dialect.scratch() == Scratch::TemporaryDropped;
        }
        format!("{statement:#}")
    }
}

fn scratch_name(dataset: &DatasetName, what: &str) -> String {
    let namespace = if dataset.namespace == "main" { String::new() } else { format!("{}_", dataset.namespace) };
    format!("{namespace}{}_{what}", dataset.name)
}

/// The step as a read of the scratch table that has its rows: a name without a namespace is one's.
#[must_use]
pub fn kept(scratch: &str, step: &Step) -> Step {
    let name = DatasetName { namespace: String::new(), name: scratch.to_owned() };
    Step { rel: Rel::scan(&name, step.rel.schema(), AsOf::AllBatches), ..step.clone() }
}

/// Whether the relation reads rows of the dataset that are not of earlier batches.
fn reads_all(rel: &Rel, dataset: &DatasetName) -> bool {
    match &*rel.op {
        Op::Scan { dataset: read, as_of } => {
            read == dataset && !matches!(as_of, AsOf::BeforeThisBatch | AsOf::AfterThisBatch | AsOf::PreviousBatch)
        }
        _ => rel.inputs().into_iter().any(|input| reads_all(input, dataset)),
    }
}

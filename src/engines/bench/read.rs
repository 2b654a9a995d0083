//! What a task gives, into the scratch table: an author's statements, of which each sees what it should, or a script's file.

use std::{collections::BTreeSet, ops::Range};

use qetl_core::{
    Column, DatasetName, Problem, Type,
    format::ReaderOptions,
    load::OnExtraColumns,
    standard::{Rendered, same_dataset},
};
use qetl_ingest::{BadRows, ReadColumn, ReadSpec, SourceFile};
use qetl_runtime::{
    RunError,
    standard::{Moment, Scopes, Statement},
};

use qetl_sql::{
    author::{Named, Prepared, Wrong},
    size,
};

use super::{FILLED, Shared, names::Names};
use crate::{
    author,
    cell::joined,
    database::{Connection, Failure, Found},
    records::{self, Stored},
    tables::{self, TableName, quoted},
};

/// A dataset of which a task must not see all: an expression of its name stands before the task's query.
struct Hidden {
    dataset: DatasetName,
    expression: String,
}

impl Shared {
    /// The condition that a task's rows of a dataset meet, if not all do.
    pub(super) fn condition(&self, stored: &Stored, moment: Moment, scopes: &Scopes) -> Option<String> {
        if !stored.columns.iter().any(|column| column.name == "xt_batch_id") {
            return None;
        }
        let column = quoted(&*self.database, "xt_batch_id");
        let is_own = self.own.iter().any(|own| same_dataset(own, &stored.name));
        match scopes.of(&stored.name) {
            Some(batches) => Some(is_one_of(&column, batches)),
            // A batch that is derived again must not find later ones.
            None if is_own && stored.by_batch => Some(format!("{column} <= {}", moment.batch_id)),
            None => None,
        }
    }

    /// What the statements must not see all of.
    fn hidden(
        &self,
        connection: &mut dyn Connection,
        moment: Moment,
        sql: &Rendered,
        statement: &Statement,
        scopes: &Scopes,
    ) -> Result<Vec<Hidden>, Failure> {
        let database = &*self.database;
        let mut hidden = Vec::new();
        for stored in records::datasets(database, connection)? {
            let same = |other: &DatasetName| same_dataset(other, &stored.name);
            if !statement.reads.iter().any(|(read, _)| same(read)) {
                continue;
            }
            let Some(condition) = self.condition(&stored, moment, scopes) else { continue };
            let name = &stored.name.name;
            let is_twin = |other: &DatasetName| !same(other) && other.name.eq_ignore_ascii_case(name);
            let twin = statement.reads.iter().find(|(read, _)| is_twin(read)).map(|(_, span)| *span);
            // Behind the temporary table of its name, the dataset is still read under its full one.
            let shadow = statement.temporary.iter().find(|table| {
                let later = |(range, dataset): &(Range<usize>, DatasetName)| same(dataset) && range.start > table.query.end;
                table.name.eq_ignore_ascii_case(name) && statement.qualified.iter().any(later)
            });
            if let Some(span) = twin.or(shadow.map(|table| table.span)) {
                let what = format!("the task reads `{}` batch by batch, and another table of that name", stored.name);
                let problem = Problem::new("qetl::sql::two_of_a_name", span, what).label("the other one");
                return Err(RunError::from(sql.placed(problem.help("read one of them in a task of its own").into())).into());
            }
            let real = database.real_table(&stored.name);
            let expression = format!("{} AS (SELECT * FROM {real} WHERE {condition})", quoted(database, name));
            hidden.push(Hidden { dataset: stored.name, expression });
        }
        Ok(hidden)
    }

    /// The text of one of the queries. Hidden datasets go by the names of their expressions, others that are named with their
    /// namespace by those of their tables.
    fn text(&self, sql: &Rendered, statement: &Statement, query: &Range<usize>, hidden: &[Hidden]) -> String {
        let database = &*self.database;
        let mut names: Vec<(&Range<usize>, String)> = Vec::new();
        for (range, dataset) in statement.qualified.iter().filter(|(range, _)| query.contains(&range.start)) {
            let expression = hidden.iter().find(|hidden| same_dataset(&hidden.dataset, dataset));
            let name = expression.map_or_else(|| tables::table(database, dataset), |hidden| quoted(database, &hidden.dataset.name));
            names.push((range, name));
        }
        names.sort_by_key(|(range, _)| range.start);
        let (mut text, mut at) = (String::new(), query.start);
        for (range, name) in names {
            text.push_str(&sql.text[at..range.start]);
            text.push_str(&name);
            at = range.end;
        }
        text + &sql.text[at..query.end]
    }

    /// Runs an author's statements, the last one's query into the scratch table; the columns of that, and warnings.
    pub(super) fn run_statements(
        &self,
        connection: &mut dyn Connection,
        moment: Moment,
        sql: &Rendered,
        statement: &Statement,
        scopes: &Scopes,
    ) -> Result<(Vec<Column>, Vec<String>), Failure> {
        let mut hidden = self.hidden(connection, moment, sql, statement, scopes)?;
        let (mut made, mut given, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        self.drop_scratch(connection, FILLED)?;
        let tables = statement.temporary.iter().map(|table| (table.written.as_str(), table.name.as_str(), &table.query));
        for (written, name, query) in tables.chain([(FILLED, FILLED, &statement.query)]) {
            let mut expressions: Vec<&str> = hidden.iter().map(|hidden| hidden.expression.as_str()).collect();
            let text = self.text(sql, statement, query, &hidden);
            let prepare = |connection: &mut dyn Connection, text: &str| -> Result<Prepared, Failure> {
                let prepared = author::prepare(&*self.database, connection, text, Some(moment.processed_at), &made)?;
                Ok(prepared.map_err(|wrong| RunError::from(sql.placed(told(sql, query, text, wrong).into())))?)
            };
            let wrong = |why: Failure| {
                let Failure::Wrong(message) = why else { return why };
                let problem = sql.problem("qetl::sql::engine", query.clone(), message).label("this query");
                RunError::from(sql.placed(problem.into())).into()
            };
            // By their own names the tables have the same columns as with some rows hidden.
            let prepared = prepare(connection, &text)?;
            let plain = self.text(sql, statement, query, &[]);
            let plain = if plain == text { prepared.text.clone() } else { prepare(connection, &plain)?.text };
            let names = size::deep(|| Names::of(connection, &plain)).map_err(wrong)?;
            warnings.extend(names.warnings());
            let own = format!("qetl_result{} AS (\n{}\n)", names.list(&*self.database), prepared.text);
            expressions.push(&own);
            let create = format!("CREATE TEMPORARY TABLE {written} AS WITH {} SELECT * FROM qetl_result", expressions.join(", "));
            size::deep(|| connection.run(&create, &[])).map_err(wrong)?;
            given = names.named(prepared.columns);
            made.push(author::made(name, &given));
            // From here on the name is the temporary table's.
            hidden.retain(|hidden| !hidden.dataset.name.eq_ignore_ascii_case(name));
        }
        for table in &statement.temporary {
            self.drop_scratch(connection, &table.written)?;
        }
        Ok((types(connection, &given)?, warnings))
    }

    /// Reads a script's result into the scratch table, as any Arrow file is read.
    pub(super) fn read_file(&self, connection: &mut dyn Connection, file: &SourceFile) -> Result<Vec<Column>, Failure> {
        let data = |problem: qetl_ingest::DataProblem| Failure::from(RunError::from(problem));
        let names = qetl_ingest::column_names(file, &ReaderOptions::default()).map_err(data)?;
        let names: Vec<String> = names.into_iter().filter(|name| !name.to_ascii_lowercase().starts_with("xt_")).collect();
        if let Some((name, why)) = names.iter().find_map(|name| Some((name, qetl_core::schema::refuse_column_name(name)?))) {
            return Err(
                RunError::usage(format!("`{name}` cannot be a column of a dataset"), format!("{why}; rename it in the script")).into()
            );
        }
        let columns = names.iter().map(|name| ReadColumn::new(name, None)).collect();
        let mut spec =
            ReadSpec { columns, options: ReaderOptions::default(), on_extra_columns: OnExtraColumns::Ignore, bad_rows: BadRows::default() };
        let types = qetl_ingest::infer(std::slice::from_ref(file), &spec).map_err(data)?;
        for (column, found) in spec.columns.iter_mut().zip(&types) {
            column.ty = Some(found.ty);
        }
        let found: Vec<Column> = names.iter().zip(&types).map(|(name, found)| Column::new(name, found.ty)).collect();
        let database = &*self.database;
        self.drop_scratch(connection, FILLED)?;
        connection.run(&format!("CREATE TEMPORARY TABLE {FILLED} ({})", tables::declared(database, &found)?), &[])?;
        let filled = TableName { schema: None, name: FILLED.to_owned() };
        tables::load_all(connection, &filled, &found, qetl_ingest::read(file, &spec).map_err(data)?.map(|rows| rows?.whole()))?;
        Ok(found)
    }
}

/// What is wrong with a query, where that is in the task.
fn told(sql: &Rendered, query: &Range<usize>, text: &str, wrong: Wrong) -> Problem {
    // Names of hidden datasets may have moved what stands behind them.
    let as_written = sql.text.get(query.clone()) == Some(text) && wrong.span.start.line > 0;
    let at = |line, column| query.start + qetl_sql::byte_at(text, line, column);
    let place = match as_written {
        true => at(wrong.span.start.line, wrong.span.start.column)..at(wrong.span.end.line, wrong.span.end.column),
        false => query.clone(),
    };
    sql.problem(wrong.code, place, wrong.message).label(wrong.label).help(wrong.help)
}

/// That a column is one of these numbers; those that follow one another as a range.
fn is_one_of(column: &str, numbers: &BTreeSet<i64>) -> String {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let range = |(first, last): &(i64, i64)| match first == last {
        true => format!("{column} = {first}"),
        false => format!("{column} BETWEEN {first} AND {last}"),
    };
    match ranges.as_slice() {
        [] => "1 = 0".to_owned(),
        [one] => range(one),
        several => format!("({})", several.iter().map(range).collect::<Vec<_>>().join(" OR ")),
    }
}

/// The columns of the scratch table. Where neither the query nor the database says a type, the values do.
fn types(connection: &mut dyn Connection, given: &[Named]) -> Result<Vec<Column>, Failure> {
    const UNBOUNDED: Option<Type> = Some(Type::Decimal { precision: 38, scale: 0 });
    let found = connection.query(&format!("SELECT * FROM {FILLED} LIMIT 0"), &[], &mut |_, _| Ok(()))?;
    let mut seen: Vec<Option<Type>> = vec![None; found.len()];
    if found.iter().any(|found| found.ty.is_none() || found.ty == UNBOUNDED) {
        connection.query(&format!("SELECT * FROM {FILLED}"), &[], &mut |_, row| {
            for (seen, cell) in seen.iter_mut().zip(&row) {
                *seen = joined(*seen, cell.ty());
            }
            Ok(())
        })?;
    }
    let given = |place: usize| if given.len() == found.len() { author::result_type(given.get(place)) } else { None };
    let ty = |found: &Found, seen: Option<Type>| if found.ty == UNBOUNDED { joined(found.ty, seen) } else { found.ty.or(seen) };
    let all = found.iter().zip(seen).enumerate();
    Ok(all.map(|(place, (found, seen))| Column::new(&found.name, given(place).or(ty(found, seen)).unwrap_or(Type::Text))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_that_follow_one_another_are_a_range() {
        for (numbers, expected) in [
            (&[][..], "1 = 0"),
            (&[7], "b = 7"),
            (&[1, 2, 3], "b BETWEEN 1 AND 3"),
            (&[1, 2, 4, 9, 10], "(b BETWEEN 1 AND 2 OR b = 4 OR b BETWEEN 9 AND 10)"),
        ] {
            assert_eq!(is_one_of("b", &numbers.iter().copied().collect()), expected);
        }
    }
}

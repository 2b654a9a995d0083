//! From the scratch table into a task's target.

use qetl_core::{Column, DatasetName, Type, standard::WriteMode};
use qetl_runtime::{
    Place, RunError,
    standard::{Moment, Target},
};

use super::{FILLED, Missing, OWN, Shared, held};
use crate::{
    cell::{Cell, coerce, joined},
    database::{Connection, Failure},
    records::{self, numbered},
    tables::{self, quoted, quoted_list, table},
};

impl Shared {
    /// From the scratch table into the target. `listed`: the columns that an INSERT fills, in its order.
    pub(super) fn fill(
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
        let mut has_value = |column: &str, table: &str| -> Result<bool, Failure> {
            let values = connection.rows(&format!("SELECT 1 FROM {table} WHERE {column} IS NOT NULL LIMIT 1"), &[])?;
            Ok(!values.is_empty())
        };
        for (given, column) in &result {
            let mut old = kept.iter().find(|old| old.name == column.name).map(|old| old.ty);
            let mut new = Some(column.ty);
            if old.is_some_and(|old| old != column.ty) {
                // Of a column that has no value yet nobody may have known the type.
                old = if has_value(&quoted(database, &column.name), &into)? { old } else { None };
                new = if has_value(given, FILLED)? { new } else { None };
            }
            columns.push(Column::new(&column.name, self.fitted(&target.dataset, column, old, new)?));
        }
        columns.extend(OWN.map(|(name, ty)| Column::new(name, ty)));
        let mut gone = 0;
        match &stored {
            Some(stored) if !stays && stored.columns != columns => {
                tables::make_anew(database, connection, &target.dataset, &columns, &target.unique_key)?;
            }
            Some(_) if replaces => {
                connection.run(&format!("DELETE FROM {into}"), &[])?;
            }
            Some(stored)
                if by_batch
                    && !target.append
                    && !stored.by_batch
                    && !connection.rows(&format!("SELECT 1 FROM {into} LIMIT 1"), &[])?.is_empty() =>
            {
                let message = format!("the rows of `{}` are not kept by batch: its task replaced all of them, or merged", target.dataset);
                return Err(RunError::usage(message, "derive everything again with `--full-refresh`, or set the `write_mode` back").into());
            }
            Some(_) if by_batch && !target.append => {
                let of_batch = format!("{} = {}", quoted(database, "xt_batch_id"), moment.batch_id);
                gone = connection.run(&format!("DELETE FROM {into} WHERE {of_batch}"), &[])?;
            }
            Some(_) | None => (),
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
        let rows = connection.run(&numbered(database, &insert), &[Cell::Int(moment.batch_id), Cell::Timestamp(moment.processed_at)])?;
        // A batch without rows is none of the dataset's.
        if by_batch && gone + rows > 0 {
            self.touch(&target.dataset, moment.batch_id);
        }
        Ok(rows)
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

    /// The type that holds the column's rows that stay and its new ones: `old` and `new` are those of columns that have values.
    fn fitted(&self, dataset: &DatasetName, column: &Column, old: Option<Type>, new: Option<Type>) -> Result<Type, RunError> {
        let (Some(old), Some(new)) = (old, new) else { return Ok(old.unwrap_or(column.ty)) };
        match joined(Some(old), Some(new)) {
            _ if old == new => Ok(old),
            Some(ty) if ty.is_numeric() => Ok(ty),
            _ => {
                let message = format!("column `{}` of `{dataset}` was {old} and would be {new} now", column.name);
                let way_out =
                    if self.database.ddl_commits() { "give it another name" } else { "derive everything again with `--full-refresh`" };
                Err(RunError::usage(message, format!("cast it to {old}, or {way_out}")))
            }
        }
    }
}

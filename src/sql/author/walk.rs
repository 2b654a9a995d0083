//! The walk over a query, from what is read to what is made of it: a FROM before the expressions that name its columns, WITH
//! before the query behind it, ORDER BY last.
#![expect(clippy::wildcard_enum_match_arm, reason = "of the parser's many nodes, few have names")]

mod results;

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
};

use qetl_core::{Type, schema::same_name};
use sqlparser::ast::{
    Expr, Ident, JoinConstraint, ObjectName, ObjectNamePart, Query, Select, TableAlias, TableFactor, TableWithJoins, VisitMut, VisitorMut,
};

use super::{
    Case, Rules, Table, Wrong, keys,
    parts::{alias_of, constraint, ident_mut},
    scope::{Found, Named, Relation, Scope, is_named},
};

/// The types of expressions that were looked at, by where they stand.
#[derive(Debug, Default)]
pub struct Kinds(HashMap<usize, Option<Type>>);

impl Kinds {
    /// The type of an expression; `None`: it is not known.
    pub fn of(&self, expr: &Expr) -> Option<Type> {
        self.0.get(&place(expr)).copied().flatten()
    }

    /// The type of the first column that a query gives.
    pub fn of_query(&self, query: &Query) -> Option<Type> {
        self.0.get(&place(query)).copied().flatten()
    }

    fn set(&mut self, expr: &Expr, ty: Option<Type>) {
        self.0.insert(place(expr), ty);
    }
}

pub(super) fn place<T>(node: &T) -> usize {
    std::ptr::from_ref(node).addr()
}

/// Columns that a part of a query gives; `None`: nobody knows them.
type Columns = Option<Vec<Named>>;

/// What is being walked through.
enum Frame {
    Query(Within),
    Select(Scope, Kept),
}

/// What is put back at the end of a SELECT.
#[derive(Default)]
struct Kept {
    from: Vec<TableWithJoins>,
    /// What its results without a name are called.
    names: Vec<Option<String>>,
}

/// A query that is being walked through.
#[derive(Default)]
struct Within {
    /// The names of its WITH that are known so far.
    tables: Vec<(String, Columns)>,
    /// All of its WITH: what each is called, with where its query stands.
    expected: Vec<(TableAlias, usize)>,
    recursive: bool,
    /// What ORDER BY can name.
    order: Option<Scope>,
}

pub(super) struct Walk<'a> {
    tables: &'a dyn Fn(&ObjectName) -> Option<Table>,
    rules: &'a mut dyn Rules,
    case: Case,
    kinds: Kinds,
    frames: Vec<Frame>,
    /// What the queries and SELECTs that are done give, by where they stand.
    given: HashMap<usize, Columns>,
    /// Where names stand that are a column's before they are a result's.
    of_columns: HashSet<usize>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(tables: &'a dyn Fn(&ObjectName) -> Option<Table>, rules: &'a mut dyn Rules) -> Self {
        let case = rules.case();
        Self { tables, rules, case, kinds: Kinds::default(), frames: Vec::new(), given: HashMap::new(), of_columns: HashSet::new() }
    }

    pub(super) fn query(mut self, query: &mut Query) -> Result<Columns, Wrong> {
        match query.visit(&mut self) {
            ControlFlow::Break(wrong) => Err(wrong),
            ControlFlow::Continue(()) => Ok(self.given.remove(&place(query)).flatten()),
        }
    }

    fn exact(&self) -> bool {
        self.case == Case::Exact
    }

    fn write(&self, ident: &mut Ident, name: &str) {
        if self.exact() {
            (ident.value, ident.quote_style) = (name.to_owned(), Some('"'));
        }
    }

    /// Writes a name that is given here as it is written.
    fn keep(&self, ident: &mut Ident) {
        if self.exact() {
            ident.quote_style = Some('"');
        }
    }

    /// What a name that is given here is called.
    fn given_name(&self, ident: &Ident) -> String {
        match (self.case, ident.quote_style) {
            (Case::Lower, None) => ident.value.to_lowercase(),
            _ => ident.value.clone(),
        }
    }

    // ---- what is read ----

    /// A table that a WITH made, or one that is there.
    fn table(&self, name: &mut ObjectName) -> Relation {
        if let [ObjectNamePart::Identifier(bare)] = name.0.as_mut_slice() {
            let withs = self.frames.iter().rev().filter_map(|frame| match frame {
                Frame::Query(within) => Some(&within.tables),
                Frame::Select(..) => None,
            });
            for tables in withs {
                if let Some((own, columns)) = tables.iter().rev().find(|(own, _)| is_named(own, bare, self.case)) {
                    self.write(bare, own);
                    return Relation::new(vec![own.clone()], columns.clone());
                }
            }
        }
        let parts = |name: &ObjectName| name.0.iter().filter_map(ObjectNamePart::as_ident).map(|part| self.given_name(part)).collect();
        match (self.tables)(name) {
            Some(table) => {
                for (part, own) in name.0.iter_mut().zip(&table.name) {
                    if let ObjectNamePart::Identifier(part) = part {
                        self.write(part, own);
                    }
                }
                Relation::new(table.name, Some(table.columns))
            }
            None => Relation::new(parts(name), None),
        }
    }

    /// The relation as its alias names it.
    fn aliased(&self, mut relation: Relation, alias: Option<&mut TableAlias>) -> Relation {
        let Some(alias) = alias else { return relation };
        relation.name = vec![self.given_name(&alias.name)];
        self.keep(&mut alias.name);
        self.renamed(&mut relation.columns, alias);
        relation
    }

    /// The columns as the alias lists them.
    fn renamed(&self, columns: &mut Vec<(Named, bool)>, alias: &mut TableAlias) {
        for (place, column) in alias.columns.iter_mut().enumerate() {
            let name = self.given_name(&column.name);
            self.keep(&mut column.name);
            match columns.get_mut(place) {
                Some((own, _)) => own.name = name,
                None => columns.push((Named { name, ty: None }, false)),
            }
        }
    }

    /// Walks through a part of a FROM, with what stands before it in sight or not.
    fn seen<T: VisitMut>(&mut self, part: &mut T, scope: &mut Scope) -> ControlFlow<Wrong> {
        self.frames.push(Frame::Select(std::mem::take(scope), Kept::default()));
        part.visit(self)?;
        if let Some(Frame::Select(own, _)) = self.frames.pop() {
            *scope = own;
        }
        ControlFlow::Continue(())
    }

    fn from(&mut self, from: &mut TableWithJoins, scope: &mut Scope) -> ControlFlow<Wrong> {
        self.factor(&mut from.relation, scope)?;
        for join in &mut from.joins {
            self.factor(&mut join.relation, scope)?;
            match constraint(&mut join.join_operator) {
                Some(JoinConstraint::Using(names)) => {
                    let names: Vec<&mut Ident> = names.iter_mut().filter_map(|name| name.0.last_mut().and_then(ident_mut)).collect();
                    self.merge(names, scope)?;
                }
                Some(JoinConstraint::Natural) => {
                    let (last, before) = match scope.relations.split_last() {
                        Some(split) => split,
                        None => continue,
                    };
                    let mut names: Vec<Ident> = Vec::new();
                    for (column, _) in &last.columns {
                        if before.iter().flat_map(|own| &own.columns).any(|(own, _)| same_name(&own.name, &column.name)) {
                            names.push(Ident::with_quote('"', &column.name));
                        }
                    }
                    self.merge(names.iter_mut().collect(), scope)?;
                }
                _ => self.seen(&mut join.join_operator, scope)?,
            }
        }
        ControlFlow::Continue(())
    }

    /// The columns that the last relation has in common with those before.
    fn merge(&mut self, names: Vec<&mut Ident>, scope: &mut Scope) -> ControlFlow<Wrong> {
        for name in names {
            let (Some(last), case) = (scope.relations.pop(), self.case) else { continue };
            let found = match scope.column(name, case) {
                Ok(found) => found,
                Err(wrong) => return ControlFlow::Break(wrong),
            };
            scope.relations.push(last);
            let Found::Column(left, _) = found else { continue };
            if let Some((right, merged)) =
                scope.relations.last_mut().and_then(|last| last.columns.iter_mut().find(|(column, _)| is_named(&column.name, name, case)))
            {
                if let Err(wrong) = self.rules.compared(left.ty, right.ty, name) {
                    return ControlFlow::Break(wrong);
                }
                *merged = true;
            }
            self.write(name, &left.name);
        }
        ControlFlow::Continue(())
    }

    fn factor(&mut self, factor: &mut TableFactor, scope: &mut Scope) -> ControlFlow<Wrong> {
        let relation = match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let relation = self.table(name);
                self.aliased(relation, alias.as_mut())
            }
            TableFactor::Derived { lateral, subquery, alias, .. } => {
                if *lateral {
                    self.seen(subquery, scope)?;
                } else {
                    subquery.visit(self)?;
                }
                let columns = self.given.get(&place(&**subquery)).cloned().flatten();
                self.aliased(Relation::new(Vec::new(), columns), alias.as_mut())
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => return self.from(table_with_joins, scope),
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let mut inner = Scope::default();
                self.from(table_with_joins, &mut inner)?;
                self.aliased(Relation::new(Vec::new(), inner.all()), alias.as_mut())
            }
            other => {
                self.seen(other, scope)?;
                self.aliased(Relation::new(Vec::new(), None), alias_of(other))
            }
        };
        scope.relations.push(relation);
        ControlFlow::Continue(())
    }

    // ---- names ----

    fn find(&self, look: impl Fn(&Scope) -> Result<Found, Wrong>) -> Result<Found, Wrong> {
        for frame in self.frames.iter().rev() {
            let scope = match frame {
                Frame::Select(scope, _) => scope,
                Frame::Query(within) => match &within.order {
                    Some(scope) => scope,
                    None => continue,
                },
            };
            match look(scope)? {
                Found::Nothing => (),
                found => return Ok(found),
            }
        }
        Ok(Found::Nothing)
    }

    /// In a key that rows are sorted by: the column that a name is, if there is one, with its relation.
    fn of_column(&self, expr: &Expr) -> Result<Option<(Expr, Option<Type>)>, Wrong> {
        let (Expr::Identifier(written), Some(Frame::Query(Within { order: Some(scope), .. }))) = (expr, self.frames.last()) else {
            return Ok(None);
        };
        if !self.of_columns.contains(&place(expr)) || !scope.aliases.iter().any(|(alias, _)| is_named(&alias.name, written, self.case)) {
            return Ok(None);
        }
        let Some((column, relation)) = scope.input(written, self.case)? else { return Ok(None) };
        let mut ident = written.clone();
        self.write(&mut ident, &column.name);
        // Without its relation, such an engine would take it for the result.
        let is_told = self.exact() && !relation.name.is_empty() && !scope.is_merged(&column.name);
        let expr = match is_told {
            true => Expr::CompoundIdentifier(relation.name.iter().map(|part| Ident::with_quote('"', part)).chain([ident]).collect()),
            false => Expr::Identifier(ident),
        };
        Ok(Some((expr, column.ty)))
    }

    /// Finds what a name leads to, and writes it so; its type.
    fn resolve(&self, parts: &mut [Ident]) -> Result<Option<Type>, Wrong> {
        let case = self.case;
        let (last, before) = match parts.split_last_mut() {
            Some(split) => split,
            None => return Ok(None),
        };
        let found = match before.is_empty() {
            true => self.find(|scope| scope.column(last, case))?,
            false => self.find(|scope| scope.qualified(before, last, case))?,
        };
        match found {
            Found::Column(column, relation) => {
                self.write(last, &column.name);
                for (part, own) in before.iter_mut().rev().zip(relation.iter().flatten().rev()) {
                    self.write(part, own);
                }
                Ok(column.ty)
            }
            Found::Result(result, at) => {
                self.write(last, &result.name);
                Ok(result.ty.or_else(|| self.kinds.0.get(&at).copied().flatten()))
            }
            Found::Open => Ok(None),
            Found::Nothing if !before.is_empty() => {
                // A field of a column, then.
                let Found::Column(column, _) = self.find(|scope| scope.column(&before[0], case))? else { return Ok(None) };
                self.write(&mut before[0], &column.name);
                Ok(None)
            }
            // It is told as it is written.
            Found::Missing | Found::Nothing => {
                if !last.value.is_empty() && !self.frames.is_empty() {
                    self.keep(last);
                }
                Ok(None)
            }
        }
    }
}

impl VisitorMut for Walk<'_> {
    type Break = Wrong;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Wrong> {
        let mut within = Within::default();
        if let Some(with) = &mut query.with {
            within.recursive = with.recursive;
            for cte in &mut with.cte_tables {
                self.keep(&mut cte.alias.name);
                cte.alias.columns.iter_mut().for_each(|column| self.keep(&mut column.name));
                within.expected.push((cte.alias.clone(), place(&*cte.query)));
            }
        }
        self.frames.push(Frame::Query(within));
        self.of_columns.extend(keys::of_columns(query, self.case));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Wrong> {
        done(self.end_of_query(query))
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Wrong> {
        let mut from = std::mem::take(&mut select.from);
        let mut scope = Scope::default();
        for table in &mut from {
            self.from(table, &mut scope)?;
        }
        let names = self.result_names(select);
        scope.aliases = self.aliases(select);
        self.frames.push(Frame::Select(scope, Kept { from, names }));
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Wrong> {
        done(self.end_of_select(select))
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Wrong> {
        match self.of_column(expr) {
            Err(wrong) => return ControlFlow::Break(wrong),
            Ok(Some((column, ty))) => {
                *expr = column;
                self.kinds.set(expr, ty);
                return ControlFlow::Continue(());
            }
            Ok(None) => (),
        }
        let found = match expr {
            Expr::Identifier(ident) => self.resolve(std::slice::from_mut(ident)),
            Expr::CompoundIdentifier(parts) => self.resolve(parts),
            _ => Ok(None),
        };
        let ty = match (found, &mut *expr) {
            (Err(wrong), _) => return ControlFlow::Break(wrong),
            (Ok(ty), Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => ty,
            (Ok(_), Expr::Subquery(query)) => {
                let columns = self.given.get(&place(&**query)).and_then(Option::as_deref);
                columns.and_then(|columns| columns.first()).and_then(|column| column.ty)
            }
            (Ok(_), other) => {
                if let Expr::InSubquery { subquery, .. } = other {
                    let columns = self.given.get(&place(&**subquery)).and_then(Option::as_deref);
                    let ty = columns.and_then(|columns| columns.first()).and_then(|column| column.ty);
                    self.kinds.0.insert(place(&**subquery), ty);
                }
                if let Expr::Function(function) = other {
                    self.function_keys(function);
                }
                match self.rules.expression(other, &self.kinds) {
                    Ok(ty) => ty,
                    Err(wrong) => return ControlFlow::Break(wrong),
                }
            }
        };
        self.kinds.set(expr, ty);
        ControlFlow::Continue(())
    }
}

fn done(outcome: Result<(), Wrong>) -> ControlFlow<Wrong> {
    match outcome {
        Ok(()) => ControlFlow::Continue(()),
        Err(wrong) => ControlFlow::Break(wrong),
    }
}

#[cfg(test)]
mod tests {
    use sqlparser::{ast::Statement, dialect::GenericDialect, parser::Parser};

    use super::super::{ExactNames, print::printed, read};
    use super::*;

    fn named(names: &[&str]) -> Vec<Named> {
        names.iter().map(|name| Named { name: (*name).to_owned(), ty: None }).collect()
    }

    fn tables(name: &ObjectName) -> Option<Table> {
        let last = name.0.last()?.as_ident()?.value.to_lowercase();
        let (table, columns): (&str, &[&str]) = match last.as_str() {
            "raw" => ("raw", &["id", "Group", "Count", "From", "a.b", "say \"so\"", "größe"]),
            "orders" => ("Orders", &["ID", "Plan"]),
            "twins" => ("twins", &["A", "a"]),
            _ => return None,
        };
        Some(Table { name: vec![table.to_owned()], columns: named(columns) })
    }

    fn written(sql: &str) -> Result<(String, Vec<String>), String> {
        let mut statements = Parser::parse_sql(&GenericDialect {}, sql).unwrap();
        let [Statement::Query(query)] = statements.as_mut_slice() else { panic!("`{sql}` is no query") };
        let columns = read(query, &tables, &mut ExactNames).map_err(|wrong| wrong.message)?;
        Ok((printed(query), columns.unwrap_or_default().into_iter().map(|column| column.name).collect()))
    }

    #[track_caller]
    fn check(sql: &str, expected: &str, columns: &[&str]) {
        let (text, names) = written(sql).unwrap();
        assert_eq!(text, expected);
        assert_eq!(names, columns);
    }

    #[test]
    fn words_are_no_names_where_no_name_can_stand() {
        check(
            "SELECT id, count(*) AS N FROM raw GROUP BY id ORDER BY n, group",
            r#"SELECT "id", count(*) AS "N" FROM "raw" GROUP BY "id" ORDER BY "N", "Group""#,
            &["id", "N"],
        );
        check(r#"SELECT count, "from" FROM raw"#, r#"SELECT "Count", "From" FROM "raw""#, &["Count", "From"]);
        check(r#"SELECT raw."A.B" FROM RAW"#, r#"SELECT "raw"."a.b" FROM "raw""#, &["a.b"]);
        check("SELECT GRÖSSE, GRÖẞE FROM raw", r#"SELECT "GRÖSSE", "größe" FROM "raw""#, &["GRÖSSE", "größe"]);
    }

    #[test]
    fn a_name_is_that_of_the_nearest_scope() {
        check("SELECT plan AS plan FROM orders ORDER BY Plan", r#"SELECT "Plan" AS "plan" FROM "Orders" ORDER BY "plan""#, &["plan"]);
        check(
            "WITH T AS (SELECT id AS Key FROM raw) SELECT t.key, o.* FROM t JOIN orders o ON o.id = t.KEY",
            r#"WITH "T" AS (SELECT "id" AS "Key" FROM "raw") SELECT "T"."Key", "o".* FROM "T" JOIN "Orders" "o" ON "o"."ID" = "T"."Key""#,
            &["Key", "ID", "Plan"],
        );
        check(
            "SELECT * FROM raw WHERE EXISTS (SELECT 1 FROM orders WHERE plan = group)",
            r#"SELECT * FROM "raw" WHERE EXISTS (SELECT 1 FROM "Orders" WHERE "Plan" = "Group")"#,
            &["id", "Group", "Count", "From", "a.b", "say \"so\"", "größe"],
        );
        check(
            "SELECT s.x FROM (SELECT ID AS X FROM orders UNION ALL SELECT id FROM raw) s ORDER BY x",
            r#"SELECT "s"."X" FROM (SELECT "ID" AS "X" FROM "Orders" UNION ALL SELECT "id" FROM "raw") "s" ORDER BY "X""#,
            &["X"],
        );
        check(
            "WITH RECURSIVE n(I) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n",
            r#"WITH RECURSIVE "n" ("I") AS (SELECT 1 UNION ALL SELECT "I" + 1 FROM "n" WHERE "I" < 3) SELECT "I" FROM "n""#,
            &["I"],
        );
    }

    #[test]
    fn what_groups_rows_is_of_columns_where_they_are_sorted() {
        let sorted = |key: &str| format!("SELECT SUM(id) AS id FROM raw ORDER BY {key}");
        let written = |key: &str| format!("SELECT SUM(\"id\") AS \"id\" FROM \"raw\" ORDER BY {key}");
        check(&sorted("MAX(id) DESC"), &written("MAX(\"raw\".\"id\") DESC"), &["id"]);
        check(&sorted("id"), &written("\"id\""), &["id"]);
        check(&sorted("id + 1"), &written("\"id\" + 1"), &["id"]);
        check("SELECT SUM(id) AS n FROM raw ORDER BY SUM(id)", "SELECT SUM(\"id\") AS \"n\" FROM \"raw\" ORDER BY SUM(\"id\")", &["n"]);
    }

    #[test]
    fn what_nobody_knows_stays_as_it_is() {
        check("SELECT value FROM generate_series(1, 3)", "SELECT value FROM generate_series(1, 3)", &["value"]);
        check("SELECT Nothing FROM raw", r#"SELECT "Nothing" FROM "raw""#, &["Nothing"]);
    }

    #[test]
    fn of_names_that_differ_in_case_the_one_that_is_written_counts() {
        check("SELECT A, a FROM twins", r#"SELECT "A", "a" FROM "twins""#, &["A", "a"]);
        let ambiguous = written("SELECT iD FROM raw JOIN orders ON true").unwrap_err();
        assert_eq!(ambiguous, "`iD` may be `\"id\"` or `\"ID\"`, which differ in case alone");
        check("SELECT id FROM raw JOIN raw r USING (ID)", r#"SELECT "id" FROM "raw" JOIN "raw" "r" USING("id")"#, &["id"]);
        check("SELECT * EXCLUDE (PLAN) FROM orders", r#"SELECT * EXCLUDE ("Plan") FROM "Orders""#, &["ID"]);
    }
}

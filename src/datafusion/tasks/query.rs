//! The SQL of a task as a plan, and what is wrong with it, at its place in the flow file.
#![expect(clippy::wildcard_enum_match_arm, reason = "the engine's errors, types and tokens are many, and most stay as they are")]

use std::{collections::BTreeMap, ops::Range};

use arrow::datatypes::DataType;
use datafusion::{
    common::{
        Column as PlanColumn, SchemaError, TableReference,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    error::DataFusionError,
    execution::context::SQLOptions,
    logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast, utils::merge_schema},
    prelude::SessionContext,
    sql::{
        parser::Statement as DfStatement,
        sqlparser::{
            ast,
            dialect::GenericDialect,
            tokenizer::{Location, Token, Tokenizer},
        },
    },
};
use qetl_core::{
    Column, DatasetName, Problem, Type,
    schema::refuse_column_name,
    standard::{Rendered, same_dataset},
    suggest,
};
use qetl_ingest::arrow_type;
use qetl_runtime::standard::Statement;

use super::lenient::{TEXT_FUNCTIONS, is_text};

/// A query of a task, planned.
pub(super) struct Query {
    /// Its columns are those below: names as the target has them, types that datasets have.
    pub(super) plan: LogicalPlan,
    pub(super) columns: Vec<ResultColumn>,
    pub(super) warnings: Vec<Problem>,
}

#[derive(Debug, Clone)]
pub(super) struct ResultColumn {
    pub(super) column: Column,
    /// It has no type of its own, as that of `NULL AS x`.
    pub(super) untyped: bool,
}

/// Why a query could not be planned.
pub(super) enum Wrong {
    /// A name that is not there, whatever the types are.
    Name(Problem),
    Other(Problem),
    /// Not the author's mistake.
    Engine(DataFusionError),
}

/// What a task says, to find places in.
struct Text<'a> {
    sql: &'a Rendered,
    statement: &'a Statement,
    /// Places, in the text that is planned, of quotes that the author did not write.
    added: Vec<usize>,
    planned: String,
}

/// Plans a query. `names`: those of datasets and columns that are not all lower case, by their lower case.
pub(super) async fn plan(
    session: &SessionContext,
    names: &BTreeMap<String, String>,
    sql: &Rendered,
    statement: &Statement,
) -> Result<Query, Wrong> {
    let (planned, added) = quoted(&sql.text[statement.query.clone()], names);
    let text = Text { sql, statement, added, planned };
    let mut warnings = Vec::new();
    let raw = text.plan(session, &mut warnings).await.map_err(|error| text.wrong(error))?;
    let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    reads.verify_plan(&raw).map_err(|error| text.wrong(error))?;
    warnings.extend(text.casts(&raw).map_err(Wrong::Engine)?);
    let (plan, columns) = text.result(raw, &mut warnings)?;
    Ok(Query { plan, columns, warnings })
}

/// The columns of a plan as a dataset's: the types it has, and those of ours that hold their values.
pub(super) fn our_type(ty: &DataType) -> Option<Type> {
    Some(match ty {
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Type::Text,
        DataType::Boolean => Type::Bool,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => {
            Type::Int
        }
        DataType::UInt64 => Type::Decimal { precision: 20, scale: 0 },
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Type::Float,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => match u8::try_from(*scale) {
            Ok(scale) => Type::Decimal { precision: (*precision).clamp(1, 38), scale: scale.min(38) },
            Err(_) => Type::Decimal { precision: 38, scale: 0 },
        },
        DataType::Date32 | DataType::Date64 => Type::Date,
        DataType::Timestamp(..) => Type::Timestamp,
        DataType::Dictionary(_, values) => our_type(values)?,
        _ => return None,
    })
}

/// A type in the words of flow files.
fn word(ty: &DataType) -> String {
    our_type(ty).map_or_else(|| format!("`{ty}`"), |ty| ty.to_string())
}

/// Puts quotes around words that are such a name in another case; and where they stand.
fn quoted(text: &str, names: &BTreeMap<String, String>) -> (String, Vec<usize>) {
    let (mut out, mut added, mut at) = (String::with_capacity(text.len()), Vec::new(), 0);
    for (word, range) in words(text) {
        let Some(name) = names.get(&word.to_lowercase()) else { continue };
        out.push_str(&text[at..range.start]);
        added.push(out.len());
        out.push('"');
        out.push_str(name);
        added.push(out.len());
        out.push('"');
        at = range.end;
    }
    out.push_str(&text[at..]);
    (out, added)
}

/// The words of a text that have no quotes.
fn words(text: &str) -> Vec<(String, Range<usize>)> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location() else { return Vec::new() };
    let word = |token: datafusion::sql::sqlparser::tokenizer::TokenWithSpan| match token.token {
        Token::Word(word) if word.quote_style.is_none() => Some((word.value, offset(text, token.span.start)..offset(text, token.span.end))),
        _ => None,
    };
    tokens.into_iter().filter_map(word).collect()
}

/// The byte at a line and column, both from 1, the column in characters.
fn offset(text: &str, place: Location) -> usize {
    let count = |number: u64| usize::try_from(number).unwrap_or(1).saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(count(place.line)).map(str::len).sum();
    let rest = &text[start..];
    start + rest.char_indices().nth(count(place.column)).map_or(rest.len(), |(at, _)| at)
}

impl Text<'_> {
    /// Bytes of the planned text, as bytes of the rendered one.
    fn rendered(&self, planned: Range<usize>) -> Range<usize> {
        let back = |at: usize| self.statement.query.start + at - self.added.iter().filter(|added| **added < at).count();
        back(planned.start)..back(planned.end)
    }

    fn query(&self) -> &str {
        &self.sql.text[self.statement.query.clone()]
    }

    /// Where a word stands first, else the query's first word.
    fn word(&self, wanted: &[&str]) -> Range<usize> {
        let words = words(self.query());
        let found = words.iter().find(|(word, _)| wanted.iter().any(|wanted| word.eq_ignore_ascii_case(wanted)));
        let range = found.or(words.first()).map_or(0..0, |(_, range)| range.clone());
        self.statement.query.start + range.start..self.statement.query.start + range.end
    }

    fn problem(&self, code: &'static str, range: Range<usize>, message: impl Into<String>) -> Problem {
        self.sql.problem(code, range, message)
    }

    async fn plan(&self, session: &SessionContext, warnings: &mut Vec<Problem>) -> Result<LogicalPlan, DataFusionError> {
        let state = session.state();
        let mut statement = state.sql_to_statement(&self.planned, &state.config().options().sql_parser.dialect)?;
        if let DfStatement::Statement(inner) = &mut statement
            && let ast::Statement::Query(query) = &mut **inner
            && let ast::SetExpr::Select(select) = &mut *query.body
        {
            self.tell_apart(&mut select.projection, warnings);
        }
        state.statement_to_plan(statement).await
    }

    /// Columns of one name get numbers: the planner would refuse some of them.
    fn tell_apart(&self, items: &mut [ast::SelectItem], warnings: &mut Vec<Problem>) {
        let mut taken: Vec<String> = Vec::new();
        for item in items {
            let ident = match item {
                ast::SelectItem::UnnamedExpr(ast::Expr::Identifier(ident)) => ident.clone(),
                ast::SelectItem::UnnamedExpr(ast::Expr::CompoundIdentifier(parts)) => match parts.last() {
                    Some(ident) => ident.clone(),
                    None => continue,
                },
                ast::SelectItem::ExprWithAlias { alias, .. } => {
                    taken.push(alias.value.to_lowercase());
                    continue;
                }
                _ => continue,
            };
            let name = if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() };
            let is_own = name.starts_with("xt_");
            let unique = unique(&name, |other| taken.contains(&other.to_lowercase()));
            taken.push(unique.to_lowercase());
            if unique != name && !is_own {
                let place = self.rendered(offset(&self.planned, ident.span.start)..offset(&self.planned, ident.span.end));
                warnings.push(self.equal_names(place, &name, &unique));
                if let ast::SelectItem::UnnamedExpr(expr) = item {
                    *item = ast::SelectItem::ExprWithAlias { expr: expr.clone(), alias: ast::Ident::with_quote('"', unique) };
                }
            }
        }
    }

    fn equal_names(&self, place: Range<usize>, name: &str, unique: &str) -> Problem {
        let what = format!("the query has two columns `{name}`; the second becomes `{unique}`");
        let problem = self.problem("qetl::sql::equal_names", place, what).label("the same name");
        problem.help("give each a name of its own: `… AS name`").warning()
    }

    /// Text functions that get something else.
    fn casts(&self, plan: &LogicalPlan) -> Result<Vec<Problem>, DataFusionError> {
        let mut found: Vec<Problem> = Vec::new();
        plan.apply_with_subqueries(|node| {
            let schema = merge_schema(&node.inputs());
            node.apply_expressions(|expr| {
                expr.apply(|expr| {
                    if let Expr::ScalarFunction(call) = expr
                        && TEXT_FUNCTIONS.contains(&call.name())
                        && let Some(first) = call.args.first()
                        && let Ok(ty) = first.get_type(&schema)
                        && !is_text(&ty)
                    {
                        let name = if call.name() == "btrim" { "trim" } else { call.name() };
                        let argument = match first {
                            Expr::Column(column) => column.name.clone(),
                            other => other.to_string(),
                        };
                        let what = format!("`{name}` is of text: `{argument}`, which is {}, is cast to text", a(&word(&ty)));
                        let help = format!("write `{name}(CAST({argument} AS VARCHAR))` if that is meant");
                        let place = self.word(&[name, call.name()]);
                        let problem = self.problem("qetl::sql::cast", place, what).label("takes text").help(help).warning();
                        if found.iter().all(|other| other.message != problem.message) {
                            found.push(problem);
                        }
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        Ok(found)
    }

    /// The target's columns from the query's: named as the INSERT lists them, without qetl's own, each name once.
    fn result(&self, raw: LogicalPlan, warnings: &mut Vec<Problem>) -> Result<(LogicalPlan, Vec<ResultColumn>), Wrong> {
        let here = || self.word(&[]);
        let listed = &self.statement.columns;
        let fields: Vec<_> = raw.schema().iter().map(|(qualifier, field)| (qualifier.cloned(), field.clone())).collect();
        if !listed.is_empty() && listed.len() != fields.len() {
            let what = format!("the INSERT lists {} columns, and its query has {}", listed.len(), fields.len());
            return Err(Wrong::Name(self.problem("qetl::sql::column_count", here(), what).label("this query")));
        }
        let (mut columns, mut exprs) = (Vec::<ResultColumn>::new(), Vec::new());
        for (index, (qualifier, field)) in fields.iter().enumerate() {
            let name = listed.get(index).unwrap_or_else(|| field.name());
            if name.to_ascii_lowercase().starts_with("xt_") {
                continue;
            }
            if let Some(why) = refuse_column_name(name) {
                let what = format!("`{name}` cannot be the name of a column");
                let problem = self.problem("qetl::sql::column_name", here(), what).label("in this query");
                return Err(Wrong::Name(problem.help(format!("{why}; give the column a name: `… AS name`"))));
            }
            let Some(ty) = our_type(field.data_type()) else {
                let what = format!("column `{name}` is a `{}`, which no dataset can hold", field.data_type());
                let problem = self.problem("qetl::sql::column_type", here(), what).label("in this query");
                return Err(Wrong::Other(problem.help("cast it to text, or take its parts apart")));
            };
            let taken = |name: &str| columns.iter().any(|other| other.column.name.eq_ignore_ascii_case(name));
            let unique = unique(name, taken);
            if unique != *name {
                warnings.push(self.equal_names(here(), name, &unique));
            }
            let value = Expr::Column(PlanColumn::new(qualifier.clone(), field.name()));
            let wanted = arrow_type(ty);
            let value = if *field.data_type() == wanted { value } else { cast(value, wanted) };
            exprs.push(value.alias(&unique));
            columns.push(ResultColumn { column: Column::new(&unique, ty), untyped: *field.data_type() == DataType::Null });
        }
        if columns.is_empty() {
            return Err(Wrong::Name(self.problem("qetl::sql::no_columns", here(), "the query has no columns of its own")));
        }
        let plan = LogicalPlanBuilder::new(raw).project(exprs).and_then(LogicalPlanBuilder::build).map_err(Wrong::Engine)?;
        Ok((plan, columns))
    }

    fn wrong(&self, error: DataFusionError) -> Wrong {
        let place = error.diagnostic().and_then(|diagnostic| diagnostic.span).map(|span| {
            let at = |line, column| offset(&self.planned, Location { line, column });
            self.rendered(at(span.start.line, span.start.column)..at(span.end.line, span.end.column))
        });
        let root = match error.find_root() {
            DataFusionError::Collection(all) => all.first().map_or(&error, DataFusionError::find_root),
            other => other,
        };
        match root {
            DataFusionError::SchemaError(schema, _) => match &**schema {
                SchemaError::FieldNotFound { field, valid_fields } => Wrong::Name(self.unknown_column(place, field, valid_fields)),
                SchemaError::AmbiguousReference { field } => {
                    let place = place.unwrap_or_else(|| self.word(&[&field.name]));
                    let what = format!("column `{}` is in several of the datasets", field.name);
                    let problem = self.problem("qetl::sql::ambiguous_column", place, what).label("of which?");
                    Wrong::Name(problem.help(format!("name its dataset: `dataset.{}`", field.name)))
                }
                other => Wrong::Other(self.other(place, &other.to_string())),
            },
            DataFusionError::Plan(said) => self.unknown(said).unwrap_or_else(|| Wrong::Other(self.other(place, said))),
            DataFusionError::NotImplemented(said) | DataFusionError::Configuration(said) => Wrong::Other(self.other(place, said)),
            DataFusionError::SQL(..) | DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => {
                Wrong::Other(self.other(place, &root.strip_backtrace()))
            }
            _ => Wrong::Engine(error),
        }
    }

    fn unknown_column(&self, place: Option<Range<usize>>, field: &PlanColumn, valid: &[PlanColumn]) -> Problem {
        let table = field.relation.as_ref().map(TableReference::table);
        let of_table = |column: &&PlanColumn| table.is_none_or(|table| column.relation.as_ref().is_some_and(|own| own.table() == table));
        let mut known: Vec<&str> = Vec::new();
        for column in valid.iter().filter(of_table).filter(|column| !column.name.starts_with("xt_")) {
            if !known.contains(&column.name.as_str()) {
                known.push(&column.name);
            }
        }
        let reads: Vec<String> = self.statement.reads.iter().map(|(dataset, _)| format!("`{dataset}`")).collect();
        let where_ = table.map_or_else(|| reads.join(", "), |table| format!("`{table}`"));
        let what = match where_.is_empty() {
            true => format!("there is no column `{}`", field.name),
            false => format!("column `{}` is not in {where_}", field.name),
        };
        let place = place.unwrap_or_else(|| self.word(&[&field.name]));
        self.problem("qetl::sql::unknown_column", place, what).label("no such column").help(suggest::help(&field.name, known))
    }

    /// Datasets and functions that are not there.
    fn unknown(&self, said: &str) -> Option<Wrong> {
        let name = said.split('\'').nth(1)?;
        if said.starts_with("table ") && said.contains("not found") {
            let of = |dataset: &DatasetName| {
                let mut parts = name.rsplit('.');
                let (table, namespace) = (parts.next().unwrap_or_default(), parts.next().unwrap_or("main"));
                same_dataset(dataset, &DatasetName { namespace: namespace.to_owned(), name: table.to_owned() })
            };
            let (dataset, span) = self.statement.reads.iter().find(|(dataset, _)| of(dataset))?;
            let problem = Problem::new("qetl::sql::unknown_dataset", *span, format!("there is no dataset `{dataset}`"));
            return Some(Wrong::Name(problem.label("no such dataset")));
        }
        if said.starts_with("Invalid function") {
            let span = self.statement.functions.iter().find(|(function, _)| function.eq_ignore_ascii_case(name)).map(|(_, span)| *span);
            let span = span.unwrap_or_else(|| self.sql.span(self.word(&[name])));
            let problem =
                Problem::new("qetl::sql::unknown_function", span, format!("there is no function `{name}`")).label("no such function");
            let other = said.split('\'').nth(3).map_or_else(String::new, |other| format!("did you mean `{other}`?"));
            return Some(Wrong::Name(problem.help(other)));
        }
        None
    }

    fn other(&self, place: Option<Range<usize>>, said: &str) -> Problem {
        // A call that does not fit is told with the function's name.
        let place = place.unwrap_or_else(|| {
            let named = said.split('\'').skip(1).step_by(2).find(|name| self.statement.functions.iter().any(|(own, _)| own == name));
            named.map_or_else(|| self.word(&[]), |name| self.word(&[name]))
        });
        if let Some(misfit) = misfit(said) {
            return self.problem("qetl::sql::types", place, misfit).label("in this query");
        }
        let said = said.lines().next().unwrap_or_default().trim_start_matches("Error during planning: ").trim_end_matches('.');
        let mut letters = said.chars();
        let said: String = letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect());
        self.problem("qetl::sql::types", place, said).label("in this query")
    }
}

/// A call that fits none of a function's forms, without the list of all forms.
fn misfit(said: &str) -> Option<String> {
    if !said.contains("failed to match any signature") {
        return None;
    }
    let name = said.split('\'').nth(1)?;
    let received = said.split("but received ").nth(1)?.split([' ', ',']).next()?;
    Some(format!("`{name}` does not take {}", received.to_lowercase()))
}

/// The name, or the first of `name_1`, `name_2`, … that is not taken.
fn unique(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let numbered = (1..).map(|number| format!("{name}_{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
}

fn a(word: &str) -> String {
    format!("{} {word}", if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" })
}

//! The SQL of authors as a plan: names are found whatever their case, and what is wrong stands at its place in the text.
#![expect(clippy::wildcard_enum_match_arm, reason = "the engine's types and nodes are many, and most stay as they are")]

mod chains;
mod deep;
mod lenient;
mod names;
mod wrong;

use std::ops::Range;

use arrow::datatypes::DataType;
use datafusion::{
    common::{
        Column as PlanColumn,
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
            tokenizer::{Location, Token, TokenWithSpan, Tokenizer},
        },
    },
};
use qetl_core::{Column, Problem, Type, schema::refuse_column_name, standard::Rendered};
use qetl_ingest::arrow_type;
use qetl_runtime::standard::Statement;

pub(crate) use deep::deep;
pub(crate) use lenient::register;
use lenient::{TEXT_FUNCTIONS, is_text};

/// A query of a task, planned.
pub(crate) struct Query {
    /// Its columns are those below: names as the target has them, types that datasets have.
    pub(crate) plan: LogicalPlan,
    pub(crate) columns: Vec<ResultColumn>,
    pub(crate) warnings: Vec<Problem>,
}

#[derive(Debug, Clone)]
pub(crate) struct ResultColumn {
    pub(crate) column: Column,
    /// It has no type of its own, as that of `NULL AS x`.
    pub(crate) untyped: bool,
}

/// Why a query could not be planned.
pub(crate) enum Wrong {
    /// A name that is not there, whatever the types are.
    Name(Problem),
    Other(Problem),
    /// Not the author's mistake.
    Engine(DataFusionError),
}

/// What an author says, to find places in.
struct Text<'a> {
    sql: &'a Rendered,
    statement: &'a Statement,
    /// Whether qetl's own columns are told among those that there are.
    tells_own: bool,
}

/// Plans a task's query.
pub(crate) async fn plan(session: &SessionContext, sql: &Rendered, statement: &Statement) -> Result<Query, Wrong> {
    let text = Text { sql, statement, tells_own: false };
    let mut warnings = Vec::new();
    let raw = deep(text.plan(session, Some(&mut warnings))).await?;
    warnings.extend(text.casts(&raw).map_err(Wrong::Engine)?);
    let (plan, columns) = text.result(raw, &mut warnings)?;
    Ok(Query { plan, columns, warnings })
}

/// Plans a query that is no task's: it gives what it says.
pub(crate) async fn plan_only(session: &SessionContext, sql: &Rendered, statement: &Statement) -> Result<LogicalPlan, Wrong> {
    deep(Text { sql, statement, tells_own: true }.plan(session, None)).await
}

/// The columns of a plan as a dataset's: the types it has, and those of ours that hold their values.
fn our_type(ty: &DataType) -> Option<Type> {
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

/// The words of a text that have no quotes.
fn words(text: &str) -> Vec<(String, Range<usize>)> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location() else { return Vec::new() };
    let at = |place: Location| qetl_sql::byte_at(text, place.line, place.column);
    let word = |token: TokenWithSpan| match token.token {
        Token::Word(word) if word.quote_style.is_none() => Some((word.value, at(token.span.start)..at(token.span.end))),
        _ => None,
    };
    tokens.into_iter().filter_map(word).collect()
}

impl Text<'_> {
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

    /// The bytes that something stands at in the text.
    fn place(&self, start: Location, end: Location) -> Range<usize> {
        let at = |place: Location| self.statement.query.start + qetl_sql::byte_at(self.query(), place.line, place.column);
        at(start)..at(end)
    }

    /// Columns of one name are told apart for who wants warnings of that.
    async fn plan(&self, session: &SessionContext, warnings: Option<&mut Vec<Problem>>) -> Result<LogicalPlan, Wrong> {
        let state = session.state();
        let wrong = |error: DataFusionError| self.wrong(session, error);
        let mut statement = state.sql_to_statement(self.query(), &state.config().options().sql_parser.dialect).map_err(wrong)?;
        if let DfStatement::Statement(inner) = &mut statement
            && let ast::Statement::Query(query) = &mut **inner
        {
            names::resolve(session, query).await.map_err(wrong)?.map_err(|wrong| Wrong::Name(self.misnamed(wrong)))?;
            chains::shorten(query);
            lenient::as_calls(query);
            if let (ast::SetExpr::Select(select), Some(warnings)) = (&mut *query.body, warnings) {
                self.tell_apart(&mut select.projection, warnings);
            }
        }
        let plan = state.statement_to_plan(statement).await.map_err(wrong)?;
        let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        reads.verify_plan(&plan).map_err(wrong)?;
        Ok(plan)
    }

    fn misnamed(&self, wrong: qetl_sql::author::Wrong) -> Problem {
        let place = self.place(wrong.span.start, wrong.span.end);
        self.problem(wrong.code, place, wrong.message).label(wrong.label).help(wrong.help)
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
                let place = self.place(ident.span.start, ident.span.end);
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
}

/// A call of a function, as an author would write it.
fn call(name: &str, arguments: impl Iterator<Item = ast::Expr>) -> ast::Expr {
    let args = arguments.map(|expr| ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr))).collect();
    ast::Expr::Function(ast::Function {
        name: ast::ObjectName::from(vec![ast::Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: ast::FunctionArguments::None,
        args: ast::FunctionArguments::List(ast::FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The name, or the first of `name_1`, `name_2`, … that is not taken.
fn unique(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let numbered = (1..).map(|number| format!("{name}_{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
}

fn a(word: &str) -> String {
    format!("{} {word}", if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" })
}

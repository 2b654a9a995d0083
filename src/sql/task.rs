//! The SQL of a task that an author wrote: a query, or an INSERT of one into the task's target, after temporary tables that it
//! is made from. What it reads and calls is known here; whether names and types fit, an engine says.
#![expect(clippy::wildcard_enum_match_arm, reason = "of the parser's many nodes, few may stand in a task")]

use std::ops::{ControlFlow, Range};

use crate::size;
use qetl_core::{
    DatasetName, Problem, Problems, Span,
    standard::{Rendered, StatementKind, same_dataset},
};
use sqlparser::{
    ast::{self, Expr, Ident, ObjectName, ObjectNamePart, Query, SetExpr, Statement, TableFactor, TableObject, Visit, Visitor},
    dialect::Dialect,
    parser::{Parser, ParserError},
    tokenizer::{Location, Token, TokenWithSpan, Tokenizer},
};

/// A task's statements.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSql {
    /// The temporary tables that are made first, in their order.
    pub temporary: Vec<TemporaryTable>,
    pub kind: StatementKind,
    /// The query alone, as bytes of the rendered text: [`Rendered::span`] places what an engine says about it.
    pub query: Range<usize>,
    /// The columns that an INSERT lists, in its order; empty: as the query has them.
    pub columns: Vec<String>,
    /// The tables that are read, each once, in the order of the text. Temporary ones are not among them.
    pub reads: Vec<Read>,
    /// Where a table is named with its namespace, as bytes of the rendered text.
    pub qualified: Vec<(Range<usize>, DatasetName)>,
    /// The functions that are called, table functions included, each once, in lower case, with their place in the flow file.
    pub functions: Vec<(String, Span)>,
}

/// `CREATE TEMPORARY TABLE name AS query`.
#[derive(Debug, Clone, PartialEq)]
pub struct TemporaryTable {
    pub name: String,
    /// The name as it is written, quoted or not.
    pub written: String,
    /// As bytes of the rendered text.
    pub query: Range<usize>,
    /// Of the name, in the flow file.
    pub span: Span,
}

/// A table that a task's SQL reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// A name of one part stands in `main`, as it does for engines.
    pub dataset: DatasetName,
    /// In the flow file.
    pub span: Span,
}

/// Reads the SQL of a task that fills `target`. Problems stand in the flow file.
pub fn read(sql: &Rendered, target: &DatasetName, dialect: &dyn Dialect) -> Result<TaskSql, Problems> {
    size::deep(|| Reader { sql, target, dialect }.read()).map_err(|problem| sql.placed(problem.into()))
}

/// The last statement: its kind, the columns that it lists, its query as tokens and as a tree.
type Last<'s, 't> = (StatementKind, Vec<String>, &'t [TokenWithSpan], &'s Query);

struct Reader<'a> {
    sql: &'a Rendered,
    target: &'a DatasetName,
    dialect: &'a dyn Dialect,
}

/// What to write instead.
const HELP: &str = "a task's SQL is one query, or `INSERT INTO {{ target_dataset }} SELECT …`";

/// What may stand before that.
const BEFORE: &str = "only `CREATE TEMPORARY TABLE name AS SELECT …` may stand before a task's query: make a task of each";

impl Reader<'_> {
    fn read(&self) -> Result<TaskSql, Problem> {
        let tokens = self.tokens()?;
        let texts: Vec<&[TokenWithSpan]> = tokens.split(|token| token.token == Token::SemiColon).filter(|text| !text.is_empty()).collect();
        let statements = Parser::new(self.dialect).try_with_sql(&self.sql.text).and_then(|mut parser| parser.parse_statements());
        let statements = statements.map_err(|error| self.syntax(&error))?;
        if let Some((what, help)) = size::too_large(&statements) {
            return Err(self.problem("qetl::sql::too_large", self.bytes(&tokens[0]), what).label("this SQL").help(help));
        }
        let mut all: Vec<(&Statement, &[TokenWithSpan])> = statements.iter().zip(texts).collect();
        let Some((last, tokens)) = all.pop() else {
            return Err(self.problem("qetl::sql::empty", 0..0, "the SQL is empty").help(HELP));
        };
        let mut found = Found {
            reader: self,
            temporary: Vec::new(),
            scopes: Vec::new(),
            function: None,
            reads: Vec::new(),
            qualified: Vec::new(),
            functions: Vec::new(),
        };
        for (statement, tokens) in all {
            let Some((table, query)) = self.temporary(statement, tokens)? else {
                let problem = self.problem("qetl::sql::several_statements", self.bytes(&tokens[0]), "the SQL has several statements");
                return Err(problem.label("not the last one").help(BEFORE));
            };
            self.visit(&mut found, query)?;
            found.temporary.push(table);
        }
        let (kind, columns, tokens, query) = match last {
            Statement::Query(query) => (StatementKind::Query, Vec::new(), tokens, &**query),
            Statement::Insert(insert) => self.insert(insert, tokens)?,
            _ => {
                let words: Vec<String> = tokens.iter().take(2).map_while(|token| word(&token.token)).collect();
                let what = format!("a task cannot run {}", if words.is_empty() { "this".to_owned() } else { words.join(" ") });
                let problem = self.problem("qetl::sql::statement", self.bytes(&tokens[0]), what).label("not a query");
                return Err(problem.help(format!("{HELP}; qetl creates and fills the target itself")));
            }
        };
        self.refuse_writing(query, &tokens[0])?;
        self.visit(&mut found, query)?;
        let Found { temporary, reads, qualified, functions, .. } = found;
        Ok(TaskSql { temporary, kind, query: self.all_of(tokens), columns, reads, qualified, functions })
    }

    fn all_of(&self, tokens: &[TokenWithSpan]) -> Range<usize> {
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { unreachable!("a query has words") };
        self.bytes(first).start..self.bytes(last).end
    }

    /// Adds what a query reads and calls.
    fn visit(&self, found: &mut Found<'_>, query: &Query) -> Result<(), Problem> {
        match query.visit(found) {
            ControlFlow::Break(problem) => Err(problem),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    /// The statement as a temporary table with its query, if it makes one, and says nothing else.
    fn temporary<'s>(&self, statement: &'s Statement, tokens: &[TokenWithSpan]) -> Result<Option<(TemporaryTable, &'s Query)>, Problem> {
        let Statement::CreateTable(ast::CreateTable { query: Some(query), .. }) = statement else { return Ok(None) };
        let [create, temporary, table, name, is, rest @ ..] = tokens else { return Ok(None) };
        let words = [(create, &["CREATE"][..]), (temporary, &["TEMP", "TEMPORARY"]), (table, &["TABLE"]), (is, &["AS"])];
        let Token::Word(word) = &name.token else { return Ok(None) };
        if rest.is_empty() || !words.iter().all(|(token, words)| is_word(&token.token, words)) {
            return Ok(None);
        }
        if word.value.to_ascii_lowercase().starts_with("qetl_") {
            let problem = self.problem("qetl::sql::table_name", self.bytes(name), "names that begin with `qetl_` are qetl's own");
            return Err(problem.label("not for a temporary table").help("give it another name"));
        }
        self.refuse_writing(query, &rest[0])?;
        let span = self.sql.span(self.bytes(name));
        Ok(Some((TemporaryTable { name: word.value.clone(), written: name.token.to_string(), query: self.all_of(rest), span }, query)))
    }

    fn tokens(&self) -> Result<Vec<TokenWithSpan>, Problem> {
        let tokens = Tokenizer::new(self.dialect, &self.sql.text).tokenize_with_location();
        let tokens = tokens.map_err(|error| self.syntax(&ParserError::TokenizerError(error.to_string())))?;
        Ok(tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF)).collect())
    }

    /// Its listed columns, and its query.
    fn insert<'s, 't>(&self, insert: &'s ast::Insert, tokens: &'t [TokenWithSpan]) -> Result<Last<'s, 't>, Problem> {
        let refuse = |what: &str| {
            let problem = self.problem("qetl::sql::statement", self.bytes(&tokens[0]), format!("a task's INSERT has no {what}"));
            Err(problem.label("this INSERT").help(HELP))
        };
        let TableObject::TableName(name) = &insert.table else { return refuse("other target than a table") };
        let Some(query) = &insert.source else { return refuse("values without a query") };
        let extra = [
            (
                insert.overwrite || insert.replace_into || insert.or.is_some(),
                "OVERWRITE or REPLACE: `write_mode` says what becomes of the target's rows",
            ),
            (insert.ignore || insert.on.is_some(), "ON CONFLICT: `write_mode = \"merge\"` with `unique_key` does that"),
            (insert.returning.is_some() || insert.output.is_some(), "RETURNING"),
            (insert.table_alias.is_some() || insert.insert_alias.is_some(), "alias"),
            (insert.partitioned.is_some() || !insert.after_columns.is_empty(), "PARTITION"),
            (!insert.assignments.is_empty(), "SET"),
            (insert.priority.is_some() || insert.settings.is_some() || insert.format_clause.is_some(), "options"),
            (insert.multi_table_insert_type.is_some(), "several targets"),
        ];
        if let Some((_, what)) = extra.into_iter().find(|(there, _)| *there) {
            return refuse(what);
        }
        let into = self.dataset(name)?;
        if !same_dataset(&into, self.target) {
            let what = format!("the INSERT fills `{into}`, the task makes `{}`", self.target);
            let problem = self.problem("qetl::sql::other_target", self.bytes_of(name), what).label("not the task's target");
            return Err(problem.help("write `INSERT INTO {{ target_dataset }} SELECT …`"));
        }
        let mut columns: Vec<String> = Vec::new();
        for column in &insert.columns {
            let Some(name) = column.0.last().and_then(ObjectNamePart::as_ident) else { return refuse("column that is not a name") };
            if columns.iter().any(|other| other.eq_ignore_ascii_case(&name.value)) {
                let what = format!("the INSERT lists column `{}` twice", name.value);
                return Err(self.problem("qetl::sql::duplicate_column", self.bytes_of(column), what).label("here again"));
            }
            columns.push(name.value.clone());
        }
        // After INSERT, INTO and TABLE comes the name, then the list of columns, then the query.
        let skip = tokens.iter().take_while(|token| is_word(&token.token, &["INSERT", "INTO", "TABLE"])).count();
        let mut begin = skip + name.0.len() * 2 - 1;
        if !columns.is_empty() {
            begin += 1 + tokens[begin..].iter().position(|token| token.token == Token::RParen).unwrap_or(0);
        }
        Ok((StatementKind::Insert, columns, tokens.get(begin..).unwrap_or_default(), query))
    }

    /// A query may hide a statement that writes.
    fn refuse_writing(&self, query: &Query, first: &TokenWithSpan) -> Result<(), Problem> {
        let refuse = |what: &str| {
            let problem = self.problem("qetl::sql::statement", self.bytes(first), format!("a task cannot run {what}"));
            Err(problem.label("not a query alone").help(HELP))
        };
        match &*query.body {
            SetExpr::Insert(_) => refuse("an INSERT behind WITH: write `INSERT INTO … WITH … SELECT …`"),
            SetExpr::Update(_) => refuse("UPDATE"),
            SetExpr::Delete(_) => refuse("DELETE"),
            SetExpr::Merge(_) => refuse("MERGE: `write_mode = \"merge\"` with `unique_key` does that"),
            SetExpr::Select(select) if select.into.is_some() => refuse("SELECT INTO"),
            _ if !query.locks.is_empty() => refuse("FOR UPDATE"),
            _ => Ok(()),
        }
    }

    fn dataset(&self, name: &ObjectName) -> Result<DatasetName, Problem> {
        let parts: Option<Vec<&Ident>> = name.0.iter().map(ObjectNamePart::as_ident).collect();
        let (namespace, name) = match parts.as_deref() {
            Some([name]) => ("main", name.value.as_str()),
            Some([namespace, name]) => (namespace.value.as_str(), name.value.as_str()),
            _ => {
                let problem = self.problem("qetl::sql::table_name", self.bytes_of(name), format!("`{name}` is not a dataset"));
                return Err(problem.label("not a dataset").help("a dataset is `name` or `namespace.name`"));
            }
        };
        Ok(DatasetName { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    fn syntax(&self, error: &ParserError) -> Problem {
        not_sql(self.sql, 0, error)
    }

    fn problem(&self, code: &'static str, range: Range<usize>, message: impl Into<String>) -> Problem {
        self.sql.problem(code, range, message)
    }

    fn at(&self, place: Location) -> usize {
        self.sql.offset(place.line, place.column)
    }

    fn bytes(&self, token: &TokenWithSpan) -> Range<usize> {
        self.at(token.span.start)..self.at(token.span.end)
    }

    fn bytes_of(&self, name: &ObjectName) -> Range<usize> {
        let spans: Vec<_> = name.0.iter().filter_map(ObjectNamePart::as_ident).map(|ident| ident.span).collect();
        match (spans.first(), spans.last()) {
            (Some(first), Some(last)) => self.at(first.start)..self.at(last.end),
            _ => 0..0,
        }
    }
}

/// What a query reads and calls. A name of a WITH hides a table, in its scope.
struct Found<'a> {
    reader: &'a Reader<'a>,
    /// The tables that the statements before made.
    temporary: Vec<TemporaryTable>,
    scopes: Vec<Scope>,
    /// A table function, which the parser tells as a table right afterwards.
    function: Option<ObjectName>,
    reads: Vec<Read>,
    qualified: Vec<(Range<usize>, DatasetName)>,
    functions: Vec<(String, Span)>,
}

/// The names of a query's WITH. Each is known to those after it, and to itself if the WITH is recursive.
struct Scope {
    names: Vec<(String, *const Query)>,
    recursive: bool,
    known: usize,
}

impl Scope {
    fn position(&self, query: &Query) -> Option<usize> {
        self.names.iter().position(|(_, own)| std::ptr::eq(*own, query))
    }
}

impl Found<'_> {
    fn add_function(&mut self, name: &ObjectName) {
        let text = name.to_string().to_lowercase();
        let span = self.reader.sql.span(self.reader.bytes_of(name));
        if !self.functions.iter().any(|(other, _)| *other == text) {
            self.functions.push((text, span));
        }
    }
}

impl Visitor for Found<'_> {
    type Break = Problem;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Problem> {
        if let Some(outer) = self.scopes.last_mut()
            && let (Some(position), true) = (outer.position(query), outer.recursive)
        {
            outer.known = position + 1;
        }
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        let names = ctes.map(|cte| (cte.alias.name.value.clone(), std::ptr::from_ref(&*cte.query))).collect();
        self.scopes.push(Scope { names, recursive: query.with.as_ref().is_some_and(|with| with.recursive), known: 0 });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<Problem> {
        self.scopes.pop();
        if let Some(outer) = self.scopes.last_mut()
            && let Some(position) = outer.position(query)
        {
            outer.known = position + 1;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Problem> {
        match factor {
            TableFactor::Table { name, args: Some(_), .. } => {
                self.add_function(name);
                self.function = Some(name.clone());
            }
            TableFactor::Function { name, .. } => self.add_function(name),
            _ => (),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<Problem> {
        if self.function.take().is_some_and(|function| function == *name) {
            return ControlFlow::Continue(());
        }
        if let [ObjectNamePart::Identifier(bare)] = name.0.as_slice() {
            let ctes = self.scopes.iter().flat_map(|scope| &scope.names[..scope.known]).map(|(cte, _)| cte);
            if ctes.chain(self.temporary.iter().map(|table| &table.name)).any(|known| known.eq_ignore_ascii_case(&bare.value)) {
                return ControlFlow::Continue(());
            }
        }
        match self.reader.dataset(name) {
            Ok(dataset) => {
                if name.0.len() > 1 {
                    self.qualified.push((self.reader.bytes_of(name), dataset.clone()));
                }
                if !self.reads.iter().any(|read| same_dataset(&read.dataset, &dataset)) {
                    let span = self.reader.sql.span(self.reader.bytes_of(name));
                    self.reads.push(Read { dataset, span });
                }
                ControlFlow::Continue(())
            }
            Err(problem) => ControlFlow::Break(problem),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Problem> {
        if let Expr::Function(function) = expr {
            self.add_function(&function.name);
        }
        ControlFlow::Continue(())
    }
}

/// What the parser says of a text that begins at a byte of the rendered one.
pub fn not_sql(sql: &Rendered, start: usize, error: &ParserError) -> Problem {
    let (said, at) = match error {
        ParserError::TokenizerError(said) | ParserError::ParserError(said) => said.split_once(" at Line: ").unwrap_or((said, "")),
        ParserError::RecursionLimitExceeded => ("it is nested too deeply", ""),
    };
    let text = &sql.text[start..];
    let (line, column) = at.split_once(", Column: ").unwrap_or_default();
    let begin = match (line.trim().parse(), column.trim().parse()) {
        (Ok(line), Ok(column)) => crate::byte_at(text, line, column),
        // What is expected and not there is expected at the end.
        _ if said.contains("found: EOF") => text.trim_end().len(),
        _ => 0,
    };
    let rest = &text[begin..];
    let name: usize = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').map(char::len_utf8).sum();
    let end = begin + name.max(rest.chars().next().map_or(0, char::len_utf8));
    let what = format!("this is not SQL: {}", lower_first(said));
    sql.problem("qetl::sql::syntax", start + begin..start + end, what).label("not understood")
}

fn word(token: &Token) -> Option<String> {
    match token {
        Token::Word(word) => Some(word.value.to_uppercase()),
        _ => None,
    }
}

fn is_word(token: &Token, words: &[&str]) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && words.iter().any(|own| word.value.eq_ignore_ascii_case(own)))
}

fn lower_first(text: &str) -> String {
    let text = text.trim_start_matches("sql parser error: ");
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

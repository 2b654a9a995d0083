//! A template's syntax tree, made anew: whatever takes memory or time is weighed, and what is put out tells its place.
//!
//! Expressions become calls of the functions of [`super::weight`]; that also keeps the compiler from computing them.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of the many expressions, few are assigned to, put out or called in a way of their own"
)]

use std::{collections::BTreeSet, ops::Range};

use minijinja::{
    Value,
    machinery::{
        Span,
        ast::{self, BinOpKind, CallArg, Expr, Spanned, Stmt},
    },
};

use super::weight::{Copied, EMIT, TIMES, WEIGH};

/// What holds the output of a loop that calls itself.
const LOOP: &str = "recursive loop";

/// What blocks and other files are refused with.
const ONE_TEXT: &str = "a template reads no other: `block`, `extends`, `include` and `import` are not available";

/// The tree, and what it says of names.
pub(crate) struct Tree<'s> {
    pub(crate) root: Stmt<'s>,
    /// The names that it reads, its own loops' and macros' left aside.
    pub(crate) names: BTreeSet<String>,
    /// It computes the name of a variable: `var(x)`.
    pub(crate) computes_names: bool,
    /// A statement that templates of ours do not have.
    pub(crate) refused: Option<(Range<usize>, &'static str)>,
}

/// `source` is the text that `root` was parsed from.
pub(crate) fn weighed<'s>(root: &Stmt<'s>, source: &'s str) -> Tree<'s> {
    let mut maker = Maker { source, names: BTreeSet::new(), own: BTreeSet::new(), computes_names: false, refused: None };
    let root = maker.statement(root, Put::Out);
    let names = &maker.names - &maker.own;
    Tree { root, names, computes_names: maker.computes_names, refused: maker.refused }
}

/// Where the output of a statement goes.
#[derive(Clone, Copy, PartialEq)]
enum Put {
    /// Into the result: its place is kept.
    Out,
    /// Into a value: of a macro, a `{% set %}` block, a filter.
    Value,
}

struct Maker<'s> {
    source: &'s str,
    names: BTreeSet<String>,
    own: BTreeSet<String>,
    computes_names: bool,
    refused: Option<(Range<usize>, &'static str)>,
}

fn range(span: Span) -> Range<usize> {
    span.start_offset as usize..span.end_offset as usize
}

fn call<'s>(name: &'static str, args: Vec<Expr<'s>>, span: Span) -> Expr<'s> {
    let expr = Expr::Var(Spanned::new(ast::Var { id: name }, span));
    Expr::Call(Spanned::new(ast::Call { expr, args: args.into_iter().map(CallArg::Pos).collect() }, span))
}

fn constant<'s>(value: Value, span: Span) -> Expr<'s> {
    Expr::Const(Spanned::new(ast::Const { value }, span))
}

impl<'s> Maker<'s> {
    fn body(&mut self, body: &[Stmt<'s>], put: Put) -> Vec<Stmt<'s>> {
        body.iter().map(|statement| self.statement(statement, put)).collect()
    }

    fn statement(&mut self, statement: &Stmt<'s>, put: Put) -> Stmt<'s> {
        match statement {
            Stmt::Template(node) => Stmt::Template(Spanned::new(ast::Template { children: self.body(&node.children, put) }, node.span())),
            Stmt::EmitExpr(node) => self.emit(&node.expr, node.span(), put),
            Stmt::EmitRaw(node) => {
                let value = match self.place(node.raw) {
                    Some(place) if put == Put::Out => Value::from_object(Copied { text: node.raw.to_owned(), place }),
                    _ => Value::from(node.raw),
                };
                Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr: constant(value, node.span()) }, node.span()))
            }
            Stmt::ForLoop(node) if node.recursive && put == Put::Out => self.recursive(statement, node.span()),
            Stmt::ForLoop(node) => {
                let made = ast::ForLoop {
                    target: self.target(&node.target, true),
                    iter: self.weighed(&node.iter),
                    filter_expr: node.filter_expr.as_ref().map(|expr| self.expr(expr)),
                    recursive: node.recursive,
                    body: self.body(&node.body, put),
                    else_body: self.body(&node.else_body, put),
                };
                Stmt::ForLoop(Spanned::new(made, node.span()))
            }
            Stmt::IfCond(node) => {
                let (true_body, false_body) = (self.body(&node.true_body, put), self.body(&node.false_body, put));
                Stmt::IfCond(Spanned::new(ast::IfCond { expr: self.expr(&node.expr), true_body, false_body }, node.span()))
            }
            Stmt::WithBlock(node) => {
                let assignments = node.assignments.iter().map(|(name, value)| (self.target(name, true), self.expr(value))).collect();
                Stmt::WithBlock(Spanned::new(ast::WithBlock { assignments, body: self.body(&node.body, put) }, node.span()))
            }
            Stmt::Set(node) => {
                let made = ast::Set { target: self.target(&node.target, false), expr: self.expr(&node.expr) };
                Stmt::Set(Spanned::new(made, node.span()))
            }
            Stmt::SetBlock(node) => {
                let (target, body) = (self.target(&node.target, false), self.body(&node.body, Put::Value));
                let filter = node.filter.as_ref().map(|filter| self.expr(filter));
                Stmt::SetBlock(Spanned::new(ast::SetBlock { target, filter, body }, node.span()))
            }
            Stmt::AutoEscape(node) => self.refused(node.span(), "`{% autoescape %}` is for HTML, and not available"),
            Stmt::Block(node) => self.refused(node.span(), ONE_TEXT),
            Stmt::Import(node) => self.refused(node.span(), ONE_TEXT),
            Stmt::FromImport(node) => self.refused(node.span(), ONE_TEXT),
            Stmt::Extends(node) => self.refused(node.span(), ONE_TEXT),
            Stmt::Include(node) => self.refused(node.span(), ONE_TEXT),
            Stmt::FilterBlock(node) => {
                let (filter, body) = (self.expr(&node.filter), self.body(&node.body, Put::Value));
                let made = Stmt::FilterBlock(Spanned::new(ast::FilterBlock { filter, body }, node.span()));
                if put == Put::Out { self.captured(made, node.span()) } else { made }
            }
            Stmt::Macro(node) => Stmt::Macro(self.definition(node)),
            Stmt::CallBlock(node) => {
                let made = ast::CallBlock { call: self.called(&node.call), macro_decl: self.definition(&node.macro_decl) };
                let made = Stmt::CallBlock(Spanned::new(made, node.span()));
                if put == Put::Out { self.captured(made, node.span()) } else { made }
            }
            Stmt::Do(node) => Stmt::Do(Spanned::new(ast::Do { call: self.called(&node.call) }, node.span())),
            Stmt::Continue(node) => Stmt::Continue(Spanned::new(ast::Continue, node.span())),
            Stmt::Break(node) => Stmt::Break(Spanned::new(ast::Break, node.span())),
        }
    }

    fn refused(&mut self, span: Span, why: &'static str) -> Stmt<'s> {
        self.refused.get_or_insert((range(span), why));
        Stmt::Template(Spanned::new(ast::Template { children: Vec::new() }, span))
    }

    /// Where a text of the template stands in it.
    fn place(&self, text: &str) -> Option<Range<usize>> {
        let start = (text.as_ptr() as usize).checked_sub(self.source.as_ptr() as usize)?;
        (start + text.len() <= self.source.len()).then_some(start..start + text.len())
    }

    fn emit(&mut self, expr: &Expr<'s>, span: Span, put: Put) -> Stmt<'s> {
        let is_loop = |expr: &Expr<'_>| matches!(expr, Expr::Call(call) if matches!(&call.expr, Expr::Var(var) if var.id == "loop"));
        let made = match expr {
            // What is not chosen is nothing.
            Expr::IfExpr(node) if node.false_expr.is_none() => self.choice(node, Some(constant(Value::from(""), node.span()))),
            other => self.expr(other),
        };
        let expr = match put {
            Put::Out if !is_loop(expr) => emitted(made, expr.span(), self.braces(range(expr.span()))),
            Put::Out | Put::Value => made,
        };
        Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr }, span))
    }

    /// The place of an expression with its braces.
    fn braces(&self, expr: Range<usize>) -> Range<usize> {
        let start = self.source[..expr.start].rfind("{{").filter(|_| !self.source[expr.clone()].starts_with("{{"));
        let end = self.source[expr.end..].find("}}").map_or(expr.end, |end| expr.end + end + 2);
        start.unwrap_or(expr.start)..end
    }

    fn choice(&mut self, node: &Spanned<ast::IfExpr<'s>>, otherwise: Option<Expr<'s>>) -> Expr<'s> {
        let made = ast::IfExpr {
            test_expr: self.expr(&node.test_expr),
            true_expr: self.expr(&node.true_expr),
            false_expr: node.false_expr.as_ref().map(|expr| self.expr(expr)).or(otherwise),
        };
        Expr::IfExpr(Spanned::new(made, node.span()))
    }

    /// A loop that calls itself puts its output into a value first.
    fn recursive(&mut self, statement: &Stmt<'s>, span: Span) -> Stmt<'s> {
        let made = self.statement(statement, Put::Value);
        self.captured(made, span)
    }

    /// A statement whose output becomes one value, which is put out.
    fn captured(&mut self, statement: Stmt<'s>, span: Span) -> Stmt<'s> {
        let name = || Expr::Var(Spanned::new(ast::Var { id: LOOP }, span));
        let held = Stmt::SetBlock(Spanned::new(ast::SetBlock { target: name(), filter: None, body: vec![statement] }, span));
        let out = Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr: emitted(name(), span, range(span)) }, span));
        Stmt::Template(Spanned::new(ast::Template { children: vec![held, out] }, span))
    }

    fn definition(&mut self, node: &Spanned<ast::Macro<'s>>) -> Spanned<ast::Macro<'s>> {
        self.own.insert(node.name.to_owned());
        let made = ast::Macro {
            name: node.name,
            args: node.args.iter().map(|arg| self.target(arg, true)).collect(),
            defaults: node.defaults.iter().map(|value| self.expr(value)).collect(),
            body: self.body(&node.body, Put::Value),
        };
        Spanned::new(made, node.span())
    }

    /// What is assigned to. `own`: nobody outside gives it a value.
    fn target(&mut self, expr: &Expr<'s>, own: bool) -> Expr<'s> {
        match expr {
            Expr::Var(node) => {
                if own {
                    self.own.insert(node.id.to_owned());
                }
                Expr::Var(Spanned::new(ast::Var { id: node.id }, node.span()))
            }
            Expr::List(node) => {
                let items = node.items.iter().map(|item| self.target(item, own)).collect();
                Expr::List(Spanned::new(ast::List { items }, node.span()))
            }
            Expr::Tuple(node) => {
                let items = node.items.iter().map(|item| self.target(item, own)).collect();
                Expr::Tuple(Spanned::new(ast::Tuple { items }, node.span()))
            }
            Expr::GetAttr(node) => {
                Expr::GetAttr(Spanned::new(ast::GetAttr { expr: self.target(&node.expr, own), name: node.name }, node.span()))
            }
            other => self.expr(other),
        }
    }

    fn weighed(&mut self, expr: &Expr<'s>) -> Expr<'s> {
        weigh(self.expr(expr))
    }

    fn all_weighed(&mut self, exprs: &[Expr<'s>]) -> Vec<Expr<'s>> {
        exprs.iter().map(|expr| self.weighed(expr)).collect()
    }

    fn args(&mut self, args: &[CallArg<'s>]) -> Vec<CallArg<'s>> {
        let arg = |arg: &CallArg<'s>| match arg {
            CallArg::Pos(expr) => CallArg::Pos(self.weighed(expr)),
            CallArg::Kwarg(name, expr) => CallArg::Kwarg(name, self.weighed(expr)),
            CallArg::PosSplat(expr) => CallArg::PosSplat(self.weighed(expr)),
            CallArg::KwargSplat(expr) => CallArg::KwargSplat(self.weighed(expr)),
        };
        args.iter().map(arg).collect()
    }

    fn called(&mut self, node: &Spanned<ast::Call<'s>>) -> Spanned<ast::Call<'s>> {
        if let (Expr::Var(function), [CallArg::Pos(name), ..]) = (&node.expr, node.args.as_slice())
            && function.id == "var"
        {
            match name {
                Expr::Const(name) if name.value.as_str().is_some() => self.names.extend(name.value.as_str().map(str::to_owned)),
                _ => self.computes_names = true,
            }
        }
        // The node itself tells what kind of call it is.
        let expr = match &node.expr {
            Expr::GetAttr(method) => {
                Expr::GetAttr(Spanned::new(ast::GetAttr { expr: self.weighed(&method.expr), name: method.name }, method.span()))
            }
            other => self.expr(other),
        };
        Spanned::new(ast::Call { expr, args: self.args(&node.args) }, node.span())
    }

    fn expr(&mut self, expr: &Expr<'s>) -> Expr<'s> {
        match expr {
            Expr::Var(node) => {
                self.names.insert(node.id.to_owned());
                Expr::Var(Spanned::new(ast::Var { id: node.id }, node.span()))
            }
            Expr::Const(node) => constant(node.value.clone(), node.span()),
            Expr::Slice(node) => {
                let mut part = |part: &Option<Expr<'s>>| part.as_ref().map(|part| self.expr(part));
                let (start, stop, step) = (part(&node.start), part(&node.stop), part(&node.step));
                Expr::Slice(Spanned::new(ast::Slice { expr: self.weighed(&node.expr), start, stop, step }, node.span()))
            }
            Expr::UnaryOp(node) => {
                let op = if matches!(node.op, ast::UnaryOpKind::Not) { ast::UnaryOpKind::Not } else { ast::UnaryOpKind::Neg };
                Expr::UnaryOp(Spanned::new(ast::UnaryOp { op, expr: self.expr(&node.expr) }, node.span()))
            }
            Expr::BinOp(node) => self.operation(node),
            Expr::Compare(node) => {
                let ops = node.ops.iter().map(|op| ast::CompareOp { op: op.op, expr: self.weighed(&op.expr) }).collect();
                Expr::Compare(Spanned::new(ast::Compare { expr: self.weighed(&node.expr), ops }, node.span()))
            }
            Expr::IfExpr(node) => self.choice(node, None),
            Expr::Filter(node) => {
                let expr = node.expr.as_ref().map(|expr| self.weighed(expr));
                weigh(Expr::Filter(Spanned::new(ast::Filter { name: node.name, expr, args: self.args(&node.args) }, node.span())))
            }
            Expr::Test(node) => {
                let made = ast::Test { name: node.name, expr: self.weighed(&node.expr), args: self.args(&node.args) };
                Expr::Test(Spanned::new(made, node.span()))
            }
            Expr::GetAttr(node) => Expr::GetAttr(Spanned::new(ast::GetAttr { expr: self.expr(&node.expr), name: node.name }, node.span())),
            Expr::GetItem(node) => {
                let made = ast::GetItem { expr: self.expr(&node.expr), subscript_expr: self.expr(&node.subscript_expr) };
                Expr::GetItem(Spanned::new(made, node.span()))
            }
            Expr::Call(node) => {
                let made = Expr::Call(self.called(node));
                // A loop is called by going back to its beginning.
                if matches!(&node.expr, Expr::Var(var) if var.id == "loop") { made } else { weigh(made) }
            }
            Expr::List(node) => Expr::List(Spanned::new(ast::List { items: self.all_weighed(&node.items) }, node.span())),
            Expr::Tuple(node) => Expr::Tuple(Spanned::new(ast::Tuple { items: self.all_weighed(&node.items) }, node.span())),
            Expr::Map(node) => {
                let (keys, values) = (self.all_weighed(&node.keys), self.all_weighed(&node.values));
                Expr::Map(Spanned::new(ast::Map { keys, values }, node.span()))
            }
        }
    }

    fn operation(&mut self, node: &Spanned<ast::BinOp<'s>>) -> Expr<'s> {
        let (left, right) = (self.expr(&node.left), self.expr(&node.right));
        let (left, right) = match node.op {
            BinOpKind::Mul => return call(TIMES, vec![left, right], node.span()),
            // What these have on one side is handed on, or a number.
            BinOpKind::ScAnd
            | BinOpKind::ScOr
            | BinOpKind::Sub
            | BinOpKind::Div
            | BinOpKind::FloorDiv
            | BinOpKind::Rem
            | BinOpKind::Pow => (left, right),
            BinOpKind::Eq
            | BinOpKind::Ne
            | BinOpKind::Lt
            | BinOpKind::Lte
            | BinOpKind::Gt
            | BinOpKind::Gte
            | BinOpKind::Add
            | BinOpKind::Concat
            | BinOpKind::In => (weigh(left), weigh(right)),
        };
        Expr::BinOp(Spanned::new(ast::BinOp { op: node.op, left, right }, node.span()))
    }
}

/// The expression, with its value weighed; a constant is as long as the template says.
fn weigh(expr: Expr<'_>) -> Expr<'_> {
    let span = expr.span();
    if matches!(expr, Expr::Const(_)) { expr } else { call(WEIGH, vec![expr], span) }
}

/// The expression's value, put out for these bytes of the template.
fn emitted(expr: Expr<'_>, span: Span, place: Range<usize>) -> Expr<'_> {
    let at = |at: usize| constant(Value::from(at), span);
    call(EMIT, vec![expr, at(place.start), at(place.end)], span)
}

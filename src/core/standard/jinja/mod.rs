//! Templates in Jinja's syntax: parsed, bounded, and rendered with the place of each piece of the result.

mod tree;
mod weight;

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, Value, machinery, syntax::SyntaxConfig};

use super::{filters, template::Language, values};
use tree::Tree;
pub(super) use weight::{MAX_BYTES, Piece, Scales, limit, text, too_long};

/// The most instructions that a template may run: loops end.
pub(super) const FUEL: u64 = 200_000;
/// How deep macros may call each other, each call counted four times.
const MAX_RECURSION: usize = 200;

/// What a template's text says, whatever the values.
pub(super) struct Parsed {
    /// The names that it reads; `None`: it computes some.
    pub(super) names: Option<BTreeSet<String>>,
    /// A statement that our templates do not have.
    pub(super) refused: Option<(Range<usize>, &'static str)>,
}

pub(super) fn parse(text: &str) -> Result<Parsed, Error> {
    let Tree { names, computes_names, refused, .. } = tree(text)?;
    Ok(Parsed { names: (!computes_names).then_some(names), refused })
}

fn tree(text: &str) -> Result<Tree<'_>, Error> {
    let parsed = machinery::parse(text, NAME, SyntaxConfig::default())?;
    Ok(tree::weighed(&parsed, text))
}

/// What a template without a file is called in messages, which do not show it.
const NAME: &str = "template";

/// Renders a template: the text, and its pieces.
pub(super) fn render(template: &str, language: Language, values: Value) -> Result<(String, Vec<Piece>), Error> {
    let scales = Arc::new(Scales::default());
    let environment = environment(language, &scales);
    let tree = tree(template)?;
    let mut code = machinery::CodeGenerator::new(NAME, template);
    code.compile_stmt(&tree.root);
    let (instructions, blocks) = code.finish();
    let mut text = String::new();
    machinery::eval(&environment, &instructions, values, &blocks, &mut machinery::make_string_output(&mut text), AutoEscape::None)?;
    Ok((text, weight::pieces(&scales)))
}

fn environment(language: Language, scales: &Arc<Scales>) -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_debug(true);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(MAX_RECURSION);
    weight::register(&mut environment, scales, language, values::written);
    filters::register(&mut environment, language, scales);
    environment
}

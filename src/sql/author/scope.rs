//! What can be named at a place of a query.

use qetl_core::{Type, schema::same_name};
use sqlparser::ast::Ident;

use super::{Case, Wrong};

/// A column, with its type if that is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    pub name: String,
    pub ty: Option<Type>,
}

/// What stands in a FROM.
#[derive(Debug, Default)]
pub(super) struct Relation {
    /// The parts of its name; of an alias there is one.
    pub(super) name: Vec<String>,
    /// Each with whether a USING has merged it into one of an earlier relation.
    pub(super) columns: Vec<(Named, bool)>,
    /// It may have columns that nobody knows.
    pub(super) open: bool,
}

impl Relation {
    pub(super) fn new(name: Vec<String>, columns: Option<Vec<Named>>) -> Self {
        let open = columns.is_none();
        Self { name, columns: columns.unwrap_or_default().into_iter().map(|column| (column, false)).collect(), open }
    }

    fn is_called(&self, parts: &[Ident], case: Case) -> bool {
        parts.len() <= self.name.len() && self.name.iter().rev().zip(parts.iter().rev()).all(|(own, part)| is_named(own, part, case))
    }
}

/// What one SELECT can name.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub(super) relations: Vec<Relation>,
    /// The names that it gives to its results, with the places of their expressions.
    pub(super) aliases: Vec<(Named, usize)>,
    /// As behind ORDER BY: a result's name goes before a column's.
    pub(super) results_first: bool,
}

/// What a name leads to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found {
    /// A column, and what is to be written for the relation before it.
    Column(Named, Option<Vec<String>>),
    /// A result, with the place of its expression.
    Result(Named, usize),
    /// A column that nobody knows may be meant.
    Open,
    /// The relation is there, and has no such column.
    Missing,
    Nothing,
}

/// Whether the name that is written is that name.
pub(super) fn is_named(name: &str, written: &Ident, case: Case) -> bool {
    match (case, written.quote_style) {
        (Case::Lower, None) => name == written.value.to_lowercase(),
        (Case::Lower, Some(_)) => name == written.value,
        (Case::Exact | Case::Ignored, _) => same_name(name, &written.value),
    }
}

impl Scope {
    /// A name without a relation before it.
    pub(super) fn column(&self, written: &Ident, case: Case) -> Result<Found, Wrong> {
        let alias = || self.aliases.iter().filter(|(alias, _)| is_named(&alias.name, written, case));
        let result = || alias().find(|(alias, _)| alias.name == written.value).or_else(|| alias().next());
        let result = || result().map(|(alias, place)| Found::Result(alias.clone(), *place));
        if self.results_first
            && let Some(result) = result()
        {
            return Ok(result);
        }
        if let Some((column, _)) = self.input(written, case)? {
            return Ok(Found::Column(column.clone(), None));
        }
        if let Some(result) = result() {
            return Ok(result);
        }
        Ok(if self.relations.iter().any(|relation| relation.open) { Found::Open } else { Found::Nothing })
    }

    /// The column of a relation that a name without one before it leads to.
    pub(super) fn input(&self, written: &Ident, case: Case) -> Result<Option<(&Named, &Relation)>, Wrong> {
        let columns =
            self.relations.iter().enumerate().flat_map(|(place, relation)| {
                relation.columns.iter().filter(|(_, merged)| !merged).map(move |(column, _)| (place, column))
            });
        let found: Vec<(usize, &Named)> = columns.filter(|(_, column)| is_named(&column.name, written, case)).collect();
        let Some((first, column)) = found.first() else { return Ok(None) };
        // Of names that differ in case alone the one that is written so counts, if they stand in one table.
        let exact = found.iter().find(|(_, column)| column.name == written.value);
        let differ = found.iter().any(|(_, other)| other.name != column.name);
        let apart = found.iter().any(|(place, _)| place != first);
        if case == Case::Exact && differ && (exact.is_none() || (apart && written.quote_style.is_none())) {
            return Err(ambiguous(written, found.iter().map(|(_, column)| column.name.as_str())));
        }
        let (place, column) = exact.unwrap_or(&found[0]);
        Ok(Some((column, &self.relations[*place])))
    }

    /// Whether a USING has made one column of several of that name.
    pub(super) fn is_merged(&self, name: &str) -> bool {
        self.relations.iter().flat_map(|relation| &relation.columns).any(|(column, merged)| *merged && same_name(&column.name, name))
    }

    /// A name with a relation before it.
    pub(super) fn qualified(&self, relation: &[Ident], written: &Ident, case: Case) -> Result<Found, Wrong> {
        let called = || self.relations.iter().filter(|own| own.is_called(relation, case));
        let Some(own) = called().find(|own| own.name.last() == relation.last().map(|part| &part.value)).or_else(|| called().next()) else {
            return Ok(Found::Nothing);
        };
        let found: Vec<&Named> = own.columns.iter().map(|(column, _)| column).filter(|own| is_named(&own.name, written, case)).collect();
        let exact = found.iter().find(|column| column.name == written.value);
        match exact.or(found.first()) {
            Some(_) if case == Case::Exact && exact.is_none() && found.len() > 1 => {
                Err(ambiguous(written, found.iter().map(|column| column.name.as_str())))
            }
            Some(column) => Ok(Found::Column((*column).clone(), Some(own.name.clone()))),
            None => Ok(if own.open { Found::Open } else { Found::Missing }),
        }
    }

    /// The relation of that name.
    pub(super) fn relation(&self, name: &[Ident], case: Case) -> Option<&Relation> {
        self.relations.iter().find(|own| own.is_called(name, case))
    }

    /// The columns that `*` stands for; `None` if nobody knows them all.
    pub(super) fn all(&self) -> Option<Vec<Named>> {
        if self.relations.iter().any(|relation| relation.open) {
            return None;
        }
        let columns = self.relations.iter().flat_map(|relation| &relation.columns);
        Some(columns.filter(|(_, merged)| !merged).map(|(column, _)| column.clone()).collect())
    }
}

fn ambiguous<'a>(written: &Ident, found: impl Iterator<Item = &'a str>) -> Wrong {
    let mut names: Vec<String> = found.map(|name| format!("`\"{name}\"`")).collect();
    names.dedup();
    Wrong {
        code: "qetl::sql::ambiguous_column",
        span: written.span,
        message: format!("`{}` may be {}, which differ in case alone", written.value, names.join(" or ")),
        label: "which?",
        help: "name its table before it, or quote it as it is called".to_owned(),
    }
}

//! What always holds of the stored versions.

use qetl_core::{
    Problems,
    ir::{AggregateFunction, Expr, Order, Rel, Steps, WindowFunction},
    plan::Invariant,
};

use super::{
    VERSION_COLUMNS,
    roles::{Roles, own},
};

/// The promises that can be checked on the stored tables.
/// `stored` is the dataset, `whole` the instructions that give it anew.
pub(super) fn promises(roles: &Roles, stored: &Rel, whole: Steps) -> Result<Vec<Invariant>, Problems> {
    let keys = &roles.keys;
    let column = Expr::column;
    let (version, from, to) = (|| column("xt_version"), || column("xt_effective_from"), || column("xt_effective_to"));
    let by_version = || vec![Order { by: version(), descending: false }];
    let shown: Vec<String> = keys.iter().cloned().chain(VERSION_COLUMNS.map(str::to_owned)).collect();
    let mut promises = Vec::new();
    let mut promise = |name: &str, about: &str, mut steps: Steps, broken: Rel| {
        steps.add(name, broken);
        promises.push(Invariant { name: name.to_owned(), about: about.to_owned(), steps });
    };

    let numbered = stored.clone().window("xt_expected", WindowFunction::RowNumber, keys, by_version())?;
    let numbered =
        numbered.filter(version().not_eq(column("xt_expected")))?.select(shown.iter().map(String::as_str).chain(["xt_expected"]))?;
    promise("versions_are_numbered", "the versions of a key are numbered 1, 2, …", Steps::default(), numbered);

    let empty = stored.clone().filter(to().lt_eq(from()))?.select(&shown)?;
    promise("versions_last", "a version ends after it begins", Steps::default(), empty);

    let followed = stored.clone().window("xt_next_version", WindowFunction::Lead(version()), keys, by_version())?.window(
        "xt_next_from",
        WindowFunction::Lead(from()),
        keys,
        by_version(),
    )?;
    let overlap = column("xt_next_version").is_null().not().and(to().is_null().or(column("xt_next_from").lt(to())));
    let overlapping = followed.filter(overlap)?.select(shown.iter().map(String::as_str).chain(["xt_next_version", "xt_next_from"]))?;
    promise("versions_do_not_overlap", "a version ends before the next one of its key begins", Steps::default(), overlapping);

    let unlike = stored.clone().filter(column("xt_is_current").is_distinct(to().is_null()))?.select(&shown)?;
    promise("current_is_open", "the versions without an end are the current ones", Steps::default(), unlike);

    let current = stored.clone().filter(column("xt_is_current"))?;
    let several = current.aggregate(keys, vec![("xt_versions".to_owned(), AggregateFunction::Count)])?;
    let several = several.filter(column("xt_versions").gt(Expr::int(1)))?;
    promise("one_current_version", "a key has at most one current version", Steps::default(), several);

    // A deletion begins new ones.
    let is_one = !(roles.closes && roles.can_delete());
    if is_one && !roles.type1.is_empty() {
        let by: Vec<String> = keys.iter().chain(&roles.type1).cloned().collect();
        let values = stored.clone().aggregate(&by, Vec::new())?;
        let values = values.aggregate(keys, vec![("xt_values".to_owned(), AggregateFunction::Count)])?;
        let values = values.filter(column("xt_values").gt(Expr::int(1)))?;
        promise("type1_values_are_one", "every version of a key has the same type-1 values", Steps::default(), values);
    }

    let (differing, steps) = difference(stored, whole)?;
    promise("versions_are_as_landed", "the versions are those that all landed batches give", steps, differing);
    Ok(promises)
}

/// The rows that are stored and not among those that `whole` gives, or the other way round, with the steps that they need.
pub(super) fn difference(stored: &Rel, mut whole: Steps) -> Result<(Rel, Steps), Problems> {
    let names: Vec<String> = stored.column_names().map(str::to_owned).collect();
    let tagged =
        |rel: Rel, stored: i64| rel.project(own(&names).into_iter().chain([("xt_stored".to_owned(), Expr::int(stored))]).collect());
    let Some(last) = whole.0.pop() else { unreachable!("there are instructions") };
    let derived = whole.add(&last.name, last.rel);
    let sum = ("xt_stored".to_owned(), AggregateFunction::Sum(Expr::column("xt_stored")));
    let both = Rel::union(vec![tagged(stored.clone(), 1)?, tagged(derived, 0)?])?;
    let both = both.aggregate(&names, vec![sum, ("xt_rows".to_owned(), AggregateFunction::Count)])?;
    let pair = Expr::column("xt_rows").eq(Expr::int(2)).and(Expr::column("xt_stored").eq(Expr::int(1)));
    Ok((both.filter(pair.not())?, whole))
}

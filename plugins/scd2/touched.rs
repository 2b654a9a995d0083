//! The keys whose versions a batch may change.

use qetl_core::{
    Problems,
    input::{BatchMode, OnDuplicateKey},
    ir::{AggregateFunction, AsOf, Expr, JoinKind, Rel, Steps},
};

use crate::keyed;

use super::roles::{Roles, flag, is, left, own};

/// The sides of the comparison: columns that are 1 where the batch before, this one, or this one as it was, has a row.
const SIDES: [(&str, AsOf); 3] = [("xt_before", AsOf::PreviousBatch), ("xt_now", AsOf::ThisBatch), ("xt_was", AsOf::ReplacedBatch)];

impl Roles {
    /// The keys whose versions this batch may change. `scan` reads landing, `stored` the versions.
    pub(super) fn touched(&self, steps: &mut Steps, scan: &dyn Fn(AsOf) -> Result<Rel, Problems>, stored: Rel) -> Result<Rel, Problems> {
        let touched = match self.mode {
            BatchMode::Delta => self.shown_keys(scan)?,
            // It may miss any key that came before it, or have missed it.
            BatchMode::Snapshot if self.of_all => {
                Rel::union(vec![self.shown_keys(scan)?, self.keys_of(scan(AsOf::BeforeThisBatch)?.select(&self.keys)?)?])?
            }
            BatchMode::Snapshot if self.values.is_empty() => self.keys_that_differ(steps, scan, stored)?,
            BatchMode::Snapshot => Rel::union(vec![self.shown_keys(scan)?, self.keys_of_values(steps, scan)?])?,
        };
        Ok(steps.add_small("touched", touched.aggregate(&self.keys, Vec::new())?))
    }

    fn keys_of(&self, rows: Rel) -> Result<Rel, Problems> {
        Ok(keyed::with_all(rows.select(&self.keys)?, &self.keys)?)
    }

    /// The keys that the batch shows, or has shown.
    fn shown_keys(&self, scan: &dyn Fn(AsOf) -> Result<Rel, Problems>) -> Result<Rel, Problems> {
        self.keys_of(Rel::union(vec![scan(AsOf::ThisBatch)?.select(&self.keys)?, scan(AsOf::ReplacedBatch)?.select(&self.keys)?])?)
    }

    /// The keys that had one of the values that the batch has, or had, before it: it may miss them.
    fn keys_of_values(&self, steps: &mut Steps, scan: &dyn Fn(AsOf) -> Result<Rel, Problems>) -> Result<Rel, Problems> {
        let of = self.of();
        let values = [AsOf::ThisBatch, AsOf::ReplacedBatch].map(|as_of| Ok::<_, Problems>(scan(as_of)?.project(self.values.clone())?));
        let values = Rel::union(values.into_iter().collect::<Result<_, _>>()?)?.aggregate(&of, Vec::new())?;
        let values = steps.add_small("values", values);
        let before = own(&self.keys).into_iter().chain(self.values.iter().cloned()).collect();
        self.keys_of(scan(AsOf::BeforeThisBatch)?.project(before)?.semi(values, &of)?)
    }

    /// A snapshot that says of a key what the one before it says is as good as none, but for a key that both of them miss and a
    /// later one shows: that may decide when it came back.
    fn keys_that_differ(&self, steps: &mut Steps, scan: &dyn Fn(AsOf) -> Result<Rel, Problems>, stored: Rel) -> Result<Rel, Problems> {
        let keys = &self.keys;
        let shown = SIDES.iter().map(|(side, as_of)| {
            let marks = SIDES.iter().map(|(other, _)| ((*other).to_owned(), Expr::int(i64::from(other == side))));
            Ok::<_, Problems>(scan(*as_of)?.project(own(&self.columns).into_iter().chain(marks).collect())?)
        });
        let shown = keyed::with_all(Rel::union(shown.collect::<Result<_, _>>()?)?, keys)?;
        let greatest = |name: &str| (name.to_owned(), AggregateFunction::Max(Expr::column(name)));
        let shown = shown.aggregate(&self.columns, SIDES.iter().map(|(side, _)| greatest(side)).collect())?;
        let replaced = self.replaced(steps, scan, stored)?;

        let all: Vec<String> = shown.column_names().map(str::to_owned).collect();
        let shown = shown.project(own(&all).into_iter().chain([("xt_one".to_owned(), Expr::int(1))]).collect())?;
        let kept = left(&all).into_iter().chain([("xt_replaced".to_owned(), Expr::right("xt_replaced"))]).collect();
        let on_one = [("xt_one".to_owned(), "xt_one".to_owned())];
        let shown = steps.add("compared", shown.join(JoinKind::Inner, replaced, &on_one, kept)?);
        let differs = |side: &str| Expr::column("xt_before").not_eq(Expr::column(side));
        let differs = differs("xt_now").or(is("xt_replaced", 1).and(differs("xt_was")));
        let mut touched = vec![shown.clone().filter(differs)?.select(keys)?];
        // Which of a key's rows counts depends on their order, which is not compared.
        if matches!(self.duplicates, OnDuplicateKey::KeepFirst | OnDuplicateKey::KeepLast) {
            let by: Vec<String> = keys.iter().chain(&self.effective).chain(&self.sequence).cloned().collect();
            let sums = SIDES.iter().map(|(side, _)| ((*side).to_owned(), AggregateFunction::Sum(Expr::column(side))));
            let several = shown.aggregate(&by, sums.collect())?;
            let several = several.filter(Expr::any(SIDES.iter().map(|(side, _)| Expr::column(side).gt(Expr::int(1)))))?;
            touched.push(several.select(keys)?);
        }
        if self.absence_deletes() && self.effective.is_some() {
            let later = self.keys_of(scan(AsOf::AfterThisBatch)?)?.aggregate(keys, Vec::new())?;
            let missed = later.anti(self.keys_of(scan(AsOf::ThisBatch)?)?, keys)?;
            touched.push(missed.semi(self.keys_of(scan(AsOf::BeforeThisBatch)?)?, keys)?);
        }
        Ok(Rel::union(touched)?)
    }

    /// One row: whether the batch may have been published before, and shown other rows.
    ///
    /// A batch without rows may have been replaced; then it deleted all that the one before it shows.
    fn replaced(&self, steps: &mut Steps, scan: &dyn Fn(AsOf) -> Result<Rel, Problems>, stored: Rel) -> Result<Rel, Problems> {
        let sign = |yes: Expr| vec![("xt_replaced".to_owned(), flag(yes))];
        let mut signs = vec![
            scan(AsOf::ReplacedBatch)?.project(vec![("xt_replaced".to_owned(), Expr::int(1))])?,
            Rel::batches().project(vec![("xt_replaced".to_owned(), Expr::int(0))])?,
        ];
        if self.closes {
            // The newest batch was not empty as long as it left a version open; of another one nothing tells.
            signs.push(Rel::batches().project(sign(Expr::column("xt_batch_id").gt(Expr::batch_id())))?);
            let open = stored.filter(Expr::column("xt_is_current"))?;
            let open = open.aggregate(&[], vec![("xt_open".to_owned(), AggregateFunction::Count)])?;
            signs.push(open.project(sign(Expr::column("xt_open").eq(Expr::int(0))))?);
        }
        let greatest = vec![("xt_replaced".to_owned(), AggregateFunction::Max(Expr::column("xt_replaced")))];
        let replaced = Rel::union(signs)?.aggregate(&[], greatest)?;
        let one = [("xt_one".to_owned(), Expr::int(1)), ("xt_replaced".to_owned(), Expr::column("xt_replaced"))];
        Ok(steps.add_small("replaced", replaced.project(one.to_vec())?))
    }
}

//! How many keys a batch deletes.

use qetl_core::{
    Problems,
    input::{BatchMode, OnDuplicateKey, OnNullKey},
    ir::{AggregateFunction, AsOf, Expr, Rel, RelError, Steps, WindowFunction},
};

use super::roles::{Roles, flag, is, own, up, with};

impl Roles {
    /// Steps that end in `live`, the keys that are live before this batch, and `deleted`, those of them that it deletes.
    pub(super) fn shares(&self, scan: &dyn Fn(AsOf) -> Result<Rel, Problems>) -> Result<Steps, Problems> {
        let mut steps = Steps::default();
        let parks = self.duplicates == OnDuplicateKey::Park || self.nulls == OnNullKey::Park;
        // Two whole snapshots tell, unless a key is live because an older one showed it.
        let is_whole = self.mode == BatchMode::Snapshot && self.values.is_empty() && !parks;
        let earlier = if is_whole { AsOf::PreviousBatch } else { AsOf::BeforeThisBatch };
        let rows = steps.add("guarded_rows", Rel::union(vec![scan(earlier)?, scan(AsOf::ThisBatch)?])?);
        let landing = scan(AsOf::AllBatches)?;
        let shown = self.shown(&mut steps, "guarded_", rows, Some(landing).filter(|_| self.mode == BatchMode::Snapshot))?;
        let shares = self.lives(shown)?.aggregate(
            &[],
            vec![("deleted".to_owned(), AggregateFunction::Sum(Expr::column("xt_deleted"))), ("live".to_owned(), AggregateFunction::Count)],
        )?;
        steps.add("shares", shares);
        Ok(steps.needed())
    }

    /// The keys that are live before this batch, with `xt_deleted`, 1 for those that it deletes.
    fn lives(&self, shown: Rel) -> Result<Rel, RelError> {
        let column = Expr::column;
        let in_order = self.order(&[up("xt_batch_id"), up("xt_own")], false, &[]);
        // A key with parked rows stays what it was.
        let mut kept = self.by(&["xt_batch_id", "xt_own"]);
        kept.extend(self.sequence.iter().cloned());
        kept.extend(["xt_live".to_owned(), "xt_is_row".to_owned()]);
        let is_snapshot = self.mode == BatchMode::Snapshot;
        kept.extend(is_snapshot.then(|| "xt_swept_after_id".to_owned()));
        kept.extend(self.of());
        let shown = shown.select(&kept)?.windows(
            [
                ("xt_shown_next".to_owned(), WindowFunction::Lead(column("xt_batch_id"))),
                ("xt_rows".to_owned(), WindowFunction::RunningSum(column("xt_is_row"))),
            ],
            &self.keys,
            &in_order,
        )?;
        let live = [("xt_lives".to_owned(), WindowFunction::First(column("xt_live")))];
        let shown = shown.windows(live, &self.by(&["xt_rows"]), &in_order)?;
        let this = Expr::batch_id;
        let next = || column("xt_shown_next");
        let is_last_before = column("xt_batch_id").lt(this()).and(next().is_null().or(next().lt(this()).not()));
        let (mut is_there, mut is_missed) = (is("xt_lives", 1), Expr::any([]));
        if is_snapshot {
            let swept = || column("xt_swept_after_id");
            is_there = is_there.and(swept().is_null().or(swept().lt(this()).not()));
            is_missed = next().is_null().and(swept().eq(this()));
        }
        let is_marked = column("xt_batch_id").eq(this()).and(next().is_null()).and(is("xt_is_row", 1)).and(is("xt_live", 0));
        let (mut shown, mut concerned) = (shown, Expr::int(1));
        if !self.values.is_empty() && !self.of_all {
            let now = shown.clone().filter(column("xt_batch_id").eq(this()).and(is("xt_is_row", 1)))?;
            shown = self.concerned(shown, now)?;
            concerned = flag(is("xt_concerned", 1).and(is_last_before.clone()).or(is_marked.clone()));
        }
        let told = shown.project(with(
            own(&self.keys),
            [
                ("xt_was_live", flag(is_last_before.clone().and(is_there))),
                ("xt_deleted", flag(is_last_before.and(is_missed).or(is_marked))),
                ("xt_concerned", concerned),
            ],
        ))?;
        let greatest = |name: &str| (name.to_owned(), AggregateFunction::Max(column(name)));
        let told = told.aggregate(&self.keys, ["xt_was_live", "xt_deleted", "xt_concerned"].map(greatest).to_vec())?;
        told.filter(is("xt_was_live", 1).and(is("xt_concerned", 1)))
    }
}

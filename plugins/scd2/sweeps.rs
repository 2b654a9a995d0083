//! Which batches can miss a key: in whole snapshots all of them, in snapshots of some values those that have the key's.

use qetl_core::{
    input::{OnDuplicateKey, OnNullKey},
    ir::{AggregateFunction, Expr, JoinKind, Rel, RelError, Steps, WindowFunction},
};

use super::roles::{Roles, flag, is, left, own, pairs, up, with};

/// The batches around a row that can miss its key: when the last one before it was executed, and the first one after it; the latter's
/// id.
pub(super) const AROUND: [&str; 3] = ["xt_swept_before", "xt_swept_after", "xt_swept_after_id"];

impl Roles {
    /// The names of the values of `snapshot_of`, which are never NULL.
    pub(super) fn of(&self) -> Vec<String> {
        self.values.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The rows with [`AROUND`], in snapshots of some values. `landing` are all landed rows.
    pub(super) fn with_sweeps(&self, steps: &mut Steps, prefix: &str, shown: Rel, landing: Rel, batches: Rel) -> Result<Rel, RelError> {
        let of = self.of();
        let kept: Vec<String> = shown.column_names().map(str::to_owned).collect();
        let on_batch = [("xt_batch_id".to_owned(), "xt_batch_id".to_owned())];
        let in_order = self.order(&[up("xt_batch_id"), up("xt_own")], false, &[]);
        // A parked row leaves the key where it belonged.
        let rows = WindowFunction::RunningSum(Expr::column("xt_is_row"));
        let shown = shown.window("xt_rows", rows, &self.keys, in_order.clone())?;
        let last = |name: &String| (format!("{name}_last"), WindowFunction::First(Expr::column(name)));
        let shown = shown.windows(of.iter().map(last), &self.by(&["xt_rows"]), &in_order)?;
        let names = kept.iter().map(|name| match of.contains(name) {
            true => (name.clone(), Expr::column(&format!("{name}_last"))),
            false => (name.clone(), Expr::column(name)),
        });
        let before = |name: &String| (format!("{name}_before"), WindowFunction::Lag(Expr::column(name)));
        let shown = shown.project(names.collect())?.windows(of.iter().map(before), &self.keys, &in_order)?;
        let shown = steps.add(&format!("{prefix}belonging"), shown);

        let asked = |suffix: &str| {
            let values = of.iter().map(|name| (name.clone(), Expr::column(&format!("{name}{suffix}"))));
            let asked = shown.clone().project(values.chain([("xt_batch_id".to_owned(), Expr::column("xt_batch_id"))]).collect())?;
            asked.filter(Expr::column(&of[0]).is_null().not())
        };
        let asked = Rel::union(vec![asked("")?, asked("_before")?])?;
        let spans = self.spans(steps, prefix, asked, landing, batches)?;
        let on = |suffix: &str| of.iter().map(|name| (format!("{name}{suffix}"), name.clone())).chain(on_batch.clone()).collect::<Vec<_>>();
        let mut columns: Vec<String> = shown.column_names().map(str::to_owned).collect();
        let after = ["xt_swept_after", "xt_swept_after_id"];
        let more = after.map(|name| (name, Expr::right(name)));
        let shown = shown.join(JoinKind::Left, spans.clone(), &on(""), with(left(&columns), more))?;
        columns.extend(after.map(str::to_owned));
        let more = [("xt_swept_before", Expr::right("xt_swept_before"))];
        shown.join(JoinKind::Left, spans, &on("_before"), with(left(&columns), more))
    }

    /// The values of each batch whose keys it can miss, with its execution time.
    fn sweeps(&self, steps: &mut Steps, landing: Rel) -> Result<Rel, RelError> {
        let batch = ["xt_batch_id".to_owned()];
        let unreadable = self.bad.as_ref().map(|bad| bad.unreadable.clone().select(&batch)?.aggregate(&batch, Vec::new())).transpose()?;
        if self.of_all {
            let all = Rel::batches().project(self.values.iter().cloned().chain(own(&batch)).collect())?;
            let all = unreadable.into_iter().try_fold(all, |all, unreadable| all.anti(unreadable, &batch))?;
            return Ok(steps.add_small("sweeps", all));
        }
        let rows = steps.add("valued_rows", landing);
        let accepted = match self.duplicates {
            OnDuplicateKey::Fail => self.complete(rows.clone())?,
            OnDuplicateKey::KeepFirst | OnDuplicateKey::KeepLast | OnDuplicateKey::Park => {
                self.unique(steps, "valued_", rows.clone())?.accepted
            }
        };
        let by: Vec<String> = self.of().into_iter().chain(batch.clone()).collect();
        let values = self.values.iter().cloned().chain(own(&batch)).collect();
        let mut values = accepted.project(values)?.aggregate(&by, Vec::new())?;
        if self.nulls == OnNullKey::Park {
            // A row without a key may have been any.
            let lacks = Expr::any(self.keys.iter().map(|key| Expr::column(key).is_null()));
            let unreadable = rows.filter(lacks)?.select(&batch)?.aggregate(&batch, Vec::new())?;
            values = values.anti(unreadable, &batch)?;
        }
        if let Some(unreadable) = unreadable {
            values = values.anti(unreadable, &batch)?;
        }
        Ok(steps.add_small("sweeps", values))
    }

    /// Of each value and batch that is asked for, the sweeps around it.
    fn spans(&self, steps: &mut Steps, prefix: &str, asked: Rel, landing: Rel, batches: Rel) -> Result<Rel, RelError> {
        let (of, sweeps) = (self.of(), self.sweeps(steps, landing)?);
        let by: Vec<String> = of.iter().cloned().chain(["xt_batch_id".to_owned()]).collect();
        let tell = |rel: Rel, sweeps: i64| rel.select(&by)?.project(with(own(&by), [("xt_sweeps", Expr::int(sweeps))]));
        let sweeps_here = ("xt_sweeps".to_owned(), AggregateFunction::Max(Expr::column("xt_sweeps")));
        let moments = Rel::union(vec![tell(asked, 0)?, tell(sweeps, 1)?])?.aggregate(&by, vec![sweeps_here])?;
        let executed = [("xt_sweeps", Expr::left("xt_sweeps")), ("xt_executed", Expr::right("xt_executed"))];
        let on_batch = [("xt_batch_id".to_owned(), "xt_batch_id".to_owned())];
        let moments = moments.join(JoinKind::Inner, batches, &on_batch, with(left(&by), executed))?;
        let count = WindowFunction::RunningSum(Expr::column("xt_sweeps"));
        let moments = moments.window("xt_count", count, &of, vec![up("xt_batch_id")])?;
        let moments = steps.add_small(&format!("{prefix}moments"), moments);

        let numbered = moments.clone().filter(is("xt_sweeps", 1))?;
        let numbers = [
            ("xt_next", Expr::column("xt_count").plus(Expr::int(1))),
            ("xt_last", Expr::column("xt_count").minus(Expr::column("xt_sweeps"))),
        ];
        let moments = moments.project(with(own(&by), numbers))?;
        let on = |number: &str| pairs(&of).into_iter().chain([(number.to_owned(), "xt_count".to_owned())]).collect::<Vec<_>>();
        let more = [
            ("xt_last", Expr::left("xt_last")),
            ("xt_swept_after", Expr::right("xt_executed")),
            ("xt_swept_after_id", Expr::right("xt_batch_id")),
        ];
        let after = moments.join(JoinKind::Left, numbered.clone(), &on("xt_next"), with(left(&by), more))?;
        let more = [
            ("xt_swept_after", Expr::left("xt_swept_after")),
            ("xt_swept_after_id", Expr::left("xt_swept_after_id")),
            ("xt_swept_before", Expr::right("xt_executed")),
        ];
        let spans = after.join(JoinKind::Left, numbered, &on("xt_last"), with(left(&by), more))?;
        Ok(steps.add_small(&format!("{prefix}spans"), spans))
    }

    /// The rows with `xt_concerned`, 1 for those that have a value of these others.
    pub(super) fn concerned(&self, rows: Rel, others: Rel) -> Result<Rel, RelError> {
        let of = self.of();
        let values = others.aggregate(&of, Vec::new())?;
        let values = values.project(with(own(&of), [("xt_one", Expr::int(1))]))?;
        let kept: Vec<String> = rows.column_names().map(str::to_owned).collect();
        let found = flag(Expr::right("xt_one").is_null().not());
        rows.join(JoinKind::Left, values, &pairs(&of), with(left(&kept), [("xt_concerned", found)]))
    }
}

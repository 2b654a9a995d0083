//! From what acts on keys to the versions of each.

use qetl_core::ir::{Expr, Rel, RelError, Steps, WindowFunction};

use super::roles::{Roles, down, each, flag, is, own, up, with};

impl Roles {
    /// The versions of the keys whose landed rows, of all batches, are `rows`; `landing` has those of all keys.
    pub(super) fn versions(&self, steps: &mut Steps, prefix: &str, rows: Rel, landing: Rel) -> Result<Rel, RelError> {
        let events = self.events(steps, prefix, rows, landing)?;
        let said = match &self.effective {
            Some(_) => steps.add(&format!("{prefix}said"), self.said(events)?),
            // A key has one row in a batch, and no two batches have one time.
            None => events,
        };
        let has_stays = self.absence_deletes();
        let (column, by_time) = (Expr::column, [up("xt_time")]);
        let mut kept = self.columns.clone();
        kept.extend(["xt_batch_id", "xt_processed_at", "xt_live", "xt_time"].map(str::to_owned));
        kept.extend(has_stays.then(|| "xt_ends_at".to_owned()));

        let mut before = each(&self.tracked, "xt_before_", WindowFunction::Lag);
        before.push(("xt_was_live".to_owned(), WindowFunction::Lag(column("xt_live"))));
        if self.carries_added {
            let batch = if self.effective.is_some() { "xt_said_in" } else { "xt_batch_id" };
            before.push(("xt_before_in".to_owned(), WindowFunction::Lag(column(batch))));
        }
        let mut returns = vec![column("xt_was_live").is_null(), is("xt_was_live", 0)];
        if has_stays {
            before.push(("xt_stay_before".to_owned(), WindowFunction::Lag(column("xt_stay"))));
            returns.push(column("xt_stay").is_distinct(column("xt_stay_before")));
        }
        if said.column_names().any(|name| name == "xt_deletes") {
            returns.push(is("xt_deletes", 1));
        }
        let returns = is("xt_live", 1).and(Expr::any(returns));
        let begins = returns.clone().or(is("xt_live", 1).and(self.differs("xt_before_", "xt_before_in")));
        let mut points = said
            .windows(before, &self.keys, &by_time)?
            .project(with(own(&kept), [("xt_returns", flag(returns)), ("xt_begins", flag(begins))]))?;
        if !self.type1.is_empty() {
            points = self.overwritten(points)?;
        }
        let points = points.filter(is("xt_live", 0).or(is("xt_begins", 1)))?;
        let points = points.window("xt_next", WindowFunction::Lead(column("xt_time")), &self.keys, by_time.to_vec())?;
        let begun = points.filter(is("xt_live", 1))?;
        let begun = begun.window("xt_version", WindowFunction::RowNumber, &self.keys, by_time.to_vec())?;
        let (next, ends) = (|| column("xt_next"), || column("xt_ends_at"));
        let end = || match has_stays {
            true => {
                let is_first = ends().is_null().not().and(next().is_null().or(ends().lt(next())));
                Expr::case(vec![(is_first, ends())], Some(next()))
            }
            false => next(),
        };
        begun.project(with(
            own(&self.columns),
            [
                ("xt_version", column("xt_version")),
                ("xt_effective_from", column("xt_time")),
                ("xt_effective_to", end()),
                ("xt_is_current", end().is_null()),
                ("xt_batch_id", column("xt_batch_id")),
                ("xt_processed_at", column("xt_processed_at")),
            ],
        ))
    }

    /// One event for each time: the first batch's row that says what is said of that time in the end, with the type-1 values that
    /// are said of it in the end; `xt_deletes` where a deletion came before it;
    /// `xt_said_in`, the batch that says so last.
    fn said(&self, events: Rel) -> Result<Rel, RelError> {
        let names: Vec<String> = events.column_names().map(str::to_owned).collect();
        let (column, per_time) = (Expr::column, self.by(&["xt_time"]));
        let marks = self.closes && self.marked.is_some();
        let in_order = self.order(&[], false, &[up("xt_batch_id"), up("xt_own")]);
        let backwards = self.order(&[], true, &[down("xt_batch_id"), down("xt_own")]);
        let mut events = events;
        let mut last = each(&self.tracked, "xt_said_", WindowFunction::First);
        last.extend(each(&self.type1, "xt_latest_", WindowFunction::First));
        if self.carries_added {
            last.push(("xt_said_in".to_owned(), WindowFunction::First(column("xt_batch_id"))));
        }
        let mut says_so = self.differs("xt_said_", "xt_batch_id").not();
        if marks {
            let mark = flag(is("xt_live", 0));
            events = events.project(with(own(&names), [("xt_mark", mark)]))?;
            events = events.window("xt_marked", WindowFunction::RunningMax(column("xt_mark")), &per_time, in_order)?;
            last.push(("xt_counts".to_owned(), WindowFunction::First(column("xt_live"))));
            last.push(("xt_deletes".to_owned(), WindowFunction::First(column("xt_marked"))));
            last.push(("xt_rank".to_owned(), WindowFunction::RowNumber));
            says_so = is("xt_counts", 0).and(is("xt_rank", 1)).or(is("xt_counts", 1).and(is("xt_live", 1)).and(says_so));
        }
        let events = events.windows(last, &per_time, &backwards)?.filter(says_so)?;
        let first = self.order(&[up("xt_batch_id")], true, &[down("xt_own")]);
        let first = events.window("xt_place", WindowFunction::RowNumber, &per_time, first)?.filter(is("xt_place", 1))?;
        let latest = |name: &String| self.type1.iter().position(|type1| type1 == name).map(|index| column(&format!("xt_latest_{index}")));
        let said = names.iter().map(|name| (name.clone(), latest(name).unwrap_or_else(|| column(name))));
        let more = [self.carries_added.then_some("xt_said_in"), marks.then_some("xt_deletes")];
        let more = more.into_iter().flatten().map(|name| (name, column(name)));
        first.project(with(said.collect(), more))
    }

    /// Each row with the type-1 values of the greatest time between two deletions.
    fn overwritten(&self, points: Rel) -> Result<Rel, RelError> {
        let names: Vec<String> = points.column_names().map(str::to_owned).collect();
        let life = WindowFunction::RunningSum(Expr::column("xt_returns"));
        let points = points.window("xt_life", life, &self.keys, vec![up("xt_time")])?;
        let latest = each(&self.type1, "xt_latest_", WindowFunction::First);
        let points = points.windows(latest, &self.by(&["xt_life"]), &[down("xt_live"), down("xt_time")])?;
        let latest = |name: &String| self.type1.iter().position(|type1| type1 == name).map(|index| format!("xt_latest_{index}"));
        points.project(names.iter().map(|name| (name.clone(), Expr::column(&latest(name).unwrap_or_else(|| name.clone())))).collect())
    }
}

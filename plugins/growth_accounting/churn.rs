//! Who stays away, and who comes back: silences after activity, in days or in whole periods.

use qetl_core::ir::{AggregateFunction, BinaryOp, Expr, Function, JoinKind, Period, Rel, RelError, Steps, WindowFunction};

use super::{ChurnRule, Growth, Whose, by, days_between, named, on, same};

/// The step that gives the touched users, and those whose churn comes or goes without an event of theirs.
pub(super) const TOUCHED_OR_DUE: &str = "touched_or_due";

/// How long a user is away who is churned.
#[derive(Debug, Clone, Copy)]
pub(super) enum Silence {
    /// So many days after a date of activity.
    Days(i64),
    /// The whole period after one with activity.
    Period,
}

impl Growth<'_> {
    pub(super) fn silence(&self) -> Silence {
        match self.properties.churn {
            ChurnRule::Threshold => Silence::Days(self.properties.churn_threshold_days.as_ref().map_or(30, |days| i64::from(days.value))),
            ChurnRule::Period => Silence::Period,
        }
    }

    /// The date on which a user is churned who was last active on that one.
    pub(super) fn churn_date(&self, last: Expr) -> Expr {
        match self.silence() {
            Silence::Days(days) => last.call(Function::AddDays(days)),
            Silence::Period => self.next(self.next(last)).call(Function::AddDays(-1)),
        }
    }

    /// Whether a date of activity is after a churn that follows the date before.
    fn is_return(&self, date: &Expr, before: &Expr) -> Expr {
        match self.silence() {
            Silence::Days(days) => days_between(date, before).gt(Expr::int(days)),
            Silence::Period => self.next(self.next(before.clone())).lt_eq(date.clone()),
        }
    }

    pub(super) fn returned(&self, whose: Whose) -> Result<Steps, RelError> {
        let mut steps = Steps::default();
        let (date, before) = (Expr::column("xt_date"), Expr::column("xt_before"));
        let dates = self.of_users(self.active_dates()?, whose, &mut steps)?;
        let dates = steps.add("dates", dates);
        let dates = dates.window("xt_before", WindowFunction::Lag(date.clone()), self.keys(), by(&["xt_date"]))?;
        let dates = steps.add("dates_in_order", dates);
        let returns = steps.add("returns", dates.filter(self.is_return(&date, &before))?);
        let away = days_between(&date, &before);
        let columns = vec![
            named("period", self.start(date.clone())),
            same(&self.user.name),
            named("churn_date", self.churn_date(before)),
            named("return_date", date),
            named("days_inactive", away),
        ];
        steps.add("returned", returns.project(columns)?);
        Ok(steps)
    }

    pub(super) fn churned(&self, whose: Whose) -> Result<Steps, RelError> {
        let mut steps = Steps::default();
        let all = steps.add("dates", self.active_dates()?);
        let bounds = self.bounds(&mut steps, &all)?;
        let (users, dates) = match whose {
            Whose::All => (None, all),
            Whose::Touched => {
                let users = self.touched_or_due(&mut steps, &all, &bounds)?;
                let dates = all.semi(users.clone(), self.keys())?;
                (Some(users), steps.add("their_dates", dates))
            }
        };
        let churns = match self.silence() {
            Silence::Days(days) => self.away_for(days, users, dates, &bounds, &mut steps)?,
            Silence::Period => self.away_for_a_period(dates, &bounds, &mut steps)?,
        };
        let period = named("period", self.start(Expr::column("churn_date")));
        steps.add("churned", churns.project(vec![period, same(&self.user.name), same("last_activity_date"), same("churn_date")])?);
        Ok(steps)
    }

    /// A user who returned was churned before; one who did not is, when `as_of` is far enough from the last date. So the
    /// dates of each user need to be put in order for the returns alone.
    fn away_for(&self, days: i64, users: Option<Rel>, dates: Rel, bounds: &Rel, steps: &mut Steps) -> Result<Rel, RelError> {
        let user = &self.user.name;
        let churn = |last: Expr, churn: Expr| vec![same(user), named("last_activity_date", last), named("churn_date", churn)];
        let date = Expr::column("churn_date");
        let back = churn(date.clone().call(Function::AddDays(-days)), date);
        let back = self.tables.resurrections.scan().project(back)?;
        let back = match users {
            Some(users) => back.semi(users, self.keys())?,
            None => back,
        };
        let back = steps.add("came_back", back);
        let last = named("xt_last_date", AggregateFunction::Max(Expr::column("xt_date")));
        let lasts = dates.aggregate(self.keys(), vec![last])?;
        let lasts = self.beside_as_of("lasts", lasts, bounds, steps)?;
        let last = Expr::column("xt_last_date");
        let away = days_between(&Expr::column("xt_last"), &last).binary(BinaryOp::GtEq, Expr::int(days));
        let gone = lasts.filter(away)?.project(churn(last.clone(), self.churn_date(last)))?;
        Ok(steps.add("churns", Rel::union(vec![back, gone])?))
    }

    /// Periods of activity that are followed by one without, which ends by `as_of`.
    fn away_for_a_period(&self, dates: Rel, bounds: &Rel, steps: &mut Steps) -> Result<Rel, RelError> {
        let user = &self.user.name;
        let periods = dates.project(vec![same(user), named("xt_period", self.start(Expr::column("xt_date"))), same("xt_date")])?;
        let last = named("xt_last_date", AggregateFunction::Max(Expr::column("xt_date")));
        let periods = periods.aggregate(&[user.clone(), "xt_period".to_owned()], vec![last])?;
        let periods = steps.add("active_periods", periods);
        let following = named("xt_period", self.next(Expr::column("xt_period")));
        let silent = periods.clone().project(vec![same(user), following, same("xt_last_date")])?;
        let silent = silent.anti(periods, &[user.clone(), "xt_period".to_owned()])?;
        let silent = self.beside_as_of("silent_periods", silent, bounds, steps)?;
        let after = Expr::column("xt_last").call(Function::AddDays(1));
        let silent = silent.filter(self.next(Expr::column("xt_period")).lt_eq(after))?;
        let churn_date = self.next(Expr::column("xt_period")).call(Function::AddDays(-1));
        let columns = vec![same(user), named("last_activity_date", Expr::column("xt_last_date")), named("churn_date", churn_date)];
        Ok(steps.add("churns", silent.project(columns)?))
    }

    /// The rows, each with `as_of` as `xt_last`.
    fn beside_as_of(&self, step: &str, rows: Rel, bounds: &Rel, steps: &mut Steps) -> Result<Rel, RelError> {
        let own: Vec<String> = rows.column_names().map(str::to_owned).collect();
        let rows = rows.project(own.iter().map(|name| same(name)).chain([named("xt_one", Expr::int(1))]).collect())?;
        let rows = steps.add(step, rows);
        let columns = own.iter().map(|name| named(name, Expr::right(name))).chain([named("xt_last", Expr::left("xt_last"))]);
        // The left relation of a join is the one that engines hold.
        let rows = bounds.clone().join(JoinKind::Inner, rows, &on(&["xt_one"]), columns.collect())?;
        Ok(steps.add(&format!("{step}_as_of"), rows))
    }

    /// The touched users, and those whose churn comes or goes because `as_of` moved.
    ///
    /// Other users' churn differs only where it falls due between what `as_of` was and what it is. What it was the other
    /// tables tell, which stand as they were until their tasks are done: it was not before the greatest date of a churn and
    /// of a period, and no churn fell due between that date and it.
    fn touched_or_due(&self, steps: &mut Steps, dates: &Rel, bounds: &Rel) -> Result<Rel, RelError> {
        let touched = self.events.touched(steps)?;
        if self.as_of().is_some() {
            return Ok(touched);
        }
        let day = |rel: Rel, name: &str| rel.project(vec![named("xt_date", Expr::column(name))]);
        let date = || Expr::column("xt_date");
        let known = vec![day(self.tables.growth_summary.scan(), "period")?, day(self.tables.churn.scan(), "churn_date")?];
        let was = Rel::union(known)?.aggregate(&[], vec![named("xt_date", AggregateFunction::Max(date()))])?;
        let ends = Rel::union(vec![was, day(bounds.clone(), "xt_last")?])?;
        let ends =
            ends.aggregate(&[], vec![named("xt_from", AggregateFunction::Min(date())), named("xt_last", AggregateFunction::Max(date()))])?;
        let after = Expr::column("xt_from").call(Function::AddDays(1));
        let moved = steps.add_small("as_of_moved", ends.project(vec![named("xt_first", after), same("xt_last")])?);
        let due = self.due_on(Rel::periods(moved, Period::Day, "xt_day")?, dates, steps)?;
        let users = Rel::union(vec![touched, due])?.aggregate(self.keys(), Vec::new())?;
        Ok(steps.add_small(TOUCHED_OR_DUE, users))
    }

    /// The users whose churn falls due on one of the days, if they stay away until then.
    fn due_on(&self, days: Rel, dates: &Rel, steps: &mut Steps) -> Result<Rel, RelError> {
        let day = Expr::column("xt_day");
        match self.silence() {
            Silence::Days(threshold) => {
                let last_dates = vec![named("xt_date", day.call(Function::AddDays(-threshold)))];
                let last_dates = steps.add_small("last_dates_due", days.project(last_dates)?);
                dates.clone().semi(last_dates, &["xt_date".to_owned()])?.select(self.keys())
            }
            Silence::Period => {
                let is_last = self.next(day.clone()).eq(day.clone().call(Function::AddDays(1)));
                let ended = days.filter(is_last)?.project(vec![named("xt_silent", self.start(day))])?;
                let ended = steps.add_small("periods_ended", ended);
                let before = named("xt_silent", self.next(Expr::column("xt_date")));
                dates.clone().project(vec![same(&self.user.name), before])?.semi(ended, &["xt_silent".to_owned()])?.select(self.keys())
            }
        }
    }
}

//! What always holds of the stored tables. Their sizes are those of users and dates, so nothing here holds them in memory:
//! tables are compared by putting their rows together and aggregating.

use qetl_core::{
    Concerns, RuleChange, Type,
    ir::{AggregateFunction, Expr, JoinKind, Rel, RelError, Steps, WindowFunction},
    plan::Invariant,
};

use super::{
    Growth, Whose, by,
    churn::Silence,
    days_between, named, on, same,
    tables::{COUNTS, Table, Tables},
};

impl Growth<'_> {
    pub(super) fn invariants(&self) -> Result<Vec<Invariant>, RelError> {
        let invariant = |name: &str, about: &str, steps: Steps| Invariant { name: name.to_owned(), about: about.to_owned(), steps };
        let silence = match self.silence() {
            Silence::Days(_) => "a churn is the threshold after a date of activity, with none between, that day included",
            Silence::Period => "a churn is the last day of a period without activity that follows one with it",
        };
        let base = match self.silence() {
            Silence::Days(_) => "`net_growth` is acquisitions - churn + resurrections; `user_base` is its running sum, never negative",
            Silence::Period => {
                "`net_growth` is acquisitions - churn + resurrections; `user_base` is its running sum: in a period that has ended, the active users"
            }
        };
        Ok(vec![
            invariant("activity_is_as_landed", "the activity is what all landed events give", self.differing_from_landed()?),
            invariant("one_activity_row", "a user has one row in `activity_periods` for each period", self.doubled_activity()?),
            invariant(
                "acquired_once",
                "every active user is acquired once, in the first period of activity, and nobody else is",
                self.wrongly_acquired()?,
            ),
            invariant("churn_after_silence", silence, self.churned_while_active()?),
            invariant("churn_up_to_as_of", "no churn lies after `as_of`", self.churned_too_late()?),
            invariant("one_return_a_churn", "a churn is there once, and has one resurrection at most", self.returned_wrongly()?),
            invariant(
                "return_after_churn",
                "a resurrection lies after its churn; `days_inactive` counts from the last activity",
                self.returned_too_early()?,
            ),
            invariant(
                "summary_counts",
                "the summary has every period from the first activity to `as_of`, and counts what the tables hold",
                self.miscounted()?,
            ),
            invariant("user_base", base, self.wrong_base()?),
            invariant(
                "final_periods",
                "a period is final when `as_of` lies after its last day: all but the last one",
                self.wrongly_final()?,
            ),
        ])
    }

    pub(super) fn rule_changes(&self) -> Result<Vec<RuleChange>, RelError> {
        let change = |about: &str, steps: Steps| RuleChange { since: 1, about: about.to_owned(), concerns: Concerns::AllIf(steps) };
        let mut all = vec![change("a period is final when `as_of` lies after its last day", self.wrongly_final()?)];
        if self.properties.timezone.as_ref().is_some_and(|zone| zone.value != "UTC") {
            all.push(change("the rules of time zones go on after 2099", self.differing_from_landed()?));
        }
        Ok(all)
    }

    fn differing_from_landed(&self) -> Result<Steps, RelError> {
        let mut steps = self.by_date(Whose::All)?;
        let Some(last) = steps.0.pop() else { return Ok(steps) };
        let landed = steps.add(&last.name, last.rel);
        let names: Vec<String> = self.dates().schema.names().map(str::to_owned).collect();
        let side = |rel: Rel, stored: i64| {
            rel.project(names.iter().map(|name| same(name)).chain([named("xt_stored", Expr::int(stored))]).collect())
        };
        let both = steps.add("both", Rel::union(vec![side(self.dates().scan(), 1)?, side(landed, 0)?])?);
        let sum = named("xt_stored", AggregateFunction::Sum(Expr::column("xt_stored")));
        let both = both.aggregate(&names, vec![sum, named("xt_rows", AggregateFunction::Count)])?;
        let pair = Expr::column("xt_rows").eq(Expr::int(2)).and(Expr::column("xt_stored").eq(Expr::int(1)));
        steps.add("rows", both.filter(pair.not())?);
        Ok(steps)
    }

    fn doubled_activity(&self) -> Result<Steps, RelError> {
        let mut steps = Steps::default();
        let keys = [self.user.name.clone(), "period".to_owned()];
        let rows = self.tables.activity_periods.scan().aggregate(&keys, vec![named("xt_rows", AggregateFunction::Count)])?;
        steps.add("rows", rows.filter(Expr::column("xt_rows").gt(Expr::int(1)))?);
        Ok(steps)
    }

    fn wrongly_acquired(&self) -> Result<Steps, RelError> {
        let mut steps = Steps::default();
        let Tables { activity_periods, acquisitions, .. } = &self.tables;
        let period = || Expr::column("period");
        let side = |table: &Table, active: Expr, acquired: Expr, times: i64| {
            let columns = vec![
                same(&self.user.name),
                named("xt_first_period", active),
                named("xt_acquired_in", acquired),
                named("xt_acquisitions", Expr::int(times)),
            ];
            table.scan().project(columns)
        };
        let null = || Expr::null(Type::Date);
        let both = vec![side(activity_periods, period(), null(), 0)?, side(acquisitions, null(), period(), 1)?];
        let both = steps.add("both", Rel::union(both)?);
        let least = |name: &str| named(name, AggregateFunction::Min(Expr::column(name)));
        let sum = named("xt_acquisitions", AggregateFunction::Sum(Expr::column("xt_acquisitions")));
        let users = both.aggregate(self.keys(), vec![least("xt_first_period"), least("xt_acquired_in"), sum])?;
        let differ = Expr::column("xt_first_period").is_distinct(Expr::column("xt_acquired_in"));
        steps.add("rows", users.filter(differ.or(Expr::column("xt_acquisitions").not_eq(Expr::int(1))))?);
        Ok(steps)
    }

    /// Churns stand beside the dates that they follow, and these in order.
    fn churned_while_active(&self) -> Result<Steps, RelError> {
        let mut steps = Steps::default();
        let user = &self.user.name;
        let column = Expr::column;
        let row = |date: &str, churn: Expr, period: Expr, active: i64| {
            let date = named("last_activity_date", column(date));
            vec![same(user), date, named("churn_date", churn), named("period", period), named("xt_active", Expr::int(active))]
        };
        let null = || Expr::null(Type::Date);
        let active = self.active_dates()?.project(row("xt_date", null(), null(), 1))?;
        let churns = self.tables.churn.scan().project(row("last_activity_date", column("churn_date"), column("period"), 0))?;
        let both = steps.add("both", Rel::union(vec![active, churns])?);
        let greatest = |name: &str| named(name, AggregateFunction::Max(column(name)));
        let keys = [user.clone(), "last_activity_date".to_owned()];
        let dates = both.aggregate(&keys, ["churn_date", "period", "xt_active"].map(greatest).to_vec())?;
        let dates = steps.add("dates", dates);
        let next = WindowFunction::Lead(column("last_activity_date"));
        let dates = steps.add("in_order", dates.window("xt_next_date", next, self.keys(), by(&["last_activity_date"]))?);
        let due = self.churn_date(column("last_activity_date"));
        let wrong = [
            column("xt_active").eq(Expr::int(0)),
            column("churn_date").not_eq(due),
            column("xt_next_date").lt_eq(column("churn_date")),
            column("period").not_eq(self.start(column("churn_date"))),
        ];
        steps.add("rows", dates.filter(column("churn_date").is_null().not().and(Expr::any(wrong)))?);
        Ok(steps)
    }

    fn churned_too_late(&self) -> Result<Steps, RelError> {
        let mut steps = Steps::default();
        let dates = steps.add("dates", self.active_dates()?);
        let bounds = self.bounds(&mut steps, &dates)?;
        let columns = [&self.user.name, "churn_date"].map(same).into_iter().chain([named("xt_one", Expr::int(1))]);
        let churns = steps.add("churns", self.tables.churn.scan().project(columns.collect())?);
        let right = [&self.user.name, "churn_date"].map(|name| named(name, Expr::right(name)));
        let columns = right.into_iter().chain([named("xt_as_of", Expr::left("xt_last"))]).collect();
        let churns = steps.add("churns_as_of", bounds.join(JoinKind::Inner, churns, &on(&["xt_one"]), columns)?);
        steps.add("rows", churns.filter(Expr::column("churn_date").gt(Expr::column("xt_as_of")))?);
        Ok(steps)
    }

    fn returned_wrongly(&self) -> Result<Steps, RelError> {
        let mut steps = Steps::default();
        let sides = ["xt_churns", "xt_returns"];
        let side = |table: &Table, own: &str| {
            let flag = |name: &str| named(name, Expr::int(i64::from(name == own)));
            table.scan().project([&self.user.name, "churn_date"].map(same).into_iter().chain(sides.map(flag)).collect())
        };
        let both = vec![side(&self.tables.churn, "xt_churns")?, side(&self.tables.resurrections, "xt_returns")?];
        let both = steps.add("both", Rel::union(both)?);
        let sums = sides.map(|name| named(name, AggregateFunction::Sum(Expr::column(name))));
        let churns = both.aggregate(&[self.user.name.clone(), "churn_date".to_owned()], sums.to_vec())?;
        let wrong = Expr::column("xt_churns").not_eq(Expr::int(1)).or(Expr::column("xt_returns").gt(Expr::int(1)));
        steps.add("rows", churns.filter(wrong)?);
        Ok(steps)
    }

    /// Resurrections stand beside the churns that they end.
    fn returned_too_early(&self) -> Result<Steps, RelError> {
        let mut steps = Steps::default();
        let column = Expr::column;
        let dates = ["last_activity_date", "return_date", "period"];
        let side = |table: &Table, own: &[&str], days: Expr| {
            let date = |name: &str| named(name, if own.contains(&name) { column(name) } else { Expr::null(Type::Date) });
            let keys = [&self.user.name, "churn_date"].map(same).into_iter();
            table.scan().project(keys.chain(dates.map(date)).chain([named("days_inactive", days)]).collect())
        };
        let churns = side(&self.tables.churn, &["last_activity_date"], Expr::null(Type::Int))?;
        let returns = side(&self.tables.resurrections, &["return_date", "period"], column("days_inactive"))?;
        let both = steps.add("both", Rel::union(vec![churns, returns])?);
        let known = dates.into_iter().chain(["days_inactive"]).map(|name| named(name, AggregateFunction::Max(column(name))));
        let returns = steps.add("returns", both.aggregate(&[self.user.name.clone(), "churn_date".to_owned()], known.collect())?);
        let wrong = [
            column("return_date").lt_eq(column("churn_date")),
            column("days_inactive").not_eq(days_between(&column("return_date"), &column("last_activity_date"))),
            column("period").not_eq(self.start(column("return_date"))),
        ];
        steps.add("rows", returns.filter(Expr::any(wrong))?);
        Ok(steps)
    }

    /// By period, how much the summary has too little: of rows, and of each figure.
    fn miscounted(&self) -> Result<Steps, RelError> {
        let mut steps = Steps::default();
        let dates = steps.add("dates", self.active_dates()?);
        let bounds = self.bounds(&mut steps, &dates)?;
        let counts = self.counts(&mut steps, &bounds)?;
        let figures = || std::iter::once("xt_rows").chain(COUNTS);
        let side = |rel: Rel, sign: i64| {
            let signed = |name: &str| if sign < 0 { Expr::int(0).minus(Expr::column(name)) } else { Expr::column(name) };
            let columns = [same("period"), named("xt_rows", Expr::int(sign))].into_iter();
            rel.project(columns.chain(COUNTS.map(|name| named(name, signed(name)))).collect())
        };
        let both = steps.add("both", Rel::union(vec![side(counts, 1)?, side(self.tables.growth_summary.scan(), -1)?])?);
        let sums = figures().map(|name| named(name, AggregateFunction::Sum(Expr::column(name)))).collect();
        let differences = both.aggregate(&["period".to_owned()], sums)?;
        steps.add("rows", differences.filter(Expr::any(figures().map(|name| Expr::column(name).not_eq(Expr::int(0)))))?);
        Ok(steps)
    }

    fn wrong_base(&self) -> Result<Steps, RelError> {
        let mut steps = Steps::default();
        let column = Expr::column;
        let sum = WindowFunction::RunningSum(column("net_growth"));
        let sums = steps.add("sums", self.tables.growth_summary.scan().window("xt_sum", sum, &[], by(&["period"]))?);
        let net = column("acquisitions").minus(column("churn")).plus(column("resurrections"));
        let mut wrong =
            vec![column("net_growth").not_eq(net), column("user_base").not_eq(column("xt_sum")), column("user_base").lt(Expr::int(0))];
        if let Silence::Period = self.silence() {
            wrong.push(column("is_final").and(column("user_base").not_eq(column("active_users"))));
        }
        steps.add("rows", sums.filter(Expr::any(wrong))?);
        Ok(steps)
    }

    fn wrongly_final(&self) -> Result<Steps, RelError> {
        let mut steps = Steps::default();
        let dates = steps.add("dates", self.active_dates()?);
        let bounds = self.bounds(&mut steps, &dates)?;
        let columns = ["period", "is_final"].map(same).into_iter().chain([named("xt_one", Expr::int(1))]);
        let summary = steps.add("summary", self.tables.growth_summary.scan().project(columns.collect())?);
        let columns = vec![
            named("period", Expr::right("period")),
            named("is_final", Expr::right("is_final")),
            named("xt_as_of", Expr::left("xt_last")),
            named("xt_is_past", self.is_final(Expr::right("period"), Expr::left("xt_last"))),
        ];
        let summary = steps.add("summary_as_of", bounds.join(JoinKind::Inner, summary, &on(&["xt_one"]), columns)?);
        steps.add(
            "rows",
            summary.filter(Expr::column("is_final").not_eq(Expr::column("xt_is_past")))?.select(["period", "is_final", "xt_as_of"])?,
        );
        Ok(steps)
    }
}

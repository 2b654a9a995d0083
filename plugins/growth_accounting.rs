//! Counts, period by period, the users who come, stay away and return.

mod churn;
mod invariants;
mod tables;

use qetl_core::{
    Dataset, DatasetName, Flow, FlowType, Problems, RuleChange, Task, Type,
    decode::Sp,
    ir::{AggregateFunction, Expr, Function, JoinKind, Order, Period, Rel, RelError, Steps, WindowFunction},
    plan::{Check, Dag, DagNode, DatasetKind, Expand, InputType, Invariant, ReplaceKeys, Rule, WriteMode},
    problem::Problem,
    register_flow_type,
    registry::BatchRules,
    schema::Column,
    suggest,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::tables::{COUNTS, Table, Tables};
use crate::events::{Events, Named, needed_columns, nothing_to_read, presume_timestamp};

/// `[properties]` of growth accounting.
#[derive(Debug, Deserialize, JsonSchema)]
struct GrowthAccounting {
    /// The column that says whose event it is.
    #[schemars(extend("default" = "user_id"))]
    user_id_column: Option<Sp<String>>,
    /// The same as `user_id_column`.
    user_id_field: Option<Sp<String>>,
    /// The column that says when the event was, a timestamp or a date.
    #[schemars(extend("default" = "timestamp"))]
    timestamp_column: Option<Sp<String>>,
    /// The same as `timestamp_column`.
    timestamp_field: Option<Sp<String>>,
    /// What is counted together: days, weeks from Monday on, or months.
    #[serde(default)]
    period_type: Period,
    /// When a user is churned.
    #[serde(default)]
    churn: ChurnRule,
    /// A user is churned that many days after the last date of activity, if none came up to then. Unknown with
    /// `churn = "period"`.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = 30))]
    churn_threshold_days: Option<Sp<u32>>,
    /// The time zone that gives a timestamp its date, by its IANA name.
    #[schemars(extend("default" = "UTC"))]
    timezone: Option<Sp<String>>,
    /// The last date that counts, such as `2024-12-31`; the greatest date of an event without it.
    as_of: Option<Sp<String>>,
    /// More periods than these, from the first activity on, are taken for a mistyped date, and refused.
    #[serde(default = "ten_thousand")]
    #[schemars(range(min = 1), extend("default" = 10_000))]
    max_periods: u32,
}

/// When a user is churned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ChurnRule {
    /// After `churn_threshold_days` without activity.
    #[default]
    Threshold,
    /// At the end of a period without activity that follows one with activity.
    Period,
}

fn ten_thousand() -> u32 {
    10_000
}

/// The names of all time zones.
fn time_zones() -> impl Iterator<Item = String> {
    jiff::tz::db().available().map(|name| name.as_str().to_owned())
}

impl FlowType for GrowthAccounting {
    const NAME: &'static str = "growth_accounting";
    const SUMMARY: &'static str = "how many users come, stay away and return, by day, week or month";
    const INPUT_KEYS: &'static [&'static str] = &["primary_key", "on_null_key"];

    fn problems(&self, flow: &Flow) -> Problems {
        let (user, time) = (self.user(), self.time());
        let mut problems = user.problems(flow);
        problems.append(time.problems(flow));
        problems.0.extend(nothing_to_read(flow, "growth is counted from events that were loaded"));
        if user.name() == time.name() {
            let what = format!("`{}` cannot say both whose the event is and when it was", user.name());
            let span = if time.given == [None, None] { user.span(flow) } else { time.span(flow) };
            problems.push(Problem::new("qetl::decode::two_roles", span, what).label("one column in two roles"));
        }
        if let (ChurnRule::Period, Some(days)) = (self.churn, &self.churn_threshold_days) {
            let what = "`churn_threshold_days` does nothing here: with `churn = \"period\"` a silence is a whole period";
            let help = "remove the key, or count days with `churn = \"threshold\"`";
            problems.push(Problem::new("qetl::decode::inert_key", days.span, what).label("no threshold counts").help(help));
        }
        if let Some(zone) = self.timezone.as_ref().filter(|zone| !time_zones().any(|known| known == zone.value)) {
            let known: Vec<String> = time_zones().collect();
            let near = suggest::nearest(zone, known.iter().map(String::as_str));
            let near = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
            let help = format!("{near}it takes IANA names, such as `UTC` or `Europe/Berlin`");
            let what = format!("`{}` is not a time zone", zone.value);
            problems.push(Problem::new("qetl::decode::timezone", zone.span, what).label("unknown time zone").help(help));
        }
        if let Some(day) = self.as_of.as_ref().filter(|day| !is_date(day)) {
            let what = format!("`{}` is not a date", day.value);
            problems.push(Problem::new("qetl::decode::as_of", day.span, what).label("no such date").help("write it as `2024-12-31`"));
        }
        problems
    }

    fn batches(&self, flow: &Flow) -> BatchRules {
        // Of a declared key the first row counts.
        BatchRules { build_on_earlier: false, row_order_counts: !flow.input.primary_key.is_empty(), ..BatchRules::default() }
    }

    fn key_columns(&self, flow: &Flow) -> Vec<String> {
        needed_columns(flow, self.user().name(), self.time().name())
    }

    /// What is no time is refused with its place, and a column without values is none of text.
    fn pinned_type(&self, _flow: &Flow, _columns: &[InputType], column: &InputType, _decimals: Option<u8>) -> Type {
        if column.name != self.time().name() || column.ty == Type::Date { column.ty } else { Type::Timestamp }
    }

    fn datasets(&self, cx: &Expand<'_>) -> Result<Vec<Dataset>, Problems> {
        self.expanded(cx, |growth| growth.datasets())
    }

    fn dag(&self, cx: &Expand<'_>) -> Result<Dag, Problems> {
        self.expanded(cx, |growth| growth.dag())
    }

    fn instructions(&self, cx: &Expand<'_>) -> Result<Vec<Task>, Problems> {
        self.expanded(cx, |growth| growth.tasks())
    }

    fn invariants(&self, cx: &Expand<'_>) -> Result<Vec<Invariant>, Problems> {
        self.expanded(cx, |growth| Ok(growth.invariants()?))
    }

    fn rule_changes(&self, cx: &Expand<'_>) -> Result<Vec<RuleChange>, Problems> {
        self.expanded(cx, |growth| Ok(growth.rule_changes()?))
    }
}

/// Four digits, so that dates sort as texts do, in dialects that have no others.
fn is_date(text: &str) -> bool {
    let is_plain = |(at, byte): (usize, u8)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() };
    text.len() == 10 && text.bytes().enumerate().all(is_plain) && Type::Date.has_literal(text)
}

impl GrowthAccounting {
    fn user(&self) -> Named<'_> {
        let given = [self.user_id_column.as_ref(), self.user_id_field.as_ref()];
        Named { keys: ["user_id_column", "user_id_field"], given, default: "user_id" }
    }

    fn time(&self) -> Named<'_> {
        let given = [self.timestamp_column.as_ref(), self.timestamp_field.as_ref()];
        Named { keys: ["timestamp_column", "timestamp_field"], given, default: "timestamp" }
    }

    fn expanded<T>(&self, cx: &Expand<'_>, make: impl FnOnce(&Growth<'_>) -> Result<T, Problems>) -> Result<T, Problems> {
        let input = presume_timestamp(cx.input, self.time().name());
        make(&Growth::of(self, &Expand { flow: cx.flow, input: &input })?)
    }
}

/// A flow whose columns have their types.
///
/// Who was active on which date is worked out from the events once, and everything else from that. So much is each user's
/// own: activity, acquisition, resurrections. A batch changes them for the users of its events alone. Churn needs `as_of`
/// too, so that it also changes for those whose churn falls due; and the summary all users.
struct Growth<'a> {
    properties: &'a GrowthAccounting,
    cx: &'a Expand<'a>,
    user: Column,
    time: Column,
    events: Events,
    tables: Tables,
}

/// Whose rows are derived.
#[derive(Debug, Clone, Copy)]
enum Whose {
    /// All users'.
    All,
    /// Those of the users for whom the batch may change them.
    Touched,
}

impl<'a> Growth<'a> {
    fn of(properties: &'a GrowthAccounting, cx: &'a Expand<'a>) -> Result<Self, Problems> {
        let flow = cx.flow;
        let column = |named: &Named<'_>| {
            let found = cx.input.iter().find(|column| column.name == named.name());
            Column::new(named.name(), found.map_or(Type::Text, |column| column.ty))
        };
        let (user, time) = (column(&properties.user()), column(&properties.time()));
        let mut problems = Problems::default();
        match (time.ty, &properties.timezone) {
            (Type::Timestamp, _) | (Type::Date, None) => (),
            (Type::Date, Some(zone)) => {
                let what = format!("`timezone` does nothing here: `{}` is a date, and used as it is", time.name);
                problems.push(Problem::new("qetl::expand::inert_key", zone.span, what).help("remove the key"));
            }
            (Type::Text | Type::Int | Type::Float | Type::Decimal { .. } | Type::Bool, _) => {
                let what = format!("`{}` is of type {}, so it cannot say when an event was", time.name, time.ty);
                let help = "it takes a column whose `schema_type` is `timestamp` or `date`";
                problems.push(
                    Problem::new("qetl::expand::timestamp_column", properties.time().span(flow), what)
                        .label("neither timestamp nor date")
                        .help(help),
                );
            }
        }
        let tables = Tables::of(properties, cx, &user, &time).map_err(|more| problems.append(more));
        let Ok(tables) = tables else { return Err(problems) };
        problems.or(())?;
        let events = Events::of(cx, &user.name, &time.name, &[])?;
        Ok(Self { properties, cx, user, time, events, tables })
    }

    fn datasets(&self) -> Result<Vec<Dataset>, Problems> {
        let tables = self.tables.all().map(|table| Dataset {
            name: table.name.clone(),
            schema: table.schema.clone(),
            kind: DatasetKind::Derived,
            about: table.about.to_owned(),
        });
        let parked = self.events.parked_dataset(self.cx)?;
        Ok(std::iter::once(self.cx.landing()?).chain(parked).chain(tables).collect())
    }

    fn dag(&self) -> Result<Dag, Problems> {
        let Tables { activity_dates, activity_periods, acquisitions, churn, resurrections, growth_summary } = &self.tables;
        let landing = self.cx.dataset("landing");
        let node = |dataset: &DatasetName, from: &[&DatasetName]| DagNode {
            dataset: dataset.clone(),
            from: from.iter().map(|name| (*name).clone()).collect(),
        };
        let dates = &self.dates().name;
        let mut nodes = vec![node(&landing, &[])];
        nodes.extend(self.events.parked_dataset(self.cx)?.map(|parked| node(&parked.name, &[&landing])));
        nodes.push(node(dates, &[&landing]));
        nodes.extend(activity_dates.is_some().then(|| node(&activity_periods.name, &[dates])));
        nodes.push(node(&acquisitions.name, &[dates]));
        nodes.push(node(&resurrections.name, &[dates]));
        let returns = (self.properties.churn == ChurnRule::Threshold).then_some(&resurrections.name);
        nodes.push(node(&churn.name, &[dates].into_iter().chain(returns).collect::<Vec<_>>()));
        let counted = [acquisitions, churn, resurrections, activity_periods].map(|table| &table.name);
        let also = activity_dates.is_some().then_some(dates);
        nodes.push(node(&growth_summary.name, &counted.into_iter().chain(also).collect::<Vec<_>>()));
        Ok(Dag(nodes))
    }

    fn tasks(&self) -> Result<Vec<Task>, Problems> {
        let Tables { activity_dates, activity_periods, acquisitions, churn, resurrections, growth_summary } = &self.tables;
        let mut tasks: Vec<Task> = self.events.parked_task(self.cx)?.into_iter().collect();
        let checks = self.events.checks()?.into_iter().chain([self.periods_check()?]).collect();
        tasks.push(Task { checks, ..self.by_user(self.dates(), TOUCHED, Self::by_date)? });
        if activity_dates.is_some() {
            tasks.push(self.by_user(activity_periods, TOUCHED, Self::by_period)?);
        }
        tasks.push(self.by_user(acquisitions, TOUCHED, Self::acquired)?);
        tasks.push(self.by_user(resurrections, TOUCHED, Self::returned)?);
        tasks.push(self.by_user(churn, if self.as_of().is_some() { TOUCHED } else { churn::TOUCHED_OR_DUE }, Self::churned)?);
        tasks.push(task(growth_summary, self.summed_up()?, WriteMode::ReplaceAll));
        Ok(tasks)
    }

    /// A task that derives a table user by user; the step `touched` gives the users.
    fn by_user(&self, target: &Table, touched: &str, rows: fn(&Self, Whose) -> Result<Steps, RelError>) -> Result<Task, RelError> {
        let replaced = ReplaceKeys { keys: self.keys().to_vec(), touched: touched.to_owned(), whole: rows(self, Whose::All)? };
        Ok(task(target, rows(self, Whose::Touched)?, WriteMode::ReplaceKeys(Box::new(replaced))))
    }

    /// The rows of these users.
    fn of_users(&self, rows: Rel, whose: Whose, steps: &mut Steps) -> Result<Rel, RelError> {
        match whose {
            Whose::All => Ok(rows),
            Whose::Touched => rows.semi(self.events.touched(steps)?, self.keys()),
        }
    }

    /// The table of who was active on which date.
    fn dates(&self) -> &Table {
        self.tables.activity_dates.as_ref().unwrap_or(&self.tables.activity_periods)
    }

    /// The column of that table which has the date.
    fn date(&self) -> &'static str {
        if self.tables.activity_dates.is_some() { "activity_date" } else { "period" }
    }

    fn keys(&self) -> &[String] {
        std::slice::from_ref(&self.user.name)
    }

    fn start(&self, date: Expr) -> Expr {
        date.call(Function::PeriodStart(self.properties.period_type))
    }

    fn as_of(&self) -> Option<Expr> {
        self.properties.as_of.as_ref().map(|day| Expr::text(day).cast(Type::Date))
    }

    /// The one look at the events.
    fn by_date(&self, whose: Whose) -> Result<Steps, RelError> {
        let mut steps = Steps::default();
        let at = Expr::column(&self.time.name);
        let zone = self.properties.timezone.as_ref().map_or("UTC", |zone| zone.as_str());
        let date = if self.time.ty == Type::Date { at.clone() } else { at.clone().call(Function::DateIn { zone: zone.to_owned() }) };
        let events = match whose {
            Whose::All => self.events.all(&mut steps)?,
            Whose::Touched => {
                let touched = self.events.touched(&mut steps)?;
                self.events.of_touched(&mut steps, &touched)?
            }
        };
        let events = events.project(vec![same(&self.user.name), named(self.date(), date), named("xt_at", at)])?;
        let events = match self.as_of() {
            Some(as_of) => steps.add("events", events).filter(Expr::column(self.date()).lt_eq(as_of))?,
            None => events,
        };
        let at = || Expr::column("xt_at");
        let activity = vec![
            named("activity_count", AggregateFunction::Count),
            named("first_activity_at", AggregateFunction::Min(at())),
            named("last_activity_at", AggregateFunction::Max(at())),
        ];
        let keys = [self.user.name.clone(), self.date().to_owned()];
        steps.add("by_date", events.aggregate(&keys, activity)?);
        Ok(steps)
    }

    fn by_period(&self, whose: Whose) -> Result<Steps, RelError> {
        let mut steps = Steps::default();
        let measures = ["activity_count", "first_activity_at", "last_activity_at"];
        let period = named("period", self.start(Expr::column(self.date())));
        let columns = [same(&self.user.name), period].into_iter().chain(measures.map(same)).collect();
        let dates = self.of_users(self.dates().scan().project(columns)?, whose, &mut steps)?;
        let dates = steps.add("dates", dates);
        let [count, first, last] = measures.map(Expr::column);
        let functions = [AggregateFunction::Sum(count), AggregateFunction::Min(first), AggregateFunction::Max(last)];
        let totals = measures.map(str::to_owned).into_iter().zip(functions).collect();
        steps.add("by_period", dates.aggregate(&[self.user.name.clone(), "period".to_owned()], totals)?);
        Ok(steps)
    }

    fn acquired(&self, whose: Whose) -> Result<Steps, RelError> {
        let mut steps = Steps::default();
        let first = |name: &str, of: &str| (name.to_owned(), AggregateFunction::Min(Expr::column(of)));
        let firsts = vec![first("xt_first", self.date()), first("first_activity_at", "first_activity_at")];
        let dates = self.dates().scan().select([self.user.name.as_str(), self.date(), "first_activity_at"])?;
        let dates = self.of_users(dates, whose, &mut steps)?;
        let firsts = steps.add("firsts", dates.aggregate(self.keys(), firsts)?);
        let period = named("period", self.start(Expr::column("xt_first")));
        steps.add("acquired", firsts.project(vec![period, same(&self.user.name), same("first_activity_at")])?);
        Ok(steps)
    }

    fn summed_up(&self) -> Result<Steps, RelError> {
        let mut steps = Steps::default();
        let dates = steps.add("dates", self.active_dates()?);
        let bounds = self.bounds(&mut steps, &dates)?;
        let counts = self.counts(&mut steps, &bounds)?;
        let plus = |a: Expr, b: &str| a.plus(Expr::column(b));
        let [acquisitions, churn] = ["acquisitions", "churn"].map(Expr::column);
        let mut columns: Vec<_> = std::iter::once("period").chain(COUNTS).map(same).collect();
        columns.push(named("net_growth", plus(acquisitions.minus(churn), "resurrections")));
        columns.push(named("xt_one", Expr::int(1)));
        let net = counts.project(columns)?;
        let net = net.window("user_base", WindowFunction::RunningSum(Expr::column("net_growth")), &[], by(&["period"]))?;
        let net = steps.add("net", net);
        let is_final = self.is_final(Expr::right("period"), Expr::left("xt_last"));
        let names = self.tables.growth_summary.schema.names();
        let columns = names.map(|name| named(name, if name == "is_final" { is_final.clone() } else { Expr::right(name) }));
        let summary = bounds.join(JoinKind::Inner, net, &on(&["xt_one"]), columns.collect())?;
        steps.add("summary", summary);
        Ok(steps)
    }

    /// What each period of the calendar counts, as the tables have it.
    fn counts(&self, steps: &mut Steps, bounds: &Rel) -> Result<Rel, RelError> {
        let Tables { acquisitions, churn, resurrections, activity_periods, .. } = &self.tables;
        let row = |counted: &str, count: Expr| {
            let zero = |name: &str| named(name, if name == counted { count.clone() } else { Expr::int(0) });
            std::iter::once(same("period")).chain(COUNTS.map(zero)).collect::<Vec<_>>()
        };
        let mut all = vec![Rel::periods(bounds.clone(), self.properties.period_type, "period")?.project(row("", Expr::int(0)))?];
        for (name, table) in COUNTS.into_iter().zip([acquisitions, churn, resurrections, activity_periods]) {
            let rows = vec![named("xt_rows", AggregateFunction::Count)];
            let counted = table.scan().aggregate(&["period".to_owned()], rows)?;
            all.push(steps.add(&format!("{name}_by_period"), counted).project(row(name, Expr::column("xt_rows")))?);
        }
        let all = steps.add("counted", Rel::union(all)?);
        let sums = COUNTS.map(|name| (name.to_owned(), AggregateFunction::Sum(Expr::column(name))));
        Ok(steps.add("counts", all.aggregate(&["period".to_owned()], sums.to_vec())?))
    }

    /// Each user and date of activity.
    fn active_dates(&self) -> Result<Rel, RelError> {
        self.dates().scan().project(vec![same(&self.user.name), named("xt_date", Expr::column(self.date()))])
    }

    /// One row: `xt_first`, the first date of all, and `xt_last`, which is `as_of`. NULL when there is no activity.
    fn bounds(&self, steps: &mut Steps, dates: &Rel) -> Result<Rel, RelError> {
        let date = || Expr::column("xt_date");
        let ends = vec![named("xt_first", AggregateFunction::Min(date())), named("xt_greatest", AggregateFunction::Max(date()))];
        let ends = dates.clone().aggregate(&[], ends)?;
        let last = self.as_of().unwrap_or_else(|| Expr::column("xt_greatest"));
        Ok(steps.add_small("bounds", ends.project(vec![same("xt_first"), named("xt_last", last), named("xt_one", Expr::int(1))])?))
    }

    /// The dates at the ends of a calendar that is too long, each with how many users were active and the least of them.
    fn periods_check(&self) -> Result<Check, RelError> {
        let GrowthAccounting { max_periods, as_of, .. } = self.properties;
        let mut steps = Steps::default();
        let dates = steps.add("dates", self.active_dates()?);
        let bounds = self.bounds(&mut steps, &dates)?;
        let periods = Rel::periods(bounds.clone(), self.properties.period_type, "xt_period")?;
        let count = periods.aggregate(&[], vec![named("xt_periods", AggregateFunction::Count)])?;
        let too_many = count.filter(Expr::column("xt_periods").gt(Expr::int(i64::from(*max_periods))))?;
        let too_many = steps.add_small("too_many", too_many.project(vec![named("xt_one", Expr::int(1))])?);
        let bounds = bounds.semi(too_many, &["xt_one".to_owned()])?;
        let end = |name: &str| bounds.clone().project(vec![named("xt_date", Expr::column(name))]);
        let ends = if as_of.is_some() { end("xt_first")? } else { Rel::union(vec![end("xt_first")?, end("xt_last")?])? };
        let ends = steps.add_small("ends", ends);
        let users = vec![
            (self.user.name.clone(), AggregateFunction::Min(Expr::column(&self.user.name))),
            named("xt_users", AggregateFunction::Count),
        ];
        let date = ["xt_date".to_owned()];
        let rows = steps.add("rows", dates.semi(ends, &date)?.aggregate(&date, users)?);
        steps.add("far_apart", rows.select([self.user.name.as_str(), "xt_date", "xt_users"])?.sort(by(&["xt_date"]))?);
        let problem = format!("activity lies more than {max_periods} periods apart, which is `max_periods`");
        let problem = match as_of {
            Some(_) => format!("{problem}: the first is too long before `as_of`"),
            None => format!("{problem}: the first and the last"),
        };
        let help = "correct the date of the event, or raise `max_periods` if it is right".to_owned();
        Ok(Check { rule: Rule::None { problem, help }, steps, guard: false })
    }

    fn next(&self, period: Expr) -> Expr {
        period.call(Function::NextPeriod(self.properties.period_type))
    }

    /// Whether the period's last day is past: an event of `as_of` itself may still come.
    fn is_final(&self, period: Expr, as_of: Expr) -> Expr {
        self.next(period).lt_eq(as_of)
    }
}

/// The step that gives the users of whom events came or went.
const TOUCHED: &str = "touched";

fn task(target: &Table, steps: Steps, write_mode: WriteMode) -> Task {
    Task { target: target.name.clone(), steps, write_mode, count_by: None, checks: Vec::new() }
}

fn named<T>(name: &str, value: T) -> (String, T) {
    (name.to_owned(), value)
}

fn same(name: &str) -> (String, Expr) {
    named(name, Expr::column(name))
}

fn on(names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect()
}

fn by(names: &[&str]) -> Vec<Order> {
    names.iter().map(|name| Order { by: Expr::column(name), descending: false }).collect()
}

fn days_between(later: &Expr, earlier: &Expr) -> Expr {
    Expr::Call { function: Function::DaysBetween, arguments: vec![later.clone(), earlier.clone()] }
}

register_flow_type!(GrowthAccounting);

//! What a growth accounting flow's tables hold: the specification as plain slow loops over all landed events, day by day.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, Days, NaiveDate, Weekday};
use chrono_tz::Tz;

use crate::{
    oracle::{Column, OnNullKey, Row, Value, is_bad},
    text::TextRow,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeriodType {
    Daily,
    Weekly,
    Monthly,
}

impl PeriodType {
    pub fn name(self) -> &'static str {
        match self {
            PeriodType::Daily => "daily",
            PeriodType::Weekly => "weekly",
            PeriodType::Monthly => "monthly",
        }
    }

    /// The first day of the period that holds the day.
    fn of(self, day: NaiveDate) -> NaiveDate {
        let is_first = |day: &NaiveDate| match self {
            PeriodType::Daily => true,
            PeriodType::Weekly => day.weekday() == Weekday::Mon,
            PeriodType::Monthly => day.day() == 1,
        };
        day.iter_days().rev().find(is_first).unwrap()
    }
}

/// When a user is churned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChurnRule {
    /// So many days after the last date of activity.
    Days(u32),
    /// At the end of the first period without activity.
    Period,
}

impl ChurnRule {
    /// Whether a user is churned on the day who has not been active since `last`.
    fn falls_on(self, day: NaiveDate, last: NaiveDate, period_type: PeriodType) -> bool {
        match self {
            ChurnRule::Days(days) => day.signed_duration_since(last).num_days() == i64::from(days),
            ChurnRule::Period => {
                let period = period_type.of(day);
                let ends = period_type.of(day + Days::new(1)) != period;
                ends && period_type.of(period - Days::new(1)) == period_type.of(last)
            }
        }
    }
}

/// A flow's options. Columns are named by their position in `columns`.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub columns: Vec<Column>,
    /// Empty: every row is an event of its own.
    pub key: Vec<usize>,
    pub user: usize,
    /// A date or a timestamp.
    pub time: usize,
    pub on_null_key: OnNullKey,
    /// Rows that do not fit are set aside; else there are none.
    pub parks_bad: bool,
    pub period_type: PeriodType,
    pub churn: ChurnRule,
    pub timezone: Tz,
    pub as_of: Option<NaiveDate>,
    pub max_periods: usize,
}

pub const DEFAULT_MAX_PERIODS: usize = 10_000;

/// A landed row that counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub user: Value,
    /// As it stands in the timestamp column.
    pub at: Value,
    /// In the flow's time zone.
    pub day: NaiveDate,
}

/// The calendar would be longer than `max_periods`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyPeriods;

/// The five datasets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Growth {
    pub activity_periods: Vec<ActivityPeriod>,
    pub acquisitions: Vec<Acquisition>,
    pub churn: Vec<Churn>,
    pub resurrections: Vec<Resurrection>,
    pub growth_summary: Vec<Summary>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ActivityPeriod {
    pub user: Value,
    pub period: NaiveDate,
    pub activity_count: usize,
    pub first_activity_at: Value,
    pub last_activity_at: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Acquisition {
    pub period: NaiveDate,
    pub user: Value,
    pub first_activity_at: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Churn {
    pub period: NaiveDate,
    pub user: Value,
    pub last_activity_date: NaiveDate,
    pub churn_date: NaiveDate,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Resurrection {
    pub period: NaiveDate,
    pub user: Value,
    pub churn_date: NaiveDate,
    pub return_date: NaiveDate,
    pub days_inactive: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub period: NaiveDate,
    pub acquisitions: i64,
    pub churn: i64,
    pub resurrections: i64,
    pub net_growth: i64,
    pub active_users: i64,
    pub user_base: i64,
    pub is_final: bool,
}

/// Works the datasets out from all events, in any order.
pub fn growth(options: &Options, events: &[Event]) -> Result<Growth, TooManyPeriods> {
    let mut growth = Growth::default();
    let Some(as_of) = options.as_of.or_else(|| events.iter().map(|event| event.day).max()) else { return Ok(growth) };
    let counted: Vec<&Event> = events.iter().filter(|event| event.day <= as_of).collect();
    let Some(first_day) = counted.iter().map(|event| event.day).min() else { return Ok(growth) };
    let period_of = |day: NaiveDate| options.period_type.of(day);
    let calendar: Vec<NaiveDate> = first_day.iter_days().take_while(|day| *day <= as_of).collect();
    let mut periods: Vec<NaiveDate> = calendar.iter().map(|day| period_of(*day)).collect();
    periods.dedup();
    if periods.len() > options.max_periods {
        return Err(TooManyPeriods);
    }

    let users: BTreeSet<&Value> = counted.iter().map(|event| &event.user).collect();
    for user in users {
        let events: Vec<&Event> = counted.iter().copied().filter(|event| event.user == *user).collect();
        for period in &periods {
            let times: Vec<&Value> = events.iter().filter(|event| period_of(event.day) == *period).map(|event| &event.at).collect();
            if let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) {
                growth.activity_periods.push(ActivityPeriod {
                    user: user.clone(),
                    period: *period,
                    activity_count: times.len(),
                    first_activity_at: (*first).clone(),
                    last_activity_at: (*last).clone(),
                });
            }
        }

        // The least time of all, even where a clock set back over midnight shows a later date then.
        let first_activity_at = events.iter().map(|event| &event.at).min().unwrap();
        let (mut last_active, mut churned): (Option<NaiveDate>, Option<NaiveDate>) = (None, None);
        for day in calendar.iter().copied() {
            let (period, user) = (period_of(day), user.clone());
            let is_active = events.iter().any(|event| event.day == day);
            match last_active {
                None if is_active => {
                    growth.acquisitions.push(Acquisition { period, user, first_activity_at: first_activity_at.clone() });
                }
                Some(last) if is_active => {
                    if let Some(churn_date) = churned.take() {
                        let days_inactive = day.signed_duration_since(last).num_days();
                        growth.resurrections.push(Resurrection { period, user, churn_date, return_date: day, days_inactive });
                    }
                }
                Some(last) if options.churn.falls_on(day, last, options.period_type) => {
                    growth.churn.push(Churn { period, user, last_activity_date: last, churn_date: day });
                    churned = Some(day);
                }
                None | Some(_) => {}
            }
            if is_active {
                last_active = Some(day);
            }
        }
    }

    let mut user_base = 0;
    for period in periods {
        let acquisitions = growth.acquisitions.iter().filter(|row| row.period == period).count() as i64;
        let churn = growth.churn.iter().filter(|row| row.period == period).count() as i64;
        let resurrections = growth.resurrections.iter().filter(|row| row.period == period).count() as i64;
        let net_growth = acquisitions - churn + resurrections;
        user_base += net_growth;
        growth.growth_summary.push(Summary {
            period,
            acquisitions,
            churn,
            resurrections,
            net_growth,
            active_users: growth.activity_periods.iter().filter(|row| row.period == period).count() as i64,
            user_base,
            // An event of `as_of` itself may still come.
            is_final: period_of(as_of) > period,
        });
    }
    Ok(growth)
}

impl Growth {
    /// Each dataset's rows with its columns as the specification lists them, sorted.
    pub fn tables(&self) -> [(&'static str, Vec<TextRow>); 5] {
        let text = |value: &Value| (*value != Value::Null).then(|| value.text());
        let day = |day: NaiveDate| Some(day.to_string());
        let number = |number: i64| Some(number.to_string());
        let activity_periods = self.activity_periods.iter().map(|row| {
            let times = [text(&row.first_activity_at), text(&row.last_activity_at)];
            [vec![text(&row.user), day(row.period), Some(row.activity_count.to_string())], times.to_vec()].concat()
        });
        let acquisitions = self.acquisitions.iter().map(|row| vec![day(row.period), text(&row.user), text(&row.first_activity_at)]);
        let churn = self.churn.iter().map(|row| vec![day(row.period), text(&row.user), day(row.last_activity_date), day(row.churn_date)]);
        let resurrections = self
            .resurrections
            .iter()
            .map(|row| vec![day(row.period), text(&row.user), day(row.churn_date), day(row.return_date), number(row.days_inactive)]);
        let summary = self.growth_summary.iter().map(|row| {
            let numbers = [row.acquisitions, row.churn, row.resurrections, row.net_growth, row.active_users, row.user_base];
            let cells = [day(row.period)].into_iter().chain(numbers.map(number));
            cells.chain([Some(row.is_final.to_string())]).collect()
        });
        let mut tables = [
            ("activity_periods", activity_periods.collect::<Vec<TextRow>>()),
            ("acquisitions", acquisitions.collect()),
            ("churn", churn.collect()),
            ("resurrections", resurrections.collect()),
            ("growth_summary", summary.collect()),
        ];
        for (_, rows) in &mut tables {
            rows.sort();
        }
        tables
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    /// A replay with the same content.
    Unchanged,
    Rejected(Reason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    NullKey,
    TooManyPeriods,
}

/// A flow and the batches it has accepted, each with its rows in file order.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub options: Options,
    pub batches: BTreeMap<i64, Vec<Row>>,
}

impl Model {
    pub fn new(options: Options) -> Self {
        Self { options, batches: BTreeMap::new() }
    }

    /// Executes a batch; one that is rejected leaves everything as it was.
    pub fn execute(&mut self, batch_id: i64, rows: &[Row]) -> Outcome {
        if self.options.on_null_key == OnNullKey::Fail && rows.iter().any(|row| !is_bad(row) && self.has_null(row)) {
            return Outcome::Rejected(Reason::NullKey);
        }
        if self.batches.get(&batch_id).is_some_and(|known| self.is_same_content(known, rows)) {
            return Outcome::Unchanged;
        }
        let mut after = self.clone();
        after.batches.insert(batch_id, rows.to_vec());
        if growth(&after.options, &after.events()).is_err() {
            return Outcome::Rejected(Reason::TooManyPeriods);
        }
        *self = after;
        Outcome::Succeeded
    }

    /// The five datasets.
    pub fn growth(&self) -> Growth {
        growth(&self.options, &self.events()).unwrap()
    }

    /// `{p}_landing`: the input columns and `xt_batch_id`.
    pub fn landing(&self) -> Vec<(Row, i64)> {
        self.batches.iter().flat_map(|(batch_id, rows)| rows.iter().map(|row| (row.clone(), *batch_id))).collect()
    }

    /// `{p}_parked`: the same of the rows that are no events, because a NULL stands where it must not.
    pub fn parked(&self) -> Vec<(Row, i64)> {
        self.landing().into_iter().filter(|(row, _)| is_bad(row) || self.has_null(row)).collect()
    }

    /// The events of all batches: of each key the first that is not parked, by batch, then file, then row.
    pub fn events(&self) -> Vec<Event> {
        let (mut events, mut seen) = (Vec::new(), BTreeSet::new());
        for (row, _) in self.landing() {
            let key: Row = self.options.key.iter().map(|column| row[*column].clone()).collect();
            if !is_bad(&row) && !self.has_null(&row) && (key.is_empty() || seen.insert(key)) {
                let (user, at) = (row[self.options.user].clone(), row[self.options.time].clone());
                let day = self.day(&at);
                events.push(Event { user, at, day });
            }
        }
        events
    }

    /// A date is used as it is; an instant has the date that the time zone's clocks show.
    fn day(&self, at: &Value) -> NaiveDate {
        match at {
            Value::Date(days) => DateTime::from_timestamp(i64::from(*days) * 86_400, 0).unwrap().date_naive(),
            Value::Timestamp(micros) => {
                DateTime::from_timestamp_micros(*micros).unwrap().with_timezone(&self.options.timezone).date_naive()
            }
            Value::Null | Value::Int(_) | Value::Text(_) | Value::Decimal(_) | Value::Bool(_) | Value::Float(_) | Value::Unreadable => {
                unreachable!("{at:?} in a column of dates or timestamps")
            }
        }
    }

    fn has_null(&self, row: &Row) -> bool {
        let options = &self.options;
        options.key.iter().chain([&options.user, &options.time]).any(|column| row[*column] == Value::Null)
    }

    /// Row order counts where it decides which row of a key does: else law 1 would not hold.
    fn is_same_content(&self, known: &[Row], rows: &[Row]) -> bool {
        let (mut known, mut rows) = (known.to_vec(), rows.to_vec());
        if self.options.key.is_empty() {
            known.sort();
            rows.sort();
        }
        known == rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        growth::{DAILY, DAILY_WITH_LATE_EVENT, MONTHLY, MONTHLY_BY_PERIOD, WEEKLY},
        oracle::ColumnType,
    };

    fn options(time: ColumnType, period_type: PeriodType, threshold: u32) -> Options {
        let column = |name: &str, ty| Column { name: name.to_owned(), ty };
        Options {
            columns: vec![column("user_id", ColumnType::Text), column("timestamp", time), column("event_id", ColumnType::Int)],
            key: Vec::new(),
            user: 0,
            time: 1,
            on_null_key: OnNullKey::Park,
            parks_bad: false,
            period_type,
            churn: ChurnRule::Days(threshold),
            timezone: Tz::UTC,
            as_of: None,
            max_periods: DEFAULT_MAX_PERIODS,
        }
    }

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    /// A row such as `u1 2024-01-01 7` or `u1 2024-01-01T10:00:00Z ∅`; what is not there is NULL.
    fn row(text: &str) -> Row {
        let mut words = text.split_whitespace().map(|word| Some(word).filter(|word| *word != "∅"));
        let mut next = || words.next().flatten();
        let user = next().map_or(Value::Null, |user| Value::Text(user.to_owned()));
        let at = next().map_or(Value::Null, |at| match DateTime::parse_from_rfc3339(at) {
            Ok(at) => Value::Timestamp(at.timestamp_micros()),
            Err(_) => Value::Date(day(at).signed_duration_since(NaiveDate::default()).num_days() as i32),
        });
        vec![user, at, next().map_or(Value::Null, |id| Value::Int(id.parse().unwrap()))]
    }

    fn rows(text: &str) -> Vec<Row> {
        text.split(',').filter(|row| !row.trim().is_empty()).map(row).collect()
    }

    /// The rows of one dataset, a line each; NULL is never in them.
    fn lines(model: &Model, dataset: &str) -> Vec<String> {
        let tables = model.growth().tables();
        let (_, rows) = tables.iter().find(|(name, _)| *name == dataset).unwrap();
        rows.iter().map(|row| row.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ")).collect()
    }

    fn one_batch(options: Options, batch: &str) -> Model {
        let mut model = Model::new(options);
        assert_eq!(model.execute(1, &rows(batch)), Outcome::Succeeded);
        model
    }

    #[test]
    fn worked_examples() {
        for example in [DAILY, DAILY_WITH_LATE_EVENT, WEEKLY, MONTHLY, MONTHLY_BY_PERIOD] {
            for (time, suffix) in [(ColumnType::Date, ""), (ColumnType::Timestamp, "T12:00:00Z")] {
                let as_of = Some(day(example.as_of));
                let options = Options { as_of, churn: example.churn, ..options(time, example.period_type, 30) };
                let batch: Vec<String> = example.rows().map(|(user, day)| format!("{user} {day}{suffix}")).collect();
                let model = one_batch(options, &batch.join(", "));
                let expected = example.cells().map(|cells| cells.join(" "));
                assert_eq!(lines(&model, "growth_summary"), expected.collect::<Vec<_>>(), "{example:?}");
            }
        }
    }

    #[test]
    fn the_other_datasets_of_the_daily_example() {
        let options = Options { as_of: Some(day("2024-01-09")), ..options(ColumnType::Timestamp, PeriodType::Daily, 3) };
        let batch: Vec<String> = DAILY.rows().map(|(user, day)| format!("{user} {day}T12:00:00Z")).collect();
        let mut model = one_batch(options, &batch.join(", "));
        let acquired = ["2024-01-01 u1 2024-01-01T12:00:00.000000Z", "2024-01-01 u2 2024-01-01T12:00:00.000000Z"];
        assert_eq!(lines(&model, "acquisitions")[..2], acquired);
        let churn = ["2024-01-04 u2 2024-01-01 2024-01-04", "2024-01-06 u3 2024-01-03 2024-01-06", "2024-01-07 u1 2024-01-04 2024-01-07"];
        assert_eq!(lines(&model, "churn"), churn);
        assert_eq!(lines(&model, "resurrections"), ["2024-01-08 u1 2024-01-07 2024-01-08 4"]);

        model.execute(2, &rows("u2 2024-01-03T23:59:59.999999Z, u2 2024-01-03T00:00:00Z, u2 2024-01-10T00:00:00Z"));
        assert_eq!(lines(&model, "churn")[0], "2024-01-06 u2 2024-01-03 2024-01-06");
        let restated = "u2 2024-01-03 2 2024-01-03T00:00:00.000000Z 2024-01-03T23:59:59.999999Z";
        assert_eq!(lines(&model, "activity_periods")[4], restated);
        assert_eq!(model.landing().len(), 9, "the event after as_of is landed, and not counted");
        assert_eq!(lines(&model, "growth_summary").len(), 9);
    }

    #[test]
    fn the_threshold_counts_days_and_a_churn_needs_its_day() {
        let check = |batch: &str, as_of: &str, churn: &[&str], resurrections: &[&str]| {
            let as_of = Some(as_of).filter(|day| !day.is_empty()).map(day);
            let model = one_batch(Options { as_of, ..options(ColumnType::Date, PeriodType::Monthly, 3) }, batch);
            assert_eq!((lines(&model, "churn"), lines(&model, "resurrections")), (texts(churn), texts(resurrections)), "{batch}");
        };
        check("u 2024-02-27", "2024-02-29", &[], &[]);
        check("u 2024-02-27", "2024-03-01", &["2024-03-01 u 2024-02-27 2024-03-01"], &[]);
        check("u 2024-02-27, u 2024-03-01", "", &[], &[]);
        check("u 2024-02-27, u 2024-03-02", "", &["2024-03-01 u 2024-02-27 2024-03-01"], &["2024-03-01 u 2024-03-01 2024-03-02 4"]);
        // 2023 has no leap day; the other user's event moves as_of.
        check("u 2023-02-26, v 2023-03-01", "", &["2023-03-01 u 2023-02-26 2023-03-01"], &[]);
        check("u 1969-12-30, v 1970-01-02", "", &["1970-01-01 u 1969-12-30 1970-01-02"], &[]);
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn dates_are_those_of_the_time_zone() {
        let check = |zone: Tz, at: &str, period: &str| {
            let options = Options { timezone: zone, ..options(ColumnType::Timestamp, PeriodType::Daily, 30) };
            assert_eq!(one_batch(options, &format!("u {at}")).growth().acquisitions[0].period, day(period), "{zone} {at}");
        };
        check(Tz::UTC, "2023-12-31T23:59:59.999999Z", "2023-12-31");
        check(Tz::Asia__Kolkata, "2023-12-31T18:29:59.999999Z", "2023-12-31");
        check(Tz::Asia__Kolkata, "2023-12-31T18:30:00Z", "2024-01-01");
        check(Tz::America__St_Johns, "1970-01-01T03:29:59.999999Z", "1969-12-31");
        check(Tz::America__St_Johns, "1970-01-01T03:30:00Z", "1970-01-01");
        // New York left summer time on 3 November 2024, Berlin came to it on 31 March.
        check(Tz::America__New_York, "2024-11-03T03:59:59Z", "2024-11-02");
        check(Tz::America__New_York, "2024-11-04T04:30:00Z", "2024-11-03");
        check(Tz::Europe__Berlin, "2024-03-30T23:00:00Z", "2024-03-31");
        check(Tz::Europe__Berlin, "2024-03-31T22:00:00Z", "2024-04-01");
        let dates = Options { timezone: Tz::Pacific__Kiritimati, ..options(ColumnType::Date, PeriodType::Daily, 30) };
        assert_eq!(one_batch(dates, "u 2024-02-29").growth().acquisitions[0].period, day("2024-02-29"));
    }

    /// St. John's set its clocks back from 00:01 to 23:01 of the day before: what comes later may have the earlier date.
    #[test]
    fn a_user_is_acquired_on_the_earliest_date() {
        let options = Options { timezone: Tz::America__St_Johns, ..options(ColumnType::Timestamp, PeriodType::Daily, 30) };
        let model = one_batch(options, "u 2006-10-29T02:30:00Z, u 2006-10-29T03:00:00Z");
        assert_eq!(lines(&model, "acquisitions"), ["2006-10-28 u 2006-10-29T02:30:00.000000Z"]);
        let activity = [
            "u 2006-10-28 1 2006-10-29T03:00:00.000000Z 2006-10-29T03:00:00.000000Z",
            "u 2006-10-29 1 2006-10-29T02:30:00.000000Z 2006-10-29T02:30:00.000000Z",
        ];
        assert_eq!(lines(&model, "activity_periods"), activity);
    }

    #[test]
    fn periods_begin_where_people_expect() {
        let check = |period_type: PeriodType, of: &str, period: &str| assert_eq!(period_type.of(day(of)), day(period), "{of}");
        check(PeriodType::Daily, "2024-02-29", "2024-02-29");
        check(PeriodType::Weekly, "2024-01-01", "2024-01-01");
        check(PeriodType::Weekly, "2023-12-31", "2023-12-25");
        check(PeriodType::Weekly, "1970-01-01", "1969-12-29");
        check(PeriodType::Weekly, "1900-03-01", "1900-02-26");
        check(PeriodType::Monthly, "2024-02-29", "2024-02-01");
        check(PeriodType::Monthly, "1969-12-31", "1969-12-01");
    }

    #[test]
    fn a_period_is_final_when_as_of_lies_after_its_last_day() {
        let check = |period_type: PeriodType, as_of: &str, open: usize| {
            for churn in [ChurnRule::Days(30), ChurnRule::Period] {
                let options = Options { as_of: Some(day(as_of)), churn, ..options(ColumnType::Date, period_type, 30) };
                let summary = one_batch(options, "u 2024-01-28, v 2024-02-10").growth().growth_summary;
                let (past, last) = summary.split_at(summary.len() - open);
                let as_expected = past.iter().all(|row| row.is_final) && last.iter().all(|row| !row.is_final);
                assert!(as_expected, "{as_of}: {summary:?}");
            }
        };
        check(PeriodType::Daily, "2024-02-09", 1);
        check(PeriodType::Weekly, "2024-02-10", 1);
        check(PeriodType::Weekly, "2024-02-11", 1);
        check(PeriodType::Weekly, "2024-02-12", 1);
        check(PeriodType::Monthly, "2024-02-28", 1);
        check(PeriodType::Monthly, "2024-02-29", 1);
    }

    #[test]
    fn a_silent_period_needs_its_last_day() {
        let check = |period_type: PeriodType, batch: &str, as_of: &str, churn: &[&str], resurrections: &[&str]| {
            let as_of = Some(as_of).filter(|day| !day.is_empty()).map(day);
            let model = one_batch(Options { as_of, churn: ChurnRule::Period, ..options(ColumnType::Date, period_type, 30) }, batch);
            assert_eq!((lines(&model, "churn"), lines(&model, "resurrections")), (texts(churn), texts(resurrections)), "{batch}");
        };
        let monthly = PeriodType::Monthly;
        check(monthly, "u 2024-01-31", "2024-02-28", &[], &[]);
        check(monthly, "u 2024-01-31", "2024-02-29", &["2024-02-01 u 2024-01-31 2024-02-29"], &[]);
        check(monthly, "u 2024-01-01, u 2024-02-29", "", &[], &[]);
        let back = ["2024-03-01 u 2024-02-29 2024-03-01 32"];
        check(monthly, "u 2024-01-01, u 2024-01-29, u 2024-03-01", "", &["2024-02-01 u 2024-01-29 2024-02-29"], &back);
        check(PeriodType::Weekly, "u 2024-01-01, u 2024-01-14", "", &[], &[]);
        check(PeriodType::Weekly, "u 2024-01-07", "2024-01-14", &["2024-01-08 u 2024-01-07 2024-01-14"], &[]);
        check(PeriodType::Weekly, "u 2024-01-07", "2024-01-13", &[], &[]);
        check(PeriodType::Daily, "u 2024-01-01, v 2024-01-02", "", &["2024-01-02 u 2024-01-01 2024-01-02"], &[]);
    }

    #[test]
    fn nothing_to_count_makes_no_rows() {
        let daily = options(ColumnType::Date, PeriodType::Daily, 30);
        assert_eq!(one_batch(daily.clone(), "").growth(), Growth::default());
        assert_eq!(one_batch(daily.clone(), "∅ 2024-01-01, u ∅").growth(), Growth::default());
        let before = Options { as_of: Some(day("2023-12-31")), ..daily };
        assert_eq!(one_batch(before.clone(), "").growth(), Growth::default());
        assert_eq!(one_batch(before, "u 2024-01-01").growth(), Growth::default());
    }

    #[test]
    fn the_first_occurrence_of_a_key_counts_by_batch_not_by_arrival() {
        let mut model = Model::new(Options { key: vec![2], ..options(ColumnType::Date, PeriodType::Daily, 30) });
        model.execute(5, &rows("u 2024-01-05 1, u 2024-01-09 1, u 2024-01-07 2"));
        assert_eq!(lines(&model, "growth_summary").len(), 3, "the second row of key 1 is no event, and does not move as_of");
        model.execute(3, &rows("∅ 2024-01-01 1, v 2024-01-06 1"));
        assert_eq!(lines(&model, "acquisitions"), ["2024-01-06 v 2024-01-06", "2024-01-07 u 2024-01-07"]);
        assert_eq!(model.parked().len(), 1);
        let mut every = Model { options: Options { key: Vec::new(), ..model.options.clone() }, ..model.clone() };
        assert_eq!(every.growth().activity_periods.len(), 4);
        // A replay with other content may lower as_of again.
        assert_eq!(model.execute(5, &rows("u 2024-01-05 2")), Outcome::Succeeded);
        assert_eq!(lines(&model, "growth_summary").len(), 2);
        assert_eq!(model.execute(3, &rows("v 2024-01-06 1, ∅ 2024-01-01 1")), Outcome::Succeeded, "order counts with a key");
        assert_eq!(every.execute(3, &rows("v 2024-01-06 1, ∅ 2024-01-01 1")), Outcome::Unchanged);
    }

    #[test]
    fn refusals_change_nothing() {
        let refuse =
            Options { on_null_key: OnNullKey::Fail, key: vec![2], max_periods: 3, ..options(ColumnType::Date, PeriodType::Weekly, 30) };
        let mut model = one_batch(refuse, "u 2024-01-01 1, u 2024-01-21 2");
        let before = model.clone();
        for null in ["∅ 2024-01-01 3", "u ∅ 3", "u 2024-01-01 ∅"] {
            assert_eq!(model.execute(2, &rows(null)), Outcome::Rejected(Reason::NullKey));
        }
        for far in ["u 2024-01-22 3", "u 2023-12-31 3"] {
            assert_eq!(model.execute(2, &rows(far)), Outcome::Rejected(Reason::TooManyPeriods));
        }
        assert_eq!(model, before);
        assert_eq!(model.execute(1, &rows("u 2023-12-31 1")), Outcome::Succeeded);
    }
}

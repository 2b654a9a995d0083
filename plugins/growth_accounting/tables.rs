//! The derived tables, save the parked rows.

use qetl_core::{
    DatasetName, Problems, Schema, Type,
    ir::{AsOf, Period, Rel},
    plan::Expand,
    problem::Problem,
    schema::Column,
};

use super::GrowthAccounting;

/// Every table, with its columns.
pub(super) struct Tables {
    /// By user and date, where periods are longer than that.
    pub(super) activity_dates: Option<Table>,
    pub(super) activity_periods: Table,
    pub(super) acquisitions: Table,
    pub(super) churn: Table,
    pub(super) resurrections: Table,
    pub(super) growth_summary: Table,
}

pub(super) struct Table {
    pub(super) name: DatasetName,
    pub(super) schema: Schema,
    pub(super) about: &'static str,
}

/// What the summary counts.
pub(super) const COUNTS: [&str; 4] = ["acquisitions", "churn", "resurrections", "active_users"];

impl Tables {
    pub(super) fn of(properties: &GrowthAccounting, cx: &Expand<'_>, user: &Column, time: &Column) -> Result<Self, Problems> {
        let span = properties.user().span(cx.flow);
        let mut problems = Problems::default();
        let mut table = |suffix: &str, columns: &[&Column], about: &'static str| {
            let schema = Schema::new(columns.iter().map(|column| (*column).clone()).collect()).unwrap_or_else(|name| {
                let what = format!("column `{name}` has the name of a column of `{}`", cx.dataset(suffix));
                let help = "give the input column another name";
                if problems.is_empty() {
                    problems.push(Problem::new("qetl::expand::column_name", span, what).label("names the user column").help(help));
                }
                Schema::default()
            });
            Table { name: cx.dataset(suffix), schema, about }
        };
        let date = |name: &str| Column::new(name, Type::Date);
        let int = |name: &str| Column::new(name, Type::Int);
        let at = |name: &str| Column::new(name, time.ty);
        let (period, churn_date, first) = (date("period"), date("churn_date"), at("first_activity_at"));
        let (count, last) = (int("activity_count"), at("last_activity_at"));
        let by_date = || [user.clone(), date("activity_date")];
        let activity_dates = (properties.period_type != Period::Day).then(|| {
            let [user, date] = &by_date();
            table("activity_dates", &[user, date, &count, &first, &last], "who was active on which date, from which the others are made")
        });
        let counts = COUNTS.map(int);
        let [acquisitions, churn, resurrections, active] = &counts;
        let tables = Self {
            activity_dates,
            activity_periods: table("activity_periods", &[user, &period, &count, &first, &last], "who was active in which period"),
            acquisitions: table("acquisitions", &[&period, user, &first], "the first activity of each user"),
            churn: table(
                "churn",
                &[&period, user, &date("last_activity_date"), &churn_date],
                "who stayed away for the threshold, or for a period",
            ),
            resurrections: table(
                "resurrections",
                &[&period, user, &churn_date, &date("return_date"), &int("days_inactive")],
                "who was active again after a churn",
            ),
            growth_summary: table(
                "growth_summary",
                &[
                    &period,
                    acquisitions,
                    churn,
                    resurrections,
                    &int("net_growth"),
                    active,
                    &int("user_base"),
                    &Column::new("is_final", Type::Bool),
                ],
                "each period in figures",
            ),
        };
        problems.or(tables)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Table> {
        let Self { activity_dates, activity_periods, acquisitions, churn, resurrections, growth_summary } = self;
        activity_dates.iter().chain([activity_periods, acquisitions, churn, resurrections, growth_summary])
    }
}

impl Table {
    /// All its rows, as far as they are derived.
    pub(super) fn scan(&self) -> Rel {
        Rel::scan(&self.name, &self.schema, AsOf::AllBatches)
    }
}

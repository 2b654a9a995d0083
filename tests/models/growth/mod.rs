//! Growth accounting: the reference model, and random lives of it.

pub mod history;
pub mod model;

use model::{ChurnRule, PeriodType};

/// A worked example of the specification.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    pub period_type: PeriodType,
    pub churn: ChurnRule,
    pub as_of: &'static str,
    /// Each user's dates, all of 2024.
    pub events: &'static [(&'static str, &'static [&'static str])],
    /// `growth_summary`: `period: acquisitions churn resurrections net_growth active_users user_base`. Of these the last is not
    /// final, as `as_of` lies in it.
    pub summary: &'static [&'static str],
}

impl Example {
    /// The summary's rows, cell by cell.
    pub fn cells(&self) -> impl Iterator<Item = Vec<String>> {
        let last = self.summary.len() - 1;
        self.summary.iter().enumerate().map(move |(index, line)| {
            let cells = line.split([':', ' ']).filter(|cell| !cell.is_empty()).map(str::to_owned);
            cells.chain([(index < last).to_string()]).collect()
        })
    }

    /// The user and the date of each event.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.events.iter().flat_map(|(user, days)| days.iter().map(move |day| (*user, format!("2024-{day}"))))
    }
}

pub const DAILY: Example = Example {
    period_type: PeriodType::Daily,
    churn: ChurnRule::Days(3),
    as_of: "2024-01-09",
    events: &[("u1", &["01-01", "01-04", "01-08"]), ("u2", &["01-01"]), ("u3", &["01-02", "01-03"])],
    summary: &[
        "2024-01-01: 2 0 0 2 2 2",
        "2024-01-02: 1 0 0 1 1 3",
        "2024-01-03: 0 0 0 0 1 3",
        "2024-01-04: 0 1 0 -1 1 2",
        "2024-01-05: 0 0 0 0 0 2",
        "2024-01-06: 0 1 0 -1 0 1",
        "2024-01-07: 0 1 0 -1 0 0",
        "2024-01-08: 0 0 1 1 1 1",
        "2024-01-09: 0 0 0 0 0 1",
    ],
};

/// With the late event: u2 on 3 January.
pub const DAILY_WITH_LATE_EVENT: Example = Example {
    events: &[("u1", &["01-01", "01-04", "01-08"]), ("u2", &["01-01", "01-03"]), ("u3", &["01-02", "01-03"])],
    summary: &[
        "2024-01-01: 2 0 0 2 2 2",
        "2024-01-02: 1 0 0 1 1 3",
        "2024-01-03: 0 0 0 0 2 3",
        "2024-01-04: 0 0 0 0 1 3",
        "2024-01-05: 0 0 0 0 0 3",
        "2024-01-06: 0 2 0 -2 0 1",
        "2024-01-07: 0 1 0 -1 0 0",
        "2024-01-08: 0 0 1 1 1 1",
        "2024-01-09: 0 0 0 0 0 1",
    ],
    ..DAILY
};

pub const WEEKLY: Example = Example {
    period_type: PeriodType::Weekly,
    churn: ChurnRule::Days(7),
    as_of: "2024-01-21",
    events: &[("u1", &["01-01", "01-08", "01-16"]), ("u2", &["01-07"])],
    summary: &["2024-01-01: 2 0 0 2 2 2", "2024-01-08: 0 1 0 -1 1 1", "2024-01-15: 0 1 1 0 1 1"],
};

pub const MONTHLY: Example = Example {
    period_type: PeriodType::Monthly,
    churn: ChurnRule::Days(30),
    as_of: "2024-03-31",
    events: &[("u1", &["01-01", "01-31", "03-02"]), ("u2", &["01-31"]), ("u3", &["01-01", "02-28"]), ("u4", &["03-31"])],
    summary: &["2024-01-01: 3 1 0 2 3 2", "2024-02-01: 0 0 1 1 1 3", "2024-03-01: 1 3 1 -1 2 2"],
};

/// The same events, where a month without activity is a churn.
pub const MONTHLY_BY_PERIOD: Example = Example {
    churn: ChurnRule::Period,
    summary: &["2024-01-01: 3 0 0 3 3 3", "2024-02-01: 0 2 0 -2 1 1", "2024-03-01: 1 1 1 1 2 2"],
    ..MONTHLY
};

//! What stands for the execution time of a batch: the time that is recorded, or the date, or hour, that its id is.

use chrono::{NaiveDate, NaiveTime};
use qetl_core::{Flow, Problems, problem::Problem};

/// What an id stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stretch {
    Day,
    Hour,
}

/// The first microsecond, since 1970, of the day yyyymmdd or the hour yyyymmddhh in UTC that an id is.
fn of_id(id: i64) -> Option<(Stretch, i64)> {
    let (stretch, day, hour) = match id {
        10_000_101..=99_991_231 => (Stretch::Day, id, 0),
        1_000_010_100..=9_999_123_123 => (Stretch::Hour, id / 100, id % 100),
        _ => return None,
    };
    let part = |number: i64| u32::try_from(number).ok();
    let date = NaiveDate::from_ymd_opt(i32::try_from(day / 10_000).ok()?, part(day / 100 % 100)?, part(day % 100)?)?;
    let time = NaiveTime::from_hms_opt(part(hour)?, 0, 0)?;
    Some((stretch, date.and_time(time).and_utc().timestamp_micros()))
}

/// What stands for the execution time of a flow's batch, microseconds since 1970.
pub(crate) fn of_batch(flow: &Flow, batch_id: i64, recorded: i64) -> i64 {
    let from_id = || of_id(batch_id).map(|(_, time)| time);
    Some(recorded).filter(|_| !flow.properties.batches(flow).times_from_ids).or_else(from_id).unwrap_or(recorded)
}

/// Why the ids cannot stand for execution times, where they do.
pub(crate) fn obstacles(flow: &Flow, ids: impl Iterator<Item = i64>) -> Problems {
    let mut problems = Problems::default();
    if !flow.properties.batches(flow).times_from_ids {
        return problems;
    }
    let mut first: Option<(Stretch, i64)> = None;
    for id in ids {
        let (what, help) = match (of_id(id), first) {
            (None, _) => (
                format!("batch id {id} is neither a date nor a date and an hour, and `effective_from_batch` is set"),
                "take ids such as 20240131 or 2024013123 from the file names with `batch_id_from`, or remove `effective_from_batch`",
            ),
            (Some((stretch, _)), Some((other, known))) if stretch != other => {
                (format!("batch id {id} is {}, and {known} is {}", said(stretch), said(other)), "a flow has batches of days, or of hours")
            }
            (Some((stretch, _)), _) => {
                first = first.or(Some((stretch, id)));
                continue;
            }
        };
        problems.push(Problem::new("qetl::plan::batch_time", flow.header.id.span, what).label("of this flow").help(help));
        break;
    }
    problems.in_source(&flow.source)
}

fn said(stretch: Stretch) -> &'static str {
    match stretch {
        Stretch::Day => "a date",
        Stretch::Hour => "a date and an hour",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_as_times() {
        let text = |id| {
            let (stretch, time) = of_id(id)?;
            Some(format!("{stretch:?} {}", chrono::DateTime::from_timestamp_micros(time)?.to_rfc3339()))
        };
        assert_eq!(text(20_240_229).as_deref(), Some("Day 2024-02-29T00:00:00+00:00"));
        assert_eq!(text(2_024_022_923).as_deref(), Some("Hour 2024-02-29T23:00:00+00:00"));
        let no_times = [1, 0, -20_240_101, 20_230_229, 20_241_301, 20_240_100, 2_024_022_924, 202_401, 202_402_291_200, i64::MAX];
        assert!(no_times.iter().all(|id| of_id(*id).is_none()));
    }
}

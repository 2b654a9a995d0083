//! Dates in time zones, for databases that know none, or not surely. The rules are those that came with this program.

use chrono::{DateTime, Datelike, Offset, TimeZone};
use chrono_tz::Tz;
use qetl_core::{Plan, ir::time_zones};
use qetl_sql::dialects::ZONES;

use crate::{
    cell::Cell,
    database::{Connection, Database, Failure},
    records::int,
    tables::quoted,
};

fn zone(name: &str) -> Result<Tz, String> {
    name.parse().map_err(|_| format!("there is no time zone `{name}`"))
}

/// The date that an instant has in a time zone, as days since 1970.
///
/// # Errors
/// There is no such time zone, or the instant is outside of all calendars.
#[cfg_attr(not(any(feature = "duckdb", feature = "sqlite")), expect(dead_code, reason = "only these call it"))]
pub(crate) fn date_in(micros: i64, zone: &str) -> Result<i32, String> {
    let zone = self::zone(zone)?;
    let instant = DateTime::from_timestamp_micros(micros).ok_or_else(|| format!("{micros} is no instant"))?;
    Ok(instant.with_timezone(&zone).num_days_from_ce() - 719_163)
}

/// When a zone's clocks are set anew, from the beginning on: microseconds since 1970, and the seconds that they are ahead of UTC then.
fn changes(zone: Tz) -> Vec<(i64, i64)> {
    /// Before all calendars.
    const BEGINNING: i64 = -100_000_000_000_000_000;
    const DAY: i64 = 86_400;
    let ahead = |second: i64| {
        let instant = DateTime::from_timestamp(second, 0).unwrap_or_default().naive_utc();
        i64::from(zone.offset_from_utc_datetime(&instant).fix().local_minus_utc())
    };
    // 1800 to 2200; the rules that come with this program end before that.
    let days = -62_091..84_006;
    let mut found = vec![(BEGINNING, ahead(days.start * DAY))];
    for day in days {
        let (mut low, mut high) = (day * DAY, (day + 1) * DAY);
        let after = ahead(high);
        if ahead(low) == after {
            continue;
        }
        while high - low > 1 {
            let middle = low.midpoint(high);
            if ahead(middle) == after { high = middle } else { low = middle }
        }
        found.push((high * 1_000_000, after));
    }
    found
}

/// Sees to it that the zones of a plan are in the table of zones.
pub(crate) fn make_table(database: &dyn Database, connection: &mut dyn Connection, plan: &Plan) -> Result<(), Failure> {
    let wanted = time_zones(plan);
    if wanted.is_empty() {
        return Ok(());
    }
    let table = quoted(database, ZONES);
    let key = database.key_type().map_err(|what| Failure::Other(what.to_string()))?;
    let columns = format!("zone {key}, since BIGINT, seconds BIGINT, PRIMARY KEY (zone, since)");
    connection.run(&format!("CREATE TABLE IF NOT EXISTS {table} ({columns})"), &[])?;
    for name in wanted {
        let changes = changes(zone(name).map_err(Failure::Other)?);
        let known = connection.rows(&format!("SELECT since, seconds FROM {table} WHERE zone = ? ORDER BY since"), &[name.into()])?;
        if known.iter().map(|row| (int(&row[0]), int(&row[1]))).eq(changes.iter().copied()) {
            continue;
        }
        let places = vec!["(?, ?, ?)"; changes.len()].join(", ");
        let values: Vec<Cell<'_>> =
            changes.into_iter().flat_map(|(since, seconds)| [name.into(), Cell::Int(since), Cell::Int(seconds)]).collect();
        // The rules of another version of this program go. Another process may do the same.
        connection.run(database.begin(), &[])?;
        connection.run(&format!("DELETE FROM {table} WHERE zone = ?"), &[name.into()])?;
        connection.run(&format!("INSERT INTO {table} VALUES {places} ON DUPLICATE KEY UPDATE seconds = VALUES(seconds)"), &values)?;
        connection.run("COMMIT", &[])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_that_of_the_clock_on_the_wall() {
        let midnight = 1_711_839_600_000_000; // 2024-03-30T23:00:00Z
        assert_eq!(date_in(midnight, "UTC"), Ok(19_812));
        assert_eq!(date_in(midnight, "Europe/Berlin"), Ok(19_813));
        assert_eq!(date_in(midnight - 1, "Europe/Berlin"), Ok(19_812));
        assert_eq!(date_in(-1, "America/New_York"), Ok(-1));
        assert_eq!(date_in(0, "Mars/Olympus"), Err("there is no time zone `Mars/Olympus`".to_owned()));
    }

    #[test]
    fn changes_say_what_dates_say() {
        for name in ["Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Africa/Cairo", "UTC"] {
            let changes = changes(zone(name).unwrap());
            for instant in (-3_000_000_000..3_900_000_000).step_by(1_234_567) {
                let (_, seconds) = changes.iter().rev().find(|(since, _)| *since <= instant * 1_000_000).unwrap();
                let day = (instant + seconds).div_euclid(86_400);
                assert_eq!(date_in(instant * 1_000_000, name), Ok(i32::try_from(day).unwrap()), "{name} {instant}");
            }
        }
    }
}

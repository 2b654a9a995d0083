//! Dates in time zones. The rules are those that came with this program, and go on for ever.

use chrono::{NaiveDate, NaiveTime};
use jiff::{Timestamp, tz::TimeZone};

/// In seconds.
const DAY: i64 = 86_400;

/// A time zone by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// # Errors
    /// There is no such time zone.
    pub fn of(name: &str) -> Result<Self, String> {
        TimeZone::get(name).map(Self).map_err(|_| format!("there is no time zone `{name}`"))
    }

    /// The date on the wall at an instant in microseconds since 1970, as days since 1970.
    pub fn date(&self, micros: i64) -> i32 {
        let second = micros.div_euclid(1_000_000);
        let day = second.saturating_add(self.ahead(second)).div_euclid(DAY);
        i32::try_from(day).unwrap_or(if day < 0 { i32::MIN } else { i32::MAX })
    }

    /// The seconds that its clocks are ahead of UTC at a second since 1970.
    fn ahead(&self, second: i64) -> i64 {
        let (least, most) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        let instant = Timestamp::from_second(second.clamp(least, most)).unwrap_or_default();
        i64::from(self.0.to_offset(instant).seconds())
    }

    /// When its clocks are set anew from 1800 to the end of that year: microseconds since 1970, and the seconds that they are
    /// ahead of UTC from then on. The first one is before all calendars.
    pub fn changes(&self, last_year: i32) -> Vec<(i64, i64)> {
        const BEGINNING: i64 = -100_000_000_000_000_000;
        const FIRST: i64 = -62_091 * DAY;
        let end = NaiveDate::from_ymd_opt(last_year + 1, 1, 1).map_or(0, |day| day.and_time(NaiveTime::MIN).and_utc().timestamp());
        let start = Timestamp::from_second(FIRST).unwrap_or_default();
        let mut found = vec![(BEGINNING, self.ahead(FIRST))];
        for change in self.0.following(start) {
            let second = change.timestamp().as_second();
            if second >= end {
                break;
            }
            let ahead = i64::from(change.offset().seconds());
            if found.last().is_none_or(|(_, before)| *before != ahead) {
                found.push((second * 1_000_000, ahead));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(instant: &str, zone: &str) -> String {
        let micros = instant.parse::<Timestamp>().unwrap().as_microsecond();
        let days = Zone::of(zone).unwrap().date(micros);
        chrono::NaiveDate::from_epoch_days(days).unwrap().to_string()
    }

    #[test]
    fn a_date_is_that_of_the_clock_on_the_wall() {
        assert_eq!(date("2024-03-30T23:00:00Z", "UTC"), "2024-03-30");
        assert_eq!(date("2024-03-30T23:00:00Z", "Europe/Berlin"), "2024-03-31");
        assert_eq!(date("2024-03-30T22:59:59.999999Z", "Europe/Berlin"), "2024-03-30");
        assert_eq!(date("1969-12-31T23:59:59.999999Z", "America/New_York"), "1969-12-31");
        assert_eq!(Zone::of("Mars/Olympus"), Err("there is no time zone `Mars/Olympus`".to_owned()));
    }

    #[test]
    fn rules_go_on_for_ever() {
        for year in [2099, 2100, 2101, 2400, 5000, 9998] {
            assert_eq!(date(&format!("{year}-07-01T04:30:00Z"), "America/New_York"), format!("{year}-07-01"));
            assert_eq!(date(&format!("{year}-01-01T04:30:00Z"), "America/New_York"), format!("{}-12-31", year - 1));
            assert_eq!(date(&format!("{year}-07-01T22:30:00Z"), "Europe/Berlin"), format!("{year}-07-02"));
            assert_eq!(date(&format!("{year}-01-15T22:30:00Z"), "Europe/Berlin"), format!("{year}-01-15"));
        }
    }

    #[test]
    fn changes_say_what_dates_say() {
        for name in ["Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Africa/Cairo", "Africa/Casablanca", "UTC"] {
            let zone = Zone::of(name).unwrap();
            let changes = zone.changes(2500);
            for second in (-3_000_000_000..16_000_000_000_i64).step_by(12_345_678) {
                let (_, ahead) = changes.iter().rev().find(|(since, _)| *since <= second * 1_000_000).unwrap();
                assert_eq!(i64::from(zone.date(second * 1_000_000)), (second + ahead).div_euclid(DAY), "{name} {second}");
            }
        }
    }
}

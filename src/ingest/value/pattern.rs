//! Dates and times by a flow's `strftime` pattern.
#![expect(clippy::wildcard_enum_match_arm, reason = "two of chrono's many items are years")]

use chrono::{
    Datelike as _, NaiveDate, NaiveTime,
    format::{Fixed, Item, Numeric, Parsed, StrftimeItems, parse, parse_and_remainder},
};

use super::{time, unfit::Unfit};

/// A pattern, ready to read by.
pub(crate) struct Pattern {
    items: Vec<Item<'static>>,
    /// It reads a zone's name, whatever that is.
    names_zone: bool,
    /// Where it reads a year, and how many digits that has.
    year: Option<(usize, usize)>,
}

/// A moment as it is written, in its own offset.
pub(crate) struct Moment {
    pub(crate) days: i32,
    /// Microseconds since midnight.
    pub(crate) of_day: i64,
    /// Seconds east of UTC, as far as it says.
    pub(crate) offset: Option<i32>,
}

impl Moment {
    pub(crate) fn instant(&self) -> Result<i64, Unfit> {
        time::checked(i64::from(self.days) * time::DAY + self.of_day - i64::from(self.offset.unwrap_or(0)) * 1_000_000)
    }

    /// The date, if midnight is all that stands behind it.
    pub(crate) fn date(&self) -> Result<i32, Unfit> {
        if self.of_day == 0 && self.offset.unwrap_or(0) == 0 { Ok(self.days) } else { Err(Unfit::TimeOfDay) }
    }
}

impl Pattern {
    /// Patterns have been checked when the flow was: one that is malformed is none.
    pub(crate) fn new(pattern: &str) -> Option<Self> {
        let items = StrftimeItems::new(pattern).parse_to_owned().ok()?;
        let digits = |item: &Item<'_>| match item {
            Item::Numeric(Numeric::Year | Numeric::IsoYear, _) => Some(4),
            Item::Numeric(Numeric::YearMod100 | Numeric::IsoYearMod100, _) => Some(2),
            _ => None,
        };
        let year = items.iter().enumerate().find_map(|(index, item)| Some((index, digits(item)?)));
        Some(Self { names_zone: items.contains(&Item::Fixed(Fixed::TimezoneName)), year, items })
    }

    pub(crate) fn moment(&self, text: &str) -> Result<Moment, Unfit> {
        // chrono passes over a zone's name whatever it is; only UTC's can be told from it.
        if self.names_zone && !(text.contains("UTC") || text.contains("GMT") || text.ends_with('Z')) {
            return Err(Unfit::NotA);
        }
        let mut parsed = Parsed::new();
        parse(&mut parsed, text, self.items.iter()).map_err(|_| Unfit::NotA)?;
        if !self.has_whole_year(text) {
            return Err(Unfit::ShortYear);
        }
        moment(&parsed)
    }

    /// chrono reads `24` as the year 24, and `5` as 2005.
    fn has_whole_year(&self, text: &str) -> bool {
        let Some((year, digits)) = self.year else { return true };
        let rest = parse_and_remainder(&mut Parsed::new(), text, self.items[..year].iter());
        let rest = rest.unwrap_or_default().trim_start().as_bytes();
        rest.len() >= digits && rest[..digits].iter().all(u8::is_ascii_digit)
    }
}

fn moment(parsed: &Parsed) -> Result<Moment, Unfit> {
    let offset = parsed.offset();
    let local = match parsed.to_naive_datetime_with_offset(offset.unwrap_or(0)) {
        Ok(local) => local,
        Err(_) if has_time(parsed) => return Err(Unfit::NotA),
        Err(_) => parsed.to_naive_date().map_err(|_| Unfit::NotA)?.and_time(NaiveTime::MIN),
    };
    let nanos = local.and_utc().timestamp_subsec_nanos();
    if nanos >= 1_000_000_000 {
        return Err(Unfit::NotA);
    }
    if nanos % 1000 != 0 {
        return Err(Unfit::Finer);
    }
    let days = days(local.date()).ok_or(Unfit::NotA)?;
    Ok(Moment { days, of_day: local.and_utc().timestamp_micros() - i64::from(days) * time::DAY, offset })
}

fn days(date: NaiveDate) -> Option<i32> {
    (1..=9999).contains(&date.year()).then(|| time::days(date.year(), date.month(), date.day()))
}

/// Whether any part of a time of day was read.
fn has_time(parsed: &Parsed) -> bool {
    let parts = [parsed.hour_div_12(), parsed.hour_mod_12(), parsed.minute(), parsed.second(), parsed.nanosecond()];
    parts.iter().any(Option::is_some)
}

//! ISO 8601 dates and timestamps from text, in the proleptic Gregorian calendar, years 1 to 9999.

use super::unfit::Unfit;

/// Microseconds of a day.
pub(crate) const DAY: i64 = 86_400_000_000;

/// Days since 1970-01-01 of a date that exists.
pub(crate) fn days(year: i32, month: u32, day: u32) -> i32 {
    // Years begin in March here, so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (century, of_century) = (year / 100, year % 100);
    let of_year = (153 * month as i32 + 2) / 5 + day as i32 - 1;
    century * 146_097 / 4 + of_century * 1461 / 4 + of_year - 719_468
}

/// 0001-01-01 and 9999-12-31.
pub(crate) const FIRST_DAY: i32 = -719_162;
pub(crate) const LAST_DAY: i32 = 2_932_896;

/// The instant, if it lies in the years 1 to 9999.
pub(crate) fn checked(micros: i64) -> Result<i64, Unfit> {
    let range = i64::from(FIRST_DAY) * DAY..(i64::from(LAST_DAY) + 1) * DAY;
    if range.contains(&micros) { Ok(micros) } else { Err(Unfit::Range) }
}

/// `YYYY-MM-DD`
#[inline]
pub(crate) fn date(text: &[u8]) -> Option<i32> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else { return None };
    let year = pair(y1, y2)? * 100 + pair(y3, y4)?;
    let (month, day) = (pair(m1, m2)?, pair(d1, d2)?);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => return None,
    };
    (year >= 1 && (1..=length).contains(&day)).then(|| days(year as i32, month, day))
}

#[inline]
fn pair(tens: u8, ones: u8) -> Option<u32> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| u32::from(tens) * 10 + u32::from(ones))
}

/// `YYYY-MM-DD[(T| )HH:MM[:SS[.ffffff]][ ][UTC|Z|±HH[[:]MM]]]`
pub(crate) fn timestamp(text: &[u8]) -> Result<i64, Unfit> {
    let (day, of_day, offset) = parts(text)?;
    checked(i64::from(day) * DAY + of_day - offset * 60_000_000)
}

/// The day of a timestamp that is midnight, in UTC as far as it says.
pub(crate) fn date_at_midnight(text: &[u8]) -> Result<i32, Unfit> {
    let (day, of_day, offset) = parts(text)?;
    if of_day == 0 && offset == 0 { Ok(day) } else { Err(Unfit::TimeOfDay) }
}

/// What stands before a midnight, `00:00` with or without seconds.
pub(crate) fn before_midnight(text: &str) -> Option<&str> {
    let (day, time) = text.rsplit_once(['T', ' '])?;
    let is_midnight = time.len() >= 5
        && time.bytes().enumerate().all(|(at, byte)| match at {
            2 | 5 => byte == b':',
            8 => byte == b'.',
            _ => byte == b'0',
        });
    (is_midnight && matches!(time.len(), 5 | 8 | 10..)).then_some(day)
}

/// The day, the microseconds since its midnight, and the minutes east of UTC.
fn parts(text: &[u8]) -> Result<(i32, i64, i64), Unfit> {
    let (day, rest) = text.split_at_checked(10).ok_or(Unfit::NotA)?;
    let day = date(day).ok_or(Unfit::NotA)?;
    let [b'T' | b't' | b' ', h1, h2, b':', m1, m2, rest @ ..] = rest else {
        return if rest.is_empty() { Ok((day, 0, 0)) } else { Err(Unfit::NotA) };
    };
    let (seconds, fraction, rest) = match rest {
        [b':', s1, s2, rest @ ..] => {
            let (fraction, rest) = fraction(rest)?;
            (below(*s1, *s2, 60)?, fraction, rest)
        }
        _ => (0, 0, rest),
    };
    let minutes = below(*h1, *h2, 24)? * 60 + below(*m1, *m2, 60)?;
    Ok((day, (minutes * 60 + seconds) * 1_000_000 + fraction, offset(rest)?))
}

fn below(tens: u8, ones: u8, limit: u32) -> Result<i64, Unfit> {
    pair(tens, ones).filter(|value| *value < limit).map(i64::from).ok_or(Unfit::NotA)
}

/// Microseconds of `.ffffff`, and what follows.
fn fraction(text: &[u8]) -> Result<(i64, &[u8]), Unfit> {
    let [b'.' | b',', rest @ ..] = text else { return Ok((0, text)) };
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return Err(Unfit::NotA);
    }
    let (digits, rest) = rest.split_at(count);
    let mut micros = 0;
    for at in 0..6 {
        micros = micros * 10 + digits.get(at).map_or(0, |digit| i64::from(digit - b'0'));
    }
    if digits.iter().skip(6).any(|digit| *digit != b'0') {
        // Whatever follows has to make sense before this is the thing to say.
        return Err(offset(rest).map_or_else(|unfit| unfit, |_| Unfit::Finer));
    }
    Ok((micros, rest))
}

/// Minutes east of UTC; a blank may stand before them.
fn offset(text: &[u8]) -> Result<i64, Unfit> {
    let text = match text {
        [b' ', rest @ ..] if !rest.is_empty() => rest,
        other => other,
    };
    let (sign, h1, h2, m1, m2) = match text {
        [] | [b'Z' | b'z'] | b"UTC" => return Ok(0),
        [sign, h1, h2] => (sign, h1, h2, &b'0', &b'0'),
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => (sign, h1, h2, m1, m2),
        _ => return Err(Unfit::NotA),
    };
    let minutes = below(*h1, *h2, 24)? * 60 + below(*m1, *m2, 60)?;
    match sign {
        b'+' => Ok(minutes),
        b'-' => Ok(-minutes),
        _ => Err(Unfit::NotA),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Datelike as _, NaiveDate};
    use proptest::prelude::*;

    #[test]
    fn every_day_is_chronos() {
        let mut day = NaiveDate::from_ymd_opt(1, 1, 1).unwrap();
        for expected in FIRST_DAY..=LAST_DAY {
            assert_eq!(days(day.year(), day.month(), day.day()), expected, "{day}");
            day = day.succ_opt().unwrap();
        }
    }

    #[test]
    fn dates() {
        let check = |text: &str, expected| assert_eq!(date(text.as_bytes()), expected, "{text}");
        check("1970-01-02", Some(1));
        check("2024-02-29", Some(19782));
        check("0001-01-01", Some(FIRST_DAY));
        check("9999-12-31", Some(LAST_DAY));
        for text in [
            "",
            "0000-01-01",
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-00-01",
            "2024-01-00",
            "2024-1-1",
            "20240101",
            "2024/01/01",
            "2024-01-01 ",
            "+024-01-01",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn timestamps() {
        let check = |text: &str, expected: Result<&str, Unfit>| {
            let expected = expected.map(|rfc| DateTime::parse_from_rfc3339(rfc).unwrap().timestamp_micros());
            assert_eq!(timestamp(text.as_bytes()), expected, "{text}");
        };
        check("2024-01-31", Ok("2024-01-31T00:00:00Z"));
        check("2024-01-31 10:20", Ok("2024-01-31T10:20:00Z"));
        check("2024-01-31T10:20:30", Ok("2024-01-31T10:20:30Z"));
        check("2024-01-31T10:20:30.5Z", Ok("2024-01-31T10:20:30.5Z"));
        check("2024-01-31T10:20:30.123456000+01:00", Ok("2024-01-31T09:20:30.123456Z"));
        check("2024-01-31T10:20:30-0130", Ok("2024-01-31T11:50:30Z"));
        check("2024-01-31T10:20+02", Ok("2024-01-31T08:20:00Z"));
        check("2024-01-31 10:20:30 UTC", Ok("2024-01-31T10:20:30Z"));
        check("2024-01-31 10:20:30 Z", Ok("2024-01-31T10:20:30Z"));
        check("2024-01-31 10:20:30.000 +0000", Ok("2024-01-31T10:20:30Z"));
        check("2024-01-31 10:20:30+00", Ok("2024-01-31T10:20:30Z"));
        check("1969-12-31T23:59:59.999999", Ok("1969-12-31T23:59:59.999999Z"));
        check("2024-01-31T10:20:30.1234567", Err(Unfit::Finer));
        check("2024-01-31T10:20:30.1234567x", Err(Unfit::NotA));
        check("9999-12-31T23:59:59-01:00", Err(Unfit::Range));
        check("0001-01-01T00:00:00+01:00", Err(Unfit::Range));
        for text in [
            "2024-01-31T",
            "2024-01-31T10",
            "2024-01-31T24:00",
            "2024-01-31T10:60",
            "2024-01-31T10:20:60",
            "2024-01-31T10:20:30.",
            "2024-02-30T10:20",
            "2024-01-31T10:20:30+24:00",
            "2024-01-31T10:20:30 ",
            "2024-01-31T10:20:30  UTC",
            "2024-01-31T10:20:30 CET",
            "2024-01-31x10:20",
            "2024-01-3",
            "äääää",
        ] {
            check(text, Err(Unfit::NotA));
        }
    }

    proptest! {
        #[test]
        fn reads_the_timestamps_it_prints(micros in i64::from(FIRST_DAY) * DAY..(i64::from(LAST_DAY) + 1) * DAY) {
            let text = crate::value::format::timestamp(micros);
            prop_assert_eq!(timestamp(text.as_bytes()), Ok(micros));
        }
    }
}

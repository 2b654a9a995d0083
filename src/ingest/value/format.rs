//! The canonical text of values, as `qetl query --format csv` prints them too.

use super::time::DAY;

/// Plain notation, with all digits of the scale.
pub(crate) fn decimal(value: i128, scale: u8) -> String {
    let digits = value.unsigned_abs().to_string();
    let scale = usize::from(scale);
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

/// The shortest text that reads as the same float; an exponent only where plain notation would be long.
pub(crate) fn float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else if value != 0.0 && !(1e-7..1e21).contains(&value.abs()) {
        format!("{value:e}")
    } else {
        format!("{value}")
    }
}

/// `2024-01-31`
pub(crate) fn date(days: i32) -> String {
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2024-01-31T10:00:00.000000Z`
pub(crate) fn timestamp(micros: i64) -> String {
    // The days of any instant fit an i32.
    let (days, of_day) = (micros.div_euclid(DAY) as i32, micros.rem_euclid(DAY));
    let (seconds, fraction) = (of_day / 1_000_000, of_day % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z", date(days))
}

/// Year, month and day; the inverse of [`super::time::days`].
fn civil(days: i32) -> (i64, i64, i64) {
    let days = i64::from(days) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_texts() {
        assert_eq!([decimal(-5, 2), decimal(0, 2), decimal(12345, 2), decimal(-7, 0)], ["-0.05", "0.00", "123.45", "-7"]);
        let floats = [0.1, 5.0, -2.5e-9, 1e21, f64::NAN, f64::NEG_INFINITY, 0.0];
        assert_eq!(floats.map(float), ["0.1", "5", "-2.5e-9", "1e21", "NaN", "-Infinity", "0"]);
        assert_eq!([date(0), date(-719_162), date(2_932_896), date(19_782)], ["1970-01-01", "0001-01-01", "9999-12-31", "2024-02-29"]);
        assert_eq!(timestamp(-1), "1969-12-31T23:59:59.999999Z");
    }
}

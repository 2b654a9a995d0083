//! Batch ids in the names of files and folders.

use chrono::NaiveDate;
use regex::Regex;

use super::JobFile;
use crate::error::RunError;

/// What may stand between the parts of a date.
const SEPARATORS: [char; 5] = ['-', '_', '/', 'T', '.'];

/// What the digits of an id say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Number,
    Day,
    Hour,
}

/// The id that the pattern finds in the file's name or, where it does not match there, in its path below the folder that is read.
pub(super) fn of(pattern: &Regex, file: &JobFile) -> Result<i64, RunError> {
    let name = file.below.rsplit('/').next().unwrap_or(&file.below);
    let find = |text: &'_ str| pattern.captures(text).map(|found| found.get(1).map_or_else(String::new, |group| group.as_str().to_owned()));
    let help = "a batch id is an integer from 1, a date, or a date and an hour; narrow `file_pattern` if the file is none of the flow's";
    let Some(text) = find(name).or_else(|| find(&file.below)) else {
        let message = format!("`batch_id_from = '{pattern}'` finds no batch id in `{}`", file.below);
        return Err(RunError::usage(message, help));
    };
    read(&text).ok_or_else(|| RunError::usage(format!("`batch_id_from` finds `{text}` in `{}`, which is not a batch id", file.below), help))
}

/// An integer, or a date or a date and an hour in digits, with something between its parts or not.
fn read(text: &str) -> Option<i64> {
    let parts: Vec<&str> = text.split(SEPARATORS).collect();
    let digits = parts.concat();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let id: i64 = digits.parse().ok().filter(|id| *id >= 1)?;
    if parts.len() == 1 {
        return Some(id);
    }
    let (first, last) = (parts.first().map_or(0, |part| part.len()), parts.last().map_or(0, |part| part.len()));
    let whole = parts[1..parts.len() - 1].iter().all(|part| [2, 4].contains(&part.len())) && [2, 4].contains(&last);
    let stands = [4, 6, 8].contains(&first) && whole;
    (stands && says(id) != Says::Number).then_some(id)
}

fn says(id: i64) -> Says {
    let day = |id: i64| {
        let part = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        i32::try_from(id / 10_000).is_ok_and(|year| NaiveDate::from_ymd_opt(year, part(id / 100 % 100), part(id % 100)).is_some())
    };
    match id {
        10_000_000..=99_999_999 if day(id) => Says::Day,
        1_000_000_000..=9_999_999_999 if day(id / 100) && id % 100 < 24 => Says::Hour,
        _ => Says::Number,
    }
}

/// Refuses batches of days beside batches of hours: the hours of a day would stand after all days.
pub(super) fn refuse_mixture(known: impl Iterator<Item = i64>, new: impl Iterator<Item = i64>) -> Result<(), RunError> {
    let (mut day, mut hour) = (None, None);
    for id in known.chain(new) {
        match says(id) {
            Says::Day => day = Some(id),
            Says::Hour => hour = Some(id),
            Says::Number => (),
        }
    }
    match (day, hour) {
        (Some(day), Some(hour)) => {
            let message = format!("{day} is the id of a day and {hour} that of an hour: in one flow all ids are of days, or all of hours");
            Err(RunError::usage(message, "let `batch_id_from` take the same parts of each name, or load the others with another flow"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_integers_days_and_hours() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(read(text), expected, "{text}");
        check("7", Some(7));
        check("007", Some(7));
        check("20240131", Some(20_240_131));
        check("20241331", Some(20_241_331));
        check("2024-01-31", Some(20_240_131));
        check("2024_01_31", Some(20_240_131));
        check("2024.01.31", Some(20_240_131));
        check("2024/01/31", Some(20_240_131));
        check("2024-0131", Some(20_240_131));
        check("2024-01-31T23", Some(2_024_013_123));
        check("20240131_05", Some(2_024_013_105));
        check("2024/01/31/05", Some(2_024_013_105));
        check("2024013105", Some(2_024_013_105));
        for wrong in ["", "0", "-", "2024-13-31", "2024-01-32", "2024-01-31T24", "2024-01-31-", "-2024-01-31", "2024--01-31", "1_2", "x1"] {
            check(wrong, None);
        }
    }

    #[test]
    fn days_and_hours_do_not_mix() {
        let check = |known: &[i64], new: &[i64]| refuse_mixture(known.iter().copied(), new.iter().copied()).is_ok();
        assert!(check(&[20_240_131], &[20_240_201]));
        assert!(check(&[1], &[2_024_013_105]));
        assert!(!check(&[20_240_131], &[2_024_013_105]));
        assert!(!check(&[], &[2_024_013_105, 20_240_131]));
    }
}

//! `[properties.load]`: which files a flow reads, which batch each belongs to, and how text in them is read.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    decode::Sp,
    format::{Format, OnBadRow, OnRaggedRows, ReaderOptions, TimestampUnit},
    input::{Input, InputColumn},
    problem::{Problem, Problems},
    schema::Type,
};

/// `[properties.load]` of a flow file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Load {
    /// A file, or a folder of files; relative to the project.
    #[schemars(length(min = 1))]
    pub source_path: Sp<String>,
    /// Which files of the folder count, such as `orders_*.csv`; all of them without it.
    pub file_pattern: Option<Sp<String>>,
    /// The files' format; else their ending tells.
    pub format: Option<Sp<Format>>,
    /// A regular expression; its first group, in the file's name or else in its path below `source_path`, is the batch id: an integer, a
    /// date, or a date and an hour.
    pub batch_id_from: Option<Sp<String>>,
    /// What a known file with other content means; `fail` for folders, `new_batch` for a single file.
    pub on_changed_file: Option<Sp<OnChangedFile>>,
    /// Columns whose values the names of the file's folders tell, such as `dt` of `dt=2024-01-31/`.
    pub partition_columns: Option<Vec<Sp<String>>>,
    /// Whether the files, or their folder, may not be there yet; else it is an error if none ever was.
    #[serde(default)]
    pub may_be_missing: bool,
    /// What happens when a file has columns that the flow does not name.
    #[serde(default)]
    pub on_extra_columns: OnExtraColumns,
    /// What happens to rows that do not fit: a value that is none of its column's type, a field too many.
    pub on_bad_row: Option<Sp<OnBadRow>>,
    /// Refuses a batch of which more than this share (0–1) of the rows do not fit; 1 without it.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_bad_ratio: Option<Sp<f64>>,
    /// The character between fields; `,`, or a tab for `.tsv` files. `\t` is a tab.
    pub delimiter: Option<Sp<String>>,
    /// The character around fields, `"`; empty for none.
    pub quote: Option<Sp<String>>,
    /// The character that escapes a quote inside quotes; else a doubled quote does.
    pub escape: Option<Sp<String>>,
    /// Lines that begin with this character are left out.
    pub comment: Option<Sp<String>>,
    /// Whether the first line names the columns.
    pub header: Option<Sp<bool>>,
    /// Lines before the header that are left out.
    pub skip_rows: Option<Sp<u32>>,
    /// What happens to rows of more or fewer fields than the header has.
    pub on_ragged_rows: Option<Sp<OnRaggedRows>>,
    /// Texts that mean NULL, beside the empty one; quoted ones only where the column is not text.
    pub null_values: Option<Sp<Vec<String>>>,
    /// Whether quoted texts mean NULL in text columns too.
    pub quoted_nulls: Option<Sp<bool>>,
    /// The text's encoding, such as `utf-8` or `windows-1252`.
    pub encoding: Option<Sp<String>>,
    /// A `strftime` pattern that dates may also have, such as `%d.%m.%Y`.
    pub date_format: Option<Sp<String>>,
    /// A `strftime` pattern that timestamps may also have.
    pub timestamp_format: Option<Sp<String>>,
    /// What numbers since 1970 count in columns declared as `timestamp`: seconds, milliseconds, microseconds, nanoseconds.
    pub timestamp_unit: Option<Sp<TimestampUnit>>,
    /// The decimal point of numbers: `.` or `,`.
    pub decimal_separator: Option<Sp<String>>,
    /// The character between groups of three digits, such as `,`.
    pub thousands_separator: Option<Sp<String>>,
    /// Texts that mean true in columns declared as `boolean`, beside `true`, `t` and `1`.
    pub true_values: Option<Sp<Vec<String>>>,
    /// Texts that mean false in columns declared as `boolean`, beside `false`, `f` and `0`.
    pub false_values: Option<Sp<Vec<String>>>,
}

/// What a known file with other content means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnChangedFile {
    /// An error.
    Fail,
    /// Its batch is executed again with the new content.
    Replay,
    /// A new batch.
    NewBatch,
}

/// What happens when a file has columns that the flow does not name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnExtraColumns {
    /// They are left out, with one warning a file.
    #[default]
    Ignore,
    /// The batch is refused.
    Fail,
}

impl Load {
    /// The reader's options, and what is wrong with them.
    pub(crate) fn reader(&self, problems: &mut Problems) -> ReaderOptions {
        let mut options = ReaderOptions::default();
        let mut byte = |text: &Option<Sp<String>>, key: &str| -> Option<u8> {
            let text = text.as_ref()?;
            match text.as_bytes() {
                [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Some(*byte),
                br"\t" => Some(b'\t'),
                _ => {
                    problems.push(Problem::new("qetl::decode::one_character", text.span, format!("`{key}` is one ASCII character")));
                    None
                }
            }
        };
        options.delimiter = byte(&self.delimiter, "delimiter");
        options.escape = byte(&self.escape, "escape");
        options.comment = byte(&self.comment, "comment");
        options.quote = match &self.quote {
            Some(text) if text.is_empty() => None,
            Some(_) => byte(&self.quote, "quote"),
            None => Some(b'"'),
        };
        if let Some(separator) = byte(&self.decimal_separator, "decimal_separator") {
            options.decimal_separator = separator;
        }
        self.refuse_equal_characters(&options, problems);
        if let Some(separator) = &self.decimal_separator
            && !matches!(options.decimal_separator, b'.' | b',')
        {
            problems.push(Problem::new("qetl::decode::decimal_separator", separator.span, "`decimal_separator` is `.` or `,`"));
        }
        options.thousands_separator = self.thousands(options.decimal_separator, problems);
        for (pattern, key, reads) in [
            (&self.date_format, "date_format", reads_dates as fn(&str) -> bool),
            (&self.timestamp_format, "timestamp_format", reads_timestamps),
        ] {
            if let Some(pattern) = pattern.as_ref().filter(|pattern| !reads(pattern)) {
                let what = format!("`{key}` is not a `strftime` pattern of a whole {}", if key == "date_format" { "date" } else { "time" });
                problems.push(Problem::new("qetl::decode::strftime", pattern.span, what).help("such as `%d.%m.%Y` or `%Y-%m-%d %H:%M:%S`"));
            }
        }
        if let Some(name) = self.encoding.as_ref().filter(|name| encoding_rs::Encoding::for_label(name.as_bytes()).is_none()) {
            let what = format!("`{}` is not an encoding", name.value);
            problems.push(
                Problem::new("qetl::decode::encoding", name.span, what)
                    .help("such as `utf-8`, `windows-1252`, `iso-8859-15` or `utf-16le`"),
            );
        }
        if let Some(pattern) = &self.file_pattern
            && (pattern.is_empty() || globset::Glob::new(pattern).is_err())
        {
            let what = format!("`file_pattern = \"{}\"` is not a pattern", pattern.value);
            problems.push(Problem::new("qetl::decode::file_pattern", pattern.span, what).help("such as `orders_*.csv`"));
        } else if let Some(pattern) = &self.file_pattern
            && (pattern.starts_with('/') || pattern.split('/').any(|part| part == ".."))
        {
            let what = format!("`file_pattern = \"{}\"` leads out of `source_path`", pattern.value);
            let help = "name another folder with `source_path`: a pattern names files in it and below it";
            problems.push(Problem::new("qetl::decode::file_pattern", pattern.span, what).label("matches nothing").help(help));
        }
        if let Some(pattern) = &self.batch_id_from {
            let wrong = match regex::Regex::new(pattern) {
                Err(_) => Some("`batch_id_from` is not a regular expression"),
                Ok(regex) if regex.captures_len() < 2 => Some("`batch_id_from` has no group to take the batch id from"),
                Ok(_) => None,
            };
            if let Some(wrong) = wrong {
                problems.push(Problem::new("qetl::decode::batch_id_from", pattern.span, wrong).help(r"such as `'orders_(\d+)'`"));
            }
        }
        if self.source_path.contains("://") {
            let problem = Problem::new("qetl::decode::source_path", self.source_path.span, "only local files and folders can be read");
            problems.push(problem.label("not a path").help("copy the files into the project and name their folder"));
        }
        self.inert_keys(problems);
        options.partition_columns = self.partition_columns.iter().flatten().map(|column| column.value.clone()).collect();
        options.header = self.header.as_ref().is_none_or(|header| header.value);
        options.skip_rows = self.skip_rows.as_ref().map_or(0, |rows| rows.value as usize);
        let list = |values: &Option<Sp<Vec<String>>>| values.as_ref().map_or_else(Vec::new, |values| values.value.clone());
        options.null_values = list(&self.null_values);
        (options.true_values, options.false_values) = (list(&self.true_values), list(&self.false_values));
        self.refuse_contrary_booleans(problems);
        options.quoted_nulls = self.quoted_nulls.as_ref().is_some_and(|quoted| quoted.value);
        options.on_ragged_rows = self.on_ragged_rows.as_ref().map_or_else(Default::default, |ragged| ragged.value);
        options.timestamp_unit = self.timestamp_unit.as_ref().map(|unit| unit.value);
        options.encoding = self.encoding.as_ref().map_or_else(|| "utf-8".to_owned(), |name| name.value.clone());
        options.date_format = self.date_format.as_ref().map(|pattern| pattern.value.clone());
        options.timestamp_format = self.timestamp_format.as_ref().map(|pattern| pattern.value.clone());
        options.on_bad_row = self.on_bad_row.as_ref().map_or_else(Default::default, |choice| choice.value);
        if let Some(ratio) = &self.max_bad_ratio {
            options.max_bad_ratio = ratio.value;
            if !options.parks_bad_rows() {
                let what = "`max_bad_ratio` does nothing here: a batch with a row that does not fit is refused";
                problems
                    .push(Problem::new("qetl::decode::inert_key", ratio.span, what).help("add `on_bad_row = \"park\"`, or remove the key"));
            }
        }
        options
    }

    /// The separator of thousands, if it can be one.
    fn thousands(&self, decimal: u8, problems: &mut Problems) -> Option<char> {
        let text = self.thousands_separator.as_ref()?;
        let mut characters = text.chars();
        let refusal = match (characters.next(), characters.next()) {
            (Some(one), None) if one == char::from(decimal) => {
                Some(("`thousands_separator` and the decimal point are the same character", "`decimal_separator = \",\"` makes it a comma"))
            }
            (Some(one), None) if !one.is_alphanumeric() && !matches!(one, '+' | '-' | '\n' | '\r') => return Some(one),
            _ => Some(("`thousands_separator` is one character that is no digit, letter or sign", "such as `,`, `.`, `'` or a blank")),
        };
        if let Some((what, help)) = refusal {
            problems.push(Problem::new("qetl::decode::thousands_separator", text.span, what).help(help));
        }
        None
    }

    /// A text means true, or false, never both.
    fn refuse_contrary_booleans(&self, problems: &mut Problems) {
        let has = |values: &Option<Sp<Vec<String>>>, text: &str| values.as_ref().is_some_and(|values| values.iter().any(|own| own == text));
        for (values, key, others, contrary) in [
            (&self.true_values, "true_values", &self.false_values, ["false", "f", "0"]),
            (&self.false_values, "false_values", &None, ["true", "t", "1"]),
        ] {
            let Some(values) = values else { continue };
            let is_contrary = |text: &&String| contrary.contains(&text.to_lowercase().as_str()) || has(others, text);
            for text in values.iter().filter(is_contrary) {
                let what = format!("`{text}` of `{key}` means the opposite already");
                problems.push(
                    Problem::new("qetl::decode::boolean_values", values.span, what).help("each text means true or false: take it out"),
                );
            }
        }
    }

    /// No key is accepted that does nothing, whatever the columns.
    pub(crate) fn check_columns(&self, columns: &[Sp<InputColumn>], problems: &mut Problems) {
        let declares = |ty: Type| columns.iter().any(|column| column.declared() == Some(ty));
        let booleans = [("true_values", &self.true_values), ("false_values", &self.false_values)];
        let booleans = booleans.into_iter().filter_map(|(key, values)| Some((key, values.as_ref()?.span, Type::Bool)));
        let units = self.timestamp_unit.iter().map(|unit| ("timestamp_unit", unit.span, Type::Timestamp));
        for (key, span, ty) in units.chain(booleans).filter(|(.., ty)| !declares(*ty)) {
            let what = format!("`{key}` does nothing: no column is declared as `{ty}`");
            let help = format!("declare the column: `{{ name = \"…\", schema_type = \"{ty}\" }}`");
            problems.push(Problem::new("qetl::decode::inert_key", span, what).help(help));
        }
        self.check_text_keys(&declares_any(columns), problems);
        if self.header.as_ref().is_none_or(|header| header.value) {
            return;
        }
        let of_folders = self.partition_columns.as_deref().unwrap_or_default();
        for column in columns.iter().filter(|column| !of_folders.iter().any(|name| name.value == column.name.value)) {
            let from = column.from.as_ref().map(|from| ("from", from.span));
            let optional = column.optional.as_ref().map(|optional| ("optional", optional.span));
            for (key, span) in from.into_iter().chain(optional) {
                let what = format!("`{key}` does nothing with `header = false`: columns stand in the order of the fields");
                problems.push(Problem::new("qetl::decode::inert_key", span, what).help("remove the key"));
            }
        }
    }

    /// Keys for text, in files whose numbers are no text, or which bring the types of their columns.
    fn check_text_keys(&self, declares: &dyn Fn(&[&str]) -> bool, problems: &mut Problems) {
        let Some(format) = self.known_format() else { return };
        let is_json = matches!(format, Format::Json | Format::Jsonl);
        if format == Format::Csv {
            return;
        }
        const NUMBERS: &[&str] = &["integer", "float", "decimal"];
        const TIMES: &[&str] = &["date", "timestamp"];
        let keys = [
            (self.date_format.as_ref().map(|v| v.span), "date_format", TIMES, "date", is_json),
            (self.timestamp_format.as_ref().map(|v| v.span), "timestamp_format", TIMES, "timestamp", is_json),
            (self.decimal_separator.as_ref().map(|v| v.span), "decimal_separator", NUMBERS, "decimal(18,2)", false),
            (self.thousands_separator.as_ref().map(|v| v.span), "thousands_separator", NUMBERS, "decimal(18,2)", false),
        ];
        for (span, key, types, example, is_inferred) in keys {
            if let (Some(span), false) = (span, is_inferred || declares(types)) {
                let help = format!("remove the key, or declare the column of text that it reads: `schema_type = \"{example}\"`");
                let what = format!("`{key}` does nothing for {} files", format.name());
                problems.push(Problem::new("qetl::decode::inert_key", span, what).help(help));
            }
        }
    }

    /// The format of the files, as far as it says itself.
    fn known_format(&self) -> Option<Format> {
        self.format.as_ref().map(|format| format.value).or_else(|| Format::of_file(&self.source_path))
    }

    /// What is wrong with `partition_columns`, whose columns are among these.
    pub(crate) fn check_partitions(&self, input: &Input, problems: &mut Problems) {
        let columns = self.partition_columns.as_deref().unwrap_or_default();
        for (index, column) in columns.iter().enumerate() {
            input.check_column(column, "partition_columns", problems);
            if columns[..index].iter().any(|other| other.value == column.value) {
                let what = format!("`{}` stands twice in `partition_columns`", column.value);
                problems.push(Problem::new("qetl::decode::duplicate_column", column.span, what).label("here again"));
            }
        }
    }

    /// Each special character means one thing.
    fn refuse_equal_characters(&self, options: &ReaderOptions, problems: &mut Problems) {
        let is_csv = self.format.as_ref().is_none_or(|format| format.value == Format::Csv);
        let delimiter = self.delimiter.as_ref().map(|text| text.span);
        let roles = [
            ("delimiter", Some(options.delimiter.unwrap_or(b',')), delimiter),
            ("quote", options.quote, self.quote.as_ref().map(|text| text.span)),
            ("escape", options.escape, self.escape.as_ref().map(|text| text.span)),
            ("comment", options.comment, self.comment.as_ref().map(|text| text.span)),
        ];
        for (index, (name, character, span)) in roles.iter().enumerate().filter(|_| is_csv) {
            for (other, same, place) in &roles[..index] {
                // A quote that escapes itself is the doubled quote.
                let harmless = (*other, *name) == ("quote", "escape");
                if let (Some(span), true, false) = (span.or(*place), character.is_some() && character == same, harmless) {
                    problems.push(Problem::new(
                        "qetl::decode::same_character",
                        span,
                        format!("`{other}` and `{name}` are the same character"),
                    ));
                }
            }
        }
        if let (Some(escape), None) = (&self.escape, options.quote) {
            let what = "`escape` does nothing without quotes: it escapes a quote inside them";
            problems.push(Problem::new("qetl::decode::inert_key", escape.span, what).help("remove the key"));
        }
    }

    /// No key is accepted that does nothing: CSV's options for another format.
    fn inert_keys(&self, problems: &mut Problems) {
        let format = self.known_format();
        let csv_only = [
            (self.delimiter.as_ref().map(|v| v.span), "delimiter"),
            (self.quote.as_ref().map(|v| v.span), "quote"),
            (self.escape.as_ref().map(|v| v.span), "escape"),
            (self.comment.as_ref().map(|v| v.span), "comment"),
            (self.header.as_ref().map(|v| v.span), "header"),
            (self.skip_rows.as_ref().map(|v| v.span), "skip_rows"),
            (self.on_ragged_rows.as_ref().map(|v| v.span), "on_ragged_rows"),
            (self.null_values.as_ref().map(|v| v.span), "null_values"),
            (self.quoted_nulls.as_ref().map(|v| v.span), "quoted_nulls"),
            (self.encoding.as_ref().map(|v| v.span), "encoding"),
        ];
        for (span, key) in csv_only {
            if let (Some(span), Some(format)) = (span, format.filter(|format| *format != Format::Csv)) {
                problems.push(
                    Problem::new("qetl::decode::inert_key", span, format!("`{key}` does nothing for {} files", format.name()))
                        .help("remove the key"),
                );
            }
        }
    }
}

/// Whether some column is declared as one of these types, whatever its digits.
fn declares_any(columns: &[Sp<InputColumn>]) -> impl Fn(&[&str]) -> bool {
    move |types| {
        let mut declared = columns.iter().filter_map(|column| column.declared()).map(|ty| ty.to_string());
        declared.any(|ty| types.contains(&ty.split('(').next().unwrap_or_default()))
    }
}

/// Whether what the pattern writes of a date reads back as that date.
fn reads_dates(pattern: &str) -> bool {
    let date = chrono::NaiveDate::from_ymd_opt(2023, 11, 28).unwrap_or_default();
    let mut text = String::new();
    // A pattern may have a time of day: midnight is no more than the date.
    let midnight = date.and_time(chrono::NaiveTime::MIN).and_utc();
    write!(text, "{}", midnight.format(pattern)).is_ok() && chrono::NaiveDate::parse_from_str(&text, pattern) == Ok(date)
}

/// Whether what the pattern writes of a time reads back as that time, with or without an offset.
fn reads_timestamps(pattern: &str) -> bool {
    let time = chrono::NaiveDate::from_ymd_opt(2023, 11, 28).and_then(|date| date.and_hms_opt(17, 46, 39)).unwrap_or_default();
    let mut text = String::new();
    if write!(text, "{}", time.and_utc().format(pattern)).is_err() {
        return false;
    }
    let whole = chrono::NaiveDateTime::parse_from_str(&text, pattern)
        .or_else(|_| chrono::DateTime::parse_from_str(&text, pattern).map(|time| time.naive_utc()));
    // Patterns to the minute are fine: what they leave out is zero.
    whole.is_ok_and(|read| read == time || read == time - chrono::Duration::seconds(39))
}

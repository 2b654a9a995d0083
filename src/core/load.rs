//! `[properties.load]`: which files a flow reads, which batch each belongs to, and how text in them is read.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    decode::Sp,
    format::{Format, ReaderOptions},
    input::Input,
    problem::{Problem, Problems},
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
    /// Unquoted texts that mean NULL, beside the empty one.
    pub null_values: Option<Sp<Vec<String>>>,
    /// The text's encoding, such as `utf-8` or `windows-1252`.
    pub encoding: Option<Sp<String>>,
    /// A `strftime` pattern that dates may also have, such as `%d.%m.%Y`.
    pub date_format: Option<Sp<String>>,
    /// A `strftime` pattern that timestamps may also have.
    pub timestamp_format: Option<Sp<String>>,
    /// The decimal point of numbers: `.` or `,`.
    pub decimal_separator: Option<Sp<String>>,
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
        options.null_values = self.null_values.as_ref().map_or_else(Vec::new, |values| values.value.clone());
        options.encoding = self.encoding.as_ref().map_or_else(|| "utf-8".to_owned(), |name| name.value.clone());
        options.date_format = self.date_format.as_ref().map(|pattern| pattern.value.clone());
        options.timestamp_format = self.timestamp_format.as_ref().map(|pattern| pattern.value.clone());
        options
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
        let format = self.format.as_ref().map(|format| format.value).or_else(|| Format::of_file(&self.source_path));
        let csv_only = [
            (self.delimiter.as_ref().map(|v| v.span), "delimiter"),
            (self.quote.as_ref().map(|v| v.span), "quote"),
            (self.escape.as_ref().map(|v| v.span), "escape"),
            (self.comment.as_ref().map(|v| v.span), "comment"),
            (self.header.as_ref().map(|v| v.span), "header"),
            (self.skip_rows.as_ref().map(|v| v.span), "skip_rows"),
            (self.decimal_separator.as_ref().map(|v| v.span), "decimal_separator"),
            (self.null_values.as_ref().map(|v| v.span), "null_values"),
            (self.encoding.as_ref().map(|v| v.span), "encoding"),
        ];
        let text_only = [
            (self.date_format.as_ref().map(|v| v.span), "date_format"),
            (self.timestamp_format.as_ref().map(|v| v.span), "timestamp_format"),
        ];
        let inert: Vec<_> = match format {
            Some(Format::Parquet | Format::Arrow | Format::Avro) => csv_only.into_iter().chain(text_only).collect(),
            Some(Format::Json | Format::Jsonl) => csv_only.into_iter().collect(),
            Some(Format::Csv) | None => Vec::new(),
        };
        for (span, key) in inert {
            if let (Some(span), Some(format)) = (span, format) {
                problems.push(
                    Problem::new("qetl::decode::inert_key", span, format!("`{key}` does nothing for {} files", format.name()))
                        .help("remove the key"),
                );
            }
        }
    }
}

/// Whether what the pattern writes of a date reads back as that date.
fn reads_dates(pattern: &str) -> bool {
    let date = chrono::NaiveDate::from_ymd_opt(2023, 11, 28).unwrap_or_default();
    let mut text = String::new();
    write!(text, "{}", date.format(pattern)).is_ok() && chrono::NaiveDate::parse_from_str(&text, pattern) == Ok(date)
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

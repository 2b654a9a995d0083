//! Formats of source files, and how text in them is read.

use schemars::JsonSchema;
use serde::Deserialize;

/// A format of source files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Delimited text.
    Csv,
    /// JSON: one list of objects.
    Json,
    /// JSON lines: one object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
    /// Apache Arrow IPC: files and streams.
    Arrow,
    /// Apache Avro object container files.
    Avro,
}

impl Format {
    pub const ALL: [Format; 6] = [Format::Csv, Format::Json, Format::Jsonl, Format::Parquet, Format::Arrow, Format::Avro];

    pub fn name(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Json => "json",
            Format::Jsonl => "jsonl",
            Format::Parquet => "parquet",
            Format::Arrow => "arrow",
            Format::Avro => "avro",
        }
    }

    /// The format that a file's name says, compression endings (`.gz`, `.zst`) left aside.
    pub fn of_file(name: &str) -> Option<Format> {
        let lower = name.to_ascii_lowercase();
        let bare = lower.strip_suffix(".gz").or_else(|| lower.strip_suffix(".zst")).unwrap_or(&lower);
        match bare.rsplit_once('.')?.1 {
            "csv" | "tsv" | "txt" => Some(Format::Csv),
            "json" => Some(Format::Json),
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            "parquet" | "pq" => Some(Format::Parquet),
            "arrow" | "ipc" | "feather" => Some(Format::Arrow),
            "avro" => Some(Format::Avro),
            _ => None,
        }
    }
}

/// What numbers since 1970 count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TimestampUnit {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

/// What happens to rows that have more or fewer fields than the header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnRaggedRows {
    /// They do not fit.
    #[default]
    Fail,
    /// Fields that are missing at the end are NULL, and empty ones beyond the header are left out.
    Fill,
}

/// What happens to rows that do not fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnBadRow {
    /// The batch is refused.
    #[default]
    Fail,
    /// They go to the `_parked` dataset, with their text and what is wrong with them.
    Park,
}

/// How text is read, in files of text and in text columns of files that bring their types. All of it has a default.
#[derive(Debug, Clone, PartialEq)]
pub struct ReaderOptions {
    /// `None`: a tab for `.tsv` files, else a comma.
    pub delimiter: Option<u8>,
    pub quote: Option<u8>,
    /// Escapes a quote inside quotes; without it, a doubled quote does.
    pub escape: Option<u8>,
    /// Lines that begin with it are left out.
    pub comment: Option<u8>,
    /// The first line names the columns; without it, they stand in the order of `[input] columns`.
    pub header: bool,
    /// Lines before the header that are left out.
    pub skip_rows: usize,
    pub on_ragged_rows: OnRaggedRows,
    /// Texts of CSV files, beside the empty one, that mean NULL.
    pub null_values: Vec<String>,
    /// Quoted texts mean NULL in text columns too; in others they do anyway.
    pub quoted_nulls: bool,
    /// An encoding label of the WHATWG list, such as `utf-8`, `latin1`, `windows-1252`, `utf-16le`.
    pub encoding: String,
    /// `strftime` patterns that dates may also have.
    pub date_format: Option<String>,
    pub timestamp_format: Option<String>,
    /// What numbers count that stand for timestamps.
    pub timestamp_unit: Option<TimestampUnit>,
    /// The decimal point of numbers.
    pub decimal_separator: u8,
    /// Stands between groups of three digits.
    pub thousands_separator: Option<char>,
    /// Texts that are booleans, beside the usual ones.
    pub true_values: Vec<String>,
    pub false_values: Vec<String>,
    /// Columns whose values the names of the file's folders tell.
    pub partition_columns: Vec<String>,
    pub on_bad_row: OnBadRow,
    /// Above this share of a batch's rows that do not fit it is refused.
    pub max_bad_ratio: f64,
}

impl ReaderOptions {
    /// Whether rows that do not fit are landed, to be set aside.
    pub fn parks_bad_rows(&self) -> bool {
        self.on_bad_row == OnBadRow::Park
    }
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            delimiter: None,
            quote: Some(b'"'),
            escape: None,
            comment: None,
            header: true,
            skip_rows: 0,
            on_ragged_rows: OnRaggedRows::Fail,
            null_values: Vec::new(),
            quoted_nulls: false,
            encoding: "utf-8".to_owned(),
            date_format: None,
            timestamp_format: None,
            timestamp_unit: None,
            decimal_separator: b'.',
            thousands_separator: None,
            true_values: Vec::new(),
            false_values: Vec::new(),
            partition_columns: Vec::new(),
            on_bad_row: OnBadRow::Fail,
            max_bad_ratio: 1.0,
        }
    }
}

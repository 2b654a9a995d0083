//! Formats of source files, and how text in them is read.

use schemars::JsonSchema;
use serde::Deserialize;

/// A format of source files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Delimited text.
    Csv,
    /// JSON lines: one object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    pub const ALL: [Format; 3] = [Format::Csv, Format::Jsonl, Format::Parquet];

    pub fn name(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Jsonl => "jsonl",
            Format::Parquet => "parquet",
        }
    }

    /// The format that a file's name says, compression endings (`.gz`, `.zst`) left aside.
    pub fn of_file(name: &str) -> Option<Format> {
        let lower = name.to_ascii_lowercase();
        let bare = lower.strip_suffix(".gz").or_else(|| lower.strip_suffix(".zst")).unwrap_or(&lower);
        match bare.rsplit_once('.')?.1 {
            "csv" | "tsv" | "txt" => Some(Format::Csv),
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            "parquet" | "pq" => Some(Format::Parquet),
            _ => None,
        }
    }
}

/// How text files are read. All of it has a default; none of it changes Parquet files.
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
    /// Texts, beside the empty one, that mean NULL when they stand unquoted.
    pub null_values: Vec<String>,
    /// An encoding label of the WHATWG list, such as `utf-8`, `latin1`, `windows-1252`, `utf-16le`.
    pub encoding: String,
    /// `strftime` patterns that dates may also have.
    pub date_format: Option<String>,
    pub timestamp_format: Option<String>,
    /// The decimal point of numbers.
    pub decimal_separator: u8,
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
            null_values: Vec::new(),
            encoding: "utf-8".to_owned(),
            date_format: None,
            timestamp_format: None,
            decimal_separator: b'.',
        }
    }
}

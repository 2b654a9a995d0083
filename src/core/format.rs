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

/// How text files are read. All of it has a default; none of it changes files that bring their own types.
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
    /// Columns whose values the names of the file's folders tell.
    pub partition_columns: Vec<String>,
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
            partition_columns: Vec::new(),
        }
    }
}

//! The command line.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// Declarative data flows in TOML, compiled to DataFusion plans or SQL.
#[derive(Debug, Parser)]
#[command(name = "qetl", version, max_term_width = 110, after_help = "Start with:  qetl init shop && cd shop && qetl plan && qetl execute")]
pub(crate) struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Global {
    /// The project's folder; the nearest one upward with `qetl.toml` or `flows/` without it
    #[arg(long, global = true, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// The profile of `qetl.toml` to lay over the defaults
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// Print results and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Name each batch's files, and each invariant that holds
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// When to colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowFormat {
    Table,
    Csv,
    Json,
    Parquet,
}

impl RowFormat {
    pub(crate) fn name(self) -> &'static str {
        match self {
            RowFormat::Table => "table",
            RowFormat::Csv => "csv",
            RowFormat::Json => "json",
            RowFormat::Parquet => "parquet",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GenerateTarget {
    /// For each flow, scripts that a database's own shell runs
    Sql,
    /// A dbt project
    Dbt,
    /// A file of DAGs that call qetl
    Airflow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Show {
    /// The engine-free instructions of each task
    Instructions,
    /// SQL text, in the dialect that `--dialect` names
    Sql,
    /// DataFusion's logical plans
    Logical,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Graph {
    Mermaid,
    Dot,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a project that runs as it is, with sample data
    #[command(after_help = "Example:  qetl init shop")]
    Init {
        /// The folder to make
        dir: PathBuf,
        /// The flow type to begin with
        #[arg(long, default_value = "change_feed", value_name = "FLOW_TYPE")]
        template: String,
    },
    /// Check every flow without reading data
    #[command(after_help = "Example:  qetl check orders_change_feed")]
    Check {
        /// Flow ids; all flows without one
        flows: Vec<String>,
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Show what `execute` would do now
    #[command(
        after_help = "Examples:\n  qetl plan\n  qetl plan orders_change_feed --show sql --dialect sqlite\n  qetl plan --graph mermaid"
    )]
    Plan {
        #[command(flatten)]
        batch: BatchArgs,
        /// What to print of each task
        #[arg(long, value_enum)]
        show: Option<Show>,
        /// The SQL dialect of `--show sql`
        #[arg(long, value_name = "DIALECT", default_value = "sqlite")]
        dialect: String,
        /// Print the DAG alone
        #[arg(long, value_enum, conflicts_with = "show")]
        graph: Option<Graph>,
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Execute the batches that wait
    #[command(
        visible_alias = "run",
        after_help = "Examples:\n  qetl execute\n  qetl execute orders_change_feed --batch-id 7 --input late/orders_7.csv\n  qetl execute --full-refresh"
    )]
    Execute {
        #[command(flatten)]
        batch: BatchArgs,
        /// How many tasks of a standard flow may run at once
        #[arg(long, value_name = "N")]
        jobs: Option<NonZeroUsize>,
        /// Seconds to wait for another run of the flow to end
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        wait: u64,
        /// Go on from this version, which is the one that is left: newer ones were published and lost
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..), conflicts_with = "dry_run")]
        accept_catalog_version: Option<i64>,
        /// Show what would be done instead
        #[arg(long)]
        dry_run: bool,
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Write code that runs the flows elsewhere: SQL scripts, a dbt project, an Airflow file
    #[command(
        after_help = "Examples:\n  qetl generate --target sql --dialect postgres --out generated/postgres\n  qetl generate orders_change_feed --target dbt --dialect duckdb --out dbt\n  qetl generate --target airflow --out dags\n  qetl generate --target sql --dialect postgres --out generated/postgres --check"
    )]
    Generate {
        /// Flow ids; all flows without one
        flows: Vec<String>,
        #[arg(long, value_enum)]
        target: GenerateTarget,
        /// The SQL dialect; not for `airflow`, where no SQL is written
        #[arg(long, value_name = "DIALECT", required_if_eq_any([("target", "sql"), ("target", "dbt")]))]
        dialect: Option<String>,
        /// The folder that the files are written to; files of earlier calls that are no longer made are removed from it
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Write nothing; exit with 1 and show the difference if the files in the folder are not as they would be written
        #[arg(long)]
        check: bool,
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Read datasets with SQL; schema `qetl` holds the records of batches, files, runs and versions
    #[command(
        after_help = "Examples:\n  qetl query \"SELECT xt_record_type, count(*) FROM orders_change_feed GROUP BY 1\"\n  qetl query \"SELECT * FROM orders_state\" --format csv --at 3"
    )]
    Query {
        sql: String,
        #[command(flatten)]
        rows: RowArgs,
    },
    /// Look at a dataset
    #[command(after_help = "Example:  qetl show orders_change_feed --batch 2 --limit 20")]
    Show {
        dataset: String,
        /// Only the rows of this batch
        #[arg(long, value_name = "N")]
        batch: Option<i64>,
        /// At most so many rows
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u64,
        #[command(flatten)]
        rows: RowArgs,
    },
    /// Check what each flow type promises of its tables, on the stored tables
    #[command(after_help = "Example:  qetl verify orders_change_feed")]
    Verify {
        /// Flow ids; all flows without one
        flows: Vec<String>,
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// List what is stored: schema, rows, size, batches
    Datasets {
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// List the runs, newest first
    History {
        /// The flow; all flows without it
        flow: Option<String>,
        /// At most so many runs
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// List the flow types, or the properties of one
    #[command(after_help = "Example:  qetl flow-types change_feed")]
    FlowTypes {
        name: Option<String>,
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Print the JSON Schema of flow files, for editors
    #[command(after_help = "Example:  qetl schema > .flow.schema.json")]
    Schema,
    /// Print a completion script
    #[command(after_help = "Example:  qetl completions bash > /etc/bash_completion.d/qetl")]
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct BatchArgs {
    /// Flow ids; all flows without one
    pub flows: Vec<String>,
    /// The batch to execute
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub batch_id: Option<i64>,
    /// A file of that batch, relative to the current folder; repeat it for more
    #[arg(long, value_name = "PATH", requires = "batch_id")]
    pub input: Vec<PathBuf>,
    /// The execution time to record, as a date or an ISO 8601 time
    #[arg(long, value_name = "DATE")]
    pub execution_date: Option<String>,
    /// A value for the templates of standard flows; repeat it for more
    #[arg(long, value_name = "NAME=VALUE")]
    pub var: Vec<String>,
    /// Derive everything again from what was landed
    #[arg(long)]
    pub full_refresh: bool,
    /// Let the batch through its guards
    #[arg(long)]
    pub accept_guards: bool,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct RowArgs {
    /// How rows are written; without it the ending of `--out` decides, and a screen gets a table
    #[arg(long, value_enum)]
    pub format: Option<RowFormat>,
    /// A version, or a time, to read as of
    #[arg(long, value_name = "VERSION|TIME")]
    pub at: Option<String>,
    /// Write to a file, whose ending decides the format: `.csv`, `.json`, `.jsonl`, `.parquet`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

//! `docs/portability.md`: which flow type was proven where, and what is refused. What was proven is what the tests of this run kept in
//! the folder `QETL_OUTCOMES`; what is refused is found out by writing the SQL of random histories, the same ones each time.

use std::{collections::BTreeSet, fmt::Write, fs, path::Path};

use qetl_sql::{Dialect, dialects};
use qetl_test_models::outcomes;

use crate::dialects::{FLOW_TYPES, FlowType, case, drawn};

/// Histories whose SQL is written.
const WRITTEN: u64 = 40;

/// Engines and programs that run flows, with the dialect of what they run.
const RUN: [(&str, Option<&dyn Dialect>); 6] = [
    ("datafusion", None),
    ("duckdb", Some(&dialects::DuckDb::EMBEDDED)),
    ("sqlite", Some(&dialects::Sqlite::EMBEDDED)),
    ("postgres", Some(&dialects::Postgres)),
    ("mariadb", Some(&dialects::MySql::ENGINE)),
    ("spark", Some(&dialects::Databricks)),
];

/// Dialects whose SQL is written, and run by nothing here.
const WRITTEN_ONLY: [&dyn Dialect; 5] =
    [&dialects::Snowflake, &dialects::BigQuery, &dialects::Trino, &dialects::ClickHouse, &dialects::Ansi];

/// Flow types of which there is no SQL of qetl's.
const OF_AUTHORS: [&str; 2] = ["standard", "source_dataset"];

/// A part of what a dialect says, and the same for people.
const REASONS: [(&str, &str); 3] = [
    (
        "the standard has no function",
        "standard SQL has no functions for periods, for distances of times, and for texts of times and floats",
    ),
    ("the canonical text of a float", "a float as a key: its text, which ids are made of, would not be that of other engines"),
    ("how sessions follow", "`session_max_duration_seconds`: sessions follow from one another, and the dialect's recursion ends early"),
];

/// The notes of the page, by number.
#[derive(Default)]
struct Notes(Vec<&'static str>);

impl Notes {
    /// The numbers of reasons.
    fn numbers(&mut self, reasons: &BTreeSet<&'static str>) -> String {
        let mut number = |reason: &&'static str| {
            let place = self.0.iter().position(|known| known == reason).unwrap_or_else(|| {
                self.0.push(reason);
                self.0.len() - 1
            });
            format!("[{}]", place + 1)
        };
        reasons.iter().map(&mut number).collect::<Vec<_>>().join(" ")
    }
}

fn reason(said: &str) -> &'static str {
    let known = REASONS.iter().find(|(part, _)| said.contains(part));
    known.unwrap_or_else(|| panic!("`REASONS` has nothing for: {said}")).1
}

/// What the dialect says of histories of a flow type: why it refuses some, and whether it refuses all.
fn refused(dialect: &dyn Dialect, flow_type: FlowType) -> (BTreeSet<&'static str>, bool) {
    let (mut reasons, mut all) = (BTreeSet::new(), true);
    for seed in 0..WRITTEN {
        match case(&drawn(flow_type, seed), dialect) {
            Ok(case) => {
                all = false;
                reasons.extend(case.left_out.iter().map(|why| reason(&why.to_string())));
            }
            Err(why) => _ = reasons.insert(reason(&why.to_string())),
        }
    }
    (reasons, all)
}

fn row(first: &str, cells: &[String]) -> String {
    format!("| {first} | {} |\n", cells.join(" | "))
}

fn head(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    row("flow type", &names) + &row("---", &vec!["---".to_owned(); names.len()])
}

fn page() -> Result<String, String> {
    let mut notes = Notes::default();
    let mut run = head(&RUN.map(|(name, _)| name));
    let mut written = head(&WRITTEN_ONLY.map(Dialect::name));
    for name in FLOW_TYPES.iter().map(|(name, _)| *name).chain(OF_AUTHORS) {
        let flow_type = FLOW_TYPES.into_iter().find(|(known, _)| *known == name);
        let mut cells = Vec::new();
        for (engine, dialect) in RUN {
            if flow_type.is_none() && engine == "spark" {
                cells.push("–".to_owned());
                continue;
            }
            let outcome = outcomes::recorded(engine, name).ok_or_else(|| format!("nothing is known of {name} on {engine}"))?;
            if outcome.refused.values().sum::<u32>() == outcome.histories {
                cells.push(format!("refused {}", notes.numbers(&outcome.refused.keys().map(|why| reason(why)).collect())));
                continue;
            }
            let (reasons, _) = dialect.zip(flow_type).map(|(dialect, flow_type)| refused(dialect, flow_type)).unwrap_or_default();
            let but = notes.numbers(&reasons);
            cells.push(if but.is_empty() { "proven".to_owned() } else { format!("proven, but {but}") });
        }
        run += &row(name, &cells);
        let Some(flow_type) = flow_type else { continue };
        let cells = WRITTEN_ONLY.map(|dialect| match refused(dialect, flow_type) {
            (reasons, true) => format!("refused {}", notes.numbers(&reasons)),
            (reasons, false) if reasons.is_empty() => "generated only".to_owned(),
            (reasons, false) => format!("generated only, but {}", notes.numbers(&reasons)),
        });
        written += &row(name, &cells);
    }
    let mut text = format!(
        "{HEAD}\n{run}\n{BETWEEN}\n{written}\nRefused, at its place in the flow file ([all that can be](sql.md#what-is-refused-and-why)):\n\n"
    );
    for (number, note) in (1..).zip(&notes.0) {
        writeln!(text, "- [{number}] {note}").unwrap();
    }
    Ok(text)
}

const HEAD: &str = "# Portability

Written by the tests (`scripts/test`), from what they found.

*Proven*: random histories (NULLs, decimals, texts of one letter's two cases and with blanks at the end, non-ASCII, time zones, times before 1970 and
after 2038, NaN and infinities where the engine holds them; late, replayed and refused batches) end in the tables of a plain reference
model, and in the same ones after everything is derived again; `verify` finds nothing. [Values that an engine does not
hold](engines.md#what-a-database-does-not-hold) are refused there.
";

const BETWEEN: &str = "Spark runs the SQL that `qetl plan --show sql --dialect databricks` prints. `standard` flows run their authors' SQL; `source_dataset` is a flow of any
type that reads another one's dataset.

*Generated only*: the SQL is written, parsed by sqlglot in its dialect, and kept as snapshots; nothing here runs it.
";

#[test]
fn portability_is_what_was_found() {
    let text = match page() {
        Ok(text) => text,
        Err(why) => {
            println!("skipped: {why}");
            return;
        }
    };
    fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/portability.md"), text).unwrap();
}

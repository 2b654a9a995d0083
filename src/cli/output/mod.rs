//! The only place that prints: results to stdout, all else to stderr.
#![expect(clippy::wildcard_enum_match_arm, reason = "problems have a form of their own; every other error is a message and a help")]

mod bar;
pub(crate) mod cells;

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
};

use comfy_table::{ContentArrangement, Table, presets};
use miette::{GraphicalReportHandler, GraphicalTheme, ThemeCharacters, ThemeStyles};
use qetl_core::{Problem, Problems};
use qetl_runtime::{
    RunError,
    progress::{Event, Progress},
    report::{ErrorReport, StepReport},
};

use crate::args::{Color, Global};

/// How to print: to whom, in which colours.
pub(crate) struct Output {
    quiet: bool,
    verbose: bool,
    color_out: bool,
    color_err: bool,
    bar: Arc<Mutex<bar::Bar>>,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        let color = |is_terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        let bar = bar::Bar::new(!global.quiet && std::io::stderr().is_terminal());
        Self {
            quiet: global.quiet,
            verbose: global.verbose,
            color_out: color(std::io::stdout().is_terminal()),
            color_err: color(std::io::stderr().is_terminal()),
            bar: Arc::new(Mutex::new(bar)),
        }
    }

    /// A result. A reader that has gone away is no error.
    pub(crate) fn print(&self, text: &str) {
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }

    fn tell(&self, text: &str) {
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    /// Something worth knowing beside the result.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.tell(&format!("{text}\n"));
        }
    }

    pub(crate) fn warn(&self, text: &str) {
        if !self.quiet {
            self.tell(&format!("{} {text}\n", paint(self.color_err, "33;1", "warning:")));
        }
    }

    pub(crate) fn warnings(&self, problems: &Problems) {
        if !self.quiet {
            problems.0.iter().for_each(|problem| self.problem(problem));
        }
    }

    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    pub(crate) fn dim(&self, text: &str) -> String {
        paint(self.color_out, "2", text)
    }

    /// What went wrong, and the way out.
    pub(crate) fn error(&self, error: &RunError) {
        self.progress_done();
        match error {
            RunError::Problems(problems) => problems.0.iter().for_each(|problem| self.problem(problem)),
            other => self.failure(&other.to_string(), &other.help()),
        }
    }

    /// Why a flow or a batch failed.
    pub(crate) fn failed(&self, error: &ErrorReport) {
        match error.problems.has_errors() {
            true => error.problems.0.iter().for_each(|problem| self.problem(problem)),
            false => self.failure(&error.message, &error.help),
        }
    }

    pub(crate) fn failure(&self, message: &str, help: &str) {
        self.tell(&format!("{} {message}\n", paint(self.color_err, "31;1", "error:")));
        if !help.is_empty() {
            self.tell(&format!("{} {help}\n", paint(self.color_err, "36", "help:")));
        }
    }

    fn problem(&self, problem: &Problem) {
        self.tell(&picture(problem, self.color_err));
    }

    /// A table that fits the terminal; as wide as it is where there is none.
    pub(crate) fn table(&self, header: &[&str], rows: &[Vec<String>]) {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY).set_header(header.to_vec());
        table.set_content_arrangement(ContentArrangement::Dynamic);
        if std::io::stdout().is_terminal() {
            table.set_width(u16::try_from(width()).unwrap_or(120));
        } else {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        rows.iter().for_each(|row| {
            table.add_row(row);
        });
        self.print(&format!("{table}\n"));
    }

    /// Listens to a run: lines of finished steps on stdout, a bar on a terminal for those that take long.
    pub(crate) fn progress(&self, lines: bool) -> Progress {
        let (bar, quiet, verbose) = (self.bar.clone(), self.quiet, self.verbose);
        let (dim, color_err) = (self.color_out, self.color_err);
        Progress::new(move |event| {
            let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Event::BatchStarted { flow, batch_id, files, landed_before, dataset } => {
                    bar.batch = Some(batch_id);
                    if lines && !quiet {
                        let count = if files.len() == 1 { "1 file".to_owned() } else { format!("{} files", files.len()) };
                        let told = match dataset {
                            Some(dataset) => dataset.to_string(),
                            None if verbose => files.join(", "),
                            None => count,
                        };
                        let more = if landed_before > 0 { format!(", {landed_before} landed before") } else { String::new() };
                        bar.line(&format!("{flow} batch {batch_id}  {}", paint(dim, "2", &format!("{told}{more}"))));
                    }
                }
                Event::StepStarted { batch_id, step, .. } => bar.start(&format!("{step} batch {batch_id}")),
                Event::Rows { rows, share } => bar.rows(rows, share),
                Event::StepDone { report, batch_id, .. } => {
                    bar.stop();
                    if lines && !quiet {
                        let again = if bar.batch == Some(batch_id) { String::new() } else { format!("   (batch {batch_id} again)") };
                        bar.line(&format!("{}{again}", step_line(&report)));
                    }
                }
                Event::Said { step, line, .. } => {
                    if !quiet {
                        bar.warn(&format!("{step}: {line}"));
                    }
                }
                Event::Warnings { problems } => {
                    if !quiet {
                        problems.0.iter().for_each(|problem| bar.warn(picture(problem, color_err).trim_end_matches('\n')));
                    }
                }
                Event::Warning { flow, message } => {
                    if !quiet {
                        bar.warn(&format!("warning: {flow}: {message}"));
                    }
                }
            }
        })
    }

    pub(crate) fn progress_done(&self) {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner).stop();
    }
}

/// The problem with its line of the file.
fn picture(problem: &Problem, color: bool) -> String {
    let styles = if color { ThemeStyles::ansi() } else { ThemeStyles::none() };
    let theme = GraphicalTheme { characters: ThemeCharacters::unicode(), styles };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(width().clamp(60, 120)).with_links(false);
    let mut text = String::new();
    match handler.render_report(&mut text, problem) {
        Ok(()) => format!("{text}\n"),
        Err(_) => format!("{}: {problem}\n{}\n", problem.place(), problem.help),
    }
}

fn step_line(report: &StepReport) -> String {
    let counts = |counts: &BTreeMap<String, u64>| {
        counts.iter().map(|(word, count)| format!("{word} {}", grouped(*count))).collect::<Vec<_>>().join("  ")
    };
    let line = format!("  {:<32} {:>13} rows {:>8.2} s   {}", report.step, grouped(report.rows), report.seconds, counts(&report.counts));
    line.trim_end().to_owned()
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn paint(color: bool, code: &str, text: &str) -> String {
    if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// The terminal's width in characters.
fn width() -> usize {
    terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_005_000), "1,005,000");
    }
}

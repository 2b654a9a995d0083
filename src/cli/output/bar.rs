//! A progress bar on stderr, for steps that take long, and lines that do not tear it.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long a step goes on before it is worth a bar.
const PATIENCE: Duration = Duration::from_millis(400);

pub(super) struct Bar {
    shown: bool,
    /// The batch that is executed; others are derived again because of it.
    pub(super) batch: Option<i64>,
    name: String,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Bar {
    pub(super) fn new(shown: bool) -> Self {
        Self { shown, batch: None, name: String::new(), started: Instant::now(), bar: None }
    }

    pub(super) fn start(&mut self, name: &str) {
        self.stop();
        name.clone_into(&mut self.name);
        self.started = Instant::now();
    }

    pub(super) fn rows(&mut self, rows: u64, share: Option<f64>) {
        if !self.shown || self.started.elapsed() < PATIENCE {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr_with_hz(10));
            let template = if share.is_some() {
                "  {prefix} [{bar:30}] {percent:>3} %  {msg}  {elapsed}"
            } else {
                "  {prefix} {spinner} {msg}  {elapsed}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(self.name.clone());
            bar
        });
        if let Some(share) = share {
            bar.set_position((share.clamp(0.0, 1.0) * 1000.0) as u64);
        }
        bar.set_message(format!("{} rows", super::grouped(rows)));
        bar.tick();
    }

    pub(super) fn stop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// A line of the result, on stdout.
    pub(super) fn line(&mut self, text: &str) {
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    pub(super) fn warn(&mut self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

//! Golden tests: what flows are planned to be, in instructions and in SQL, and how wrong flow files are answered.
//! No engine is compiled.
#![cfg(test)]

mod functions;
mod generate;
mod golden;
mod problems;
mod reference;
mod standard;
mod steps;
mod width;

use insta::Settings;

/// Snapshots stand in the workspace's folder, named after what they show.
fn snapshots(folder: &str) -> Settings {
    let mut settings = Settings::clone_current();
    settings.set_snapshot_path(format!("../../snapshots/{folder}"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

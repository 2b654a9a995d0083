//! Names of new folders and files are on disk before a run says that a batch is published.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use crate::cli::Cli;

/// The system calls that succeeded, in the order in which they ended: what was done with which path.
fn calls(text: &str) -> Vec<(&str, &str)> {
    let (mut calls, mut begun) = (Vec::new(), BTreeMap::new());
    for line in text.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        // What another thread's call interrupts is told in two parts.
        let told = if call.trim_start().starts_with("<...") { begun.remove(thread) } else { named(call.trim_start()) };
        if line.trim_end().ends_with("= 0") {
            calls.extend(told);
        } else if let Some(told) = told {
            begun.insert(thread, told);
        }
    }
    calls
}

/// A call's name and path.
fn named(call: &str) -> Option<(&str, &str)> {
    let (name, rest) = call.split_once('(')?;
    let path = if name.starts_with("mkdir") { rest.split('"').nth(1)? } else { rest.split_once('<')?.1.split_once('>')?.0 };
    Some((name, path))
}

#[test]
fn names_of_new_folders_are_synced_before_a_batch_is_published() {
    let can_trace = Command::new("strace").args(["-o", "/dev/null", "true"]).output().is_ok_and(|output| output.status.success());
    if !can_trace {
        eprintln!("there is no strace that may look at programs: the order of system calls is not looked at");
        return;
    }
    for template in super::TEMPLATES {
        let cli = Cli::empty();
        cli.ok(&["init", ".", "--template", template]);
        let program = cli.command(&["execute"]);
        let mut traced = Command::new("strace");
        traced.args(["-f", "-y", "-e", "trace=mkdir,mkdirat,fsync,fdatasync", "-o"]).arg(cli.path("trace"));
        traced.arg(program.get_program()).args(program.get_args()).current_dir(cli.folder.path());
        assert!(traced.output().unwrap().status.success(), "{template}");
        let trace = fs::read_to_string(cli.path("trace")).unwrap();
        let calls = calls(&trace);
        let is_sync = |call: &(&str, &str), path: &Path| call.0.ends_with("sync") && Path::new(call.1) == path;
        let mut made = 0;
        for (place, (_, folder)) in calls.iter().enumerate().filter(|(_, call)| call.0.starts_with("mkdir")) {
            let parent = Path::new(folder).parent().unwrap();
            if folder.ends_with("/warehouse/tmp") || folder.contains("/warehouse/tmp/") {
                // Nothing there outlives the run.
                continue;
            }
            let noted = calls.iter().skip(place).position(|call| call.0 == "fsync" && call.1.ends_with("published.json.new"));
            // The catalog itself is noted before there is any data; what a publish makes is synced before the next note.
            let until = if folder.contains("/data") { noted.unwrap() } else { calls.len() - place };
            let synced = calls.iter().skip(place).take(until).any(|call| is_sync(call, parent));
            assert!(synced, "{template}: the name of `{folder}` is not durable:\n{trace}");
            made += 1;
        }
        assert!(made >= 5, "{template}: {made} folders:\n{trace}");
    }
}

//! Signals that come while a batch is published, and at any other time.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use super::{TEMPLATES, Victim, catalog, data_files, statuses, tables};
use crate::{
    cli::{Cli, Output},
    crash::copy_of,
};

/// How many rounds of random moments there are in all.
fn rounds() -> usize {
    std::env::var("QETL_SIGNALS").ok().and_then(|text| text.parse().ok()).unwrap_or(36)
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status().unwrap();
    assert!(sent.success());
}

fn start(cli: &Cli) -> Child {
    cli.command(&["execute"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The lines that a run prints, as they come.
fn lines(child: &mut Child) -> Receiver<String> {
    let (sender, lines) = channel();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    lines
}

/// A run that waits to commit, until the connection that it waits for lets go.
fn held(victim: &Victim) -> (Cli, Child, rusqlite::Connection) {
    let cli = copy_of(&victim.base);
    let steps = cli.ok(&["datasets", "--format", "json"]).lines().filter(|line| line.contains("\"view\":false")).count();
    let connection = catalog(&cli);
    let mut child = start(&cli);
    let lines = lines(&mut child);
    hold(victim, &connection);
    for _ in 0..steps {
        while !lines.recv_timeout(Duration::from_secs(60)).unwrap().contains(" rows ") {}
    }
    // From the last step it is not far to the commit.
    thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "{}: the run did not wait", victim.template);
    (cli, child, connection)
}

/// Keeps a run from committing, once it is at work.
fn hold(victim: &Victim, connection: &rusqlite::Connection) {
    let until = Instant::now() + Duration::from_secs(60);
    let running = "SELECT EXISTS (SELECT 1 FROM qetl_runs WHERE status = 'running')";
    while !connection.query_row(running, (), |row| row.get::<_, bool>(0)).unwrap() {
        assert!(Instant::now() < until, "{}: the run never began", victim.template);
        thread::sleep(Duration::from_millis(1));
    }
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
}

fn each_victim(see: impl Fn(&Victim) + Sync) {
    thread::scope(|scope| {
        for half in TEMPLATES.chunks(2) {
            scope.spawn(|| half.iter().for_each(|template| see(&Victim::of(template))));
        }
    });
}

#[test]
fn a_signal_during_the_commit_loses_nothing() {
    each_victim(|victim| {
        for name in ["INT", "TERM", "KILL"] {
            let what = format!("{} {name}", victim.template);
            let (cli, mut child, connection) = held(victim);
            signal(&child, name);
            if name == "KILL" {
                child.wait().unwrap();
                connection.execute_batch("ROLLBACK").unwrap();
                assert_eq!(tables(&cli), victim.before, "{what}");
                cli.ok(&["execute"]);
                assert_eq!(tables(&cli), victim.after, "{what}");
                assert_eq!(statuses(&cli).split_off(statuses(&cli).len() - 2), ["killed", "succeeded"], "{what}");
                continue;
            }
            thread::sleep(Duration::from_millis(200));
            assert!(child.try_wait().unwrap().is_none(), "{what}: it did not wait for the commit");
            connection.execute_batch("ROLLBACK").unwrap();
            let output: Output = child.wait_with_output().unwrap().into();
            assert_eq!(output.code, 130, "{what}: {output:?}");
            assert!(output.stderr.contains("interrupted: batch ") && output.stderr.contains(" is published"), "{what}: {output:?}");
            assert!(output.stderr.contains("its outcome is waited for"), "{what}: {output:?}");
            assert_eq!(tables(&cli), victim.after, "{what}");
            assert!(cli.ok(&["execute"]).contains("up to date"), "{what}");
            assert_eq!(tables(&cli), victim.after, "{what}: the same command again");
            assert_eq!(statuses(&cli).last().unwrap(), "succeeded", "{what}");
        }
    });
}

#[test]
fn who_asks_twice_does_not_wait_and_loses_nothing() {
    let victim = Victim::of("change_feed");
    for names in [["INT", "INT"], ["TERM", "INT"]] {
        let (cli, child, connection) = held(&victim);
        signal(&child, names[0]);
        thread::sleep(Duration::from_millis(100));
        signal(&child, names[1]);
        let output: Output = child.wait_with_output().unwrap().into();
        assert_eq!(output.code, 130, "{output:?}");
        assert!(output.stderr.contains("not known yet"), "{output:?}");
        connection.execute_batch("ROLLBACK").unwrap();
        let found = tables(&cli);
        assert!(found == victim.before || found == victim.after, "{found}");
        cli.ok(&["execute"]);
        assert_eq!(tables(&cli), victim.after);
    }
}

#[test]
fn a_signal_at_any_moment_loses_no_batch() {
    let tallies = thread::scope(|scope| {
        let halves: Vec<_> = TEMPLATES
            .chunks(2)
            .enumerate()
            .map(|(half, templates)| {
                scope.spawn(move || templates.iter().map(|template| at_random(template, half as u64)).collect::<Vec<_>>())
            })
            .collect();
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect::<Vec<_>>()
    });
    for (template, tally) in TEMPLATES.iter().zip(&tallies) {
        println!("{template}: {tally:?}");
    }
}

/// Signals at random moments of a run; how often each came to what.
fn at_random(template: &'static str, seed: u64) -> BTreeMap<String, usize> {
    let victim = Victim::of(template);
    let whole = {
        let (cli, started) = (copy_of(&victim.base), Instant::now());
        cli.ok(&["execute"]);
        started.elapsed()
    };
    let (mut tally, mut random) = (BTreeMap::new(), seed + 0x9E37_79B9_7F4A_7C15);
    for round in 0..rounds().div_ceil(TEMPLATES.len()) {
        let name = ["INT", "TERM", "KILL"][round % 3];
        let mut share = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005_u64).wrapping_add(1_442_695_040_888_963_407);
            (random >> 11) as f64 / (1_u64 << 53) as f64
        };
        // By turns at any moment, and while somebody keeps the run from committing.
        let (delay, holds) = (whole.mul_f64(share() * 1.05), round / 3 % 2 == 1);
        let what = format!("{template}, {name} after {delay:.3?}, held: {holds}");
        let cli = copy_of(&victim.base);
        let connection = holds.then(|| catalog(&cli));
        let mut child = start(&cli);
        if let Some(connection) = &connection {
            hold(&victim, connection);
        }
        thread::sleep(delay);
        if child.try_wait().unwrap().is_none() {
            signal(&child, name);
        }
        if let Some(connection) = &connection {
            thread::sleep(whole.mul_f64(share() / 2.0));
            connection.execute_batch("ROLLBACK").unwrap();
        }
        let output: Output = child.wait_with_output().unwrap().into();
        // -1: by the signal itself, before the program listens.
        assert!([0, 130, -1].contains(&output.code), "{what}: {output:?}");
        let found = tables(&cli);
        assert!(found == victim.before || found == victim.after, "{what}: the tables are torn:\n{found}\n{output:?}");
        let published = found == victim.after;
        if output.code == 0 || output.stderr.contains(" is published") {
            assert!(published, "{what}: it was said to be published: {output:?}");
        }
        if output.stderr.contains(" is not published") {
            assert!(!published, "{what}: it was said not to be published: {output:?}");
        }
        cli.ok(&["execute"]);
        assert_eq!(tables(&cli), victim.after, "{what}: the same command again");
        let files = data_files(&cli);
        cli.ok(&["execute"]);
        assert_eq!(data_files(&cli), files, "{what}");
        assert!(!statuses(&cli).contains(&"running".to_owned()), "{what}: {:?}", statuses(&cli));
        *tally.entry(format!("{name}, exit {}, {}", output.code, if published { "after" } else { "before" })).or_default() += 1;
    }
    tally
}

//! Runs that are killed, at any time: the tables are as before or as after, and the same command goes through.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::cli::{Cli, Output};

const ROUNDS: u32 = 200;
const ROWS: u64 = 2000;

const FLOW: &str = r#"
id = "orders_change_feed"
flow_type = "change_feed"

[input]
primary_key = ["id"]
columns = [{ name = "id", schema_type = "integer" }, "status", { name = "amount", schema_type = "decimal(18,2)" }]

[properties.load]
source_path = "data/orders"
batch_id_from = 'orders_(\d+)'
"#;

/// Counts and sums of every batch in every table, of one version.
const TABLES: &str = "
    SELECT 'landing' AS place, xt_batch_id AS batch, count(*) AS n, sum(id) AS ids, sum(amount) AS total, status AS what FROM orders_landing GROUP BY xt_batch_id, status
    UNION ALL
    SELECT 'feed ' || coalesce(xt_changed_columns, ''), xt_batch_id, count(*), sum(id), sum(amount), xt_record_type FROM orders_change_feed
        GROUP BY xt_batch_id, xt_record_type, xt_changed_columns
    UNION ALL
    SELECT 'record', batch_id, max(generation), max(rows), 0, '' FROM qetl.batches GROUP BY batch_id
    ORDER BY place, batch, what";

/// A project of three batches, executed; `late/4.csv` is the next batch and `late/2.csv` another second one.
pub(crate) fn three_batches() -> Cli {
    let cli = Cli::project(FLOW);
    for batch in 1..=3 {
        cli.write(&format!("data/orders/orders_{batch}.csv"), &orders(batch));
    }
    cli.write("late/2.csv", &orders(9));
    cli.write("late/4.csv", &orders(4));
    cli.ok(&["execute"]);
    cli
}

/// A snapshot of about [`ROWS`] rows: between any two of them keys come, go, change and stay.
pub(crate) fn orders(seed: u64) -> String {
    let status = |id: u64| ["open", "paid", "sent"][((id + seed * (id % 5)) % 3) as usize];
    let amount = |id: u64| id % 97 + if id.is_multiple_of(4) { seed } else { 0 };
    let row = |id: u64| format!("{id},{},{}.50\n", status(id), amount(id));
    let rows: String = (0..ROWS).filter(|id| !(id + seed).is_multiple_of(11)).map(row).collect();
    format!("id,status,amount\n{rows}")
}

/// Copies a folder and all below it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A project as another one is now.
pub(crate) fn copy_of(base: &Cli) -> Cli {
    let cli = Cli::empty();
    copy(base.folder.path(), cli.folder.path());
    cli
}

/// The files below a folder, as paths relative to it.
pub(crate) fn files_below(folder: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let Ok(entries) = fs::read_dir(folder) else { return files };
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_below(&entry.path()).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            files.insert(name);
        }
    }
    files
}

/// The data files that the catalog names, of whatever version.
fn known_files(cli: &Cli) -> BTreeSet<String> {
    let catalog = rusqlite::Connection::open(cli.path("warehouse/catalog.sqlite")).unwrap();
    let sql = "SELECT s.path || t.path || f.path FROM ducklake_data_file f JOIN ducklake_table t USING (table_id) JOIN ducklake_schema s USING (schema_id)";
    let mut statement = catalog.prepare(sql).unwrap();
    let files = statement.query_map((), |row| row.get::<_, String>(0)).unwrap();
    files.map(|file| file.unwrap()).collect()
}

/// A command to be killed, and what it makes of the tables.
struct Killed {
    args: [&'static str; 5],
    after: String,
    seconds: f64,
}

/// How often what happened.
#[derive(Debug, Default)]
struct Tally {
    live: u32,
    before: u32,
    after: u32,
}

#[test]
fn a_killed_run_leaves_the_tables_as_before_or_as_after() {
    let started = Instant::now();
    let base = three_batches();
    let before = base.query(TABLES);
    let whole = |args: [&'static str; 5]| {
        let cli = copy_of(&base);
        let start = Instant::now();
        cli.ok(&args);
        let seconds = start.elapsed().as_secs_f64();
        Killed { args, after: cli.query(TABLES), seconds }
    };
    // A new batch, and a changed replay, after which the third batch is derived again in the same publish.
    let commands =
        [whole(["execute", "--batch-id", "4", "--input", "late/4.csv"]), whole(["execute", "--batch-id", "2", "--input", "late/2.csv"])];
    assert!(commands.iter().all(|command| command.after != before));

    let tallies: Vec<Tally> = thread::scope(|scope| {
        let halves: Vec<_> = (0..2)
            .map(|half| {
                scope.spawn({
                    let (base, before, commands) = (&base, before.as_str(), &commands);
                    move || kill_often(base, before, commands, ROUNDS / 2, half)
                })
            })
            .collect();
        halves.into_iter().map(|half| half.join().unwrap()).collect()
    });
    let sum = |of: fn(&Tally) -> u32| tallies.iter().map(of).sum::<u32>();
    let (live, kept, published) = (sum(|tally| tally.live), sum(|tally| tally.before), sum(|tally| tally.after));
    let seconds = [commands[0].seconds, commands[1].seconds];
    println!(
        "{ROUNDS} kills, {live} of a live process; tables as before {kept} times, as after {published} times; a whole run takes {seconds:.3?} s; {:.0?} in all",
        started.elapsed()
    );
    assert!(live >= 20, "only {live} kills hit a live process");
}

/// Kills both commands by turns, after delays that follow what was hit.
fn kill_often(base: &Cli, before: &str, commands: &[Killed; 2], rounds: u32, seed: u64) -> Tally {
    let mut tally = Tally::default();
    let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ (seed + 1));
    let mut longest = [commands[0].seconds, commands[1].seconds];
    for round in 0..rounds {
        let which = (round % 2) as usize;
        let command = &commands[which];
        let delay = longest[which] * random.share();
        let told = format!("round {round}: {:?} killed after {delay:.4} s", command.args);
        let cli = copy_of(base);
        let mut child = cli.command(&command.args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_secs_f64(delay));
        let _ = child.kill();
        let live = child.wait().unwrap().signal() == Some(9);
        tally.live += u32::from(live);
        longest[which] =
            if live { (longest[which] * 1.02).min(command.seconds * 4.0) } else { (longest[which] * 0.9).max(command.seconds * 0.5) };

        let found = cli.query(TABLES);
        match (found == before, found == command.after) {
            (true, _) => tally.before += 1,
            (_, true) => tally.after += 1,
            (false, false) => panic!("{told}: the tables are torn:\n{found}"),
        }
        let again = cli.run(&command.args);
        assert_eq!(again.code, 0, "{told}: {again:?}");
        assert_eq!(cli.query(TABLES), command.after, "{told}: the run after it is wrong");
        assert_eq!(files_below(&cli.path("warehouse/data")), known_files(&cli), "{told}: files on disk, and files of the catalog");
        assert_eq!(files_below(&cli.path("warehouse/tmp")), BTreeSet::new(), "{told}: spilled files are left");
    }
    tally
}

/// Numbers that look random, always the same ones.
struct Random(u64);

impl Random {
    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[test]
fn an_interrupted_run_leaves_nothing_visible() {
    let cli = Cli::sample();
    cli.ok(&["execute"]);
    let rows = |status: &str| (0..600_000).map(|id| format!("{id},ada,{status},1.00\n")).collect::<String>();
    cli.write("late/first.csv", &format!("order_id,customer,status,amount\n{}", rows("open")));
    cli.write("late/second.csv", &format!("order_id,customer,status,amount\n{}", rows("paid")));
    cli.ok(&["execute", "--batch-id", "4", "--input", "late/first.csv"]);
    let counts = "SELECT xt_batch_id, count(*) AS n, min(status) AS s FROM orders_change_feed GROUP BY xt_batch_id ORDER BY xt_batch_id";
    let before = cli.query(counts);

    let args = ["execute", "--batch-id", "5", "--input", "late/second.csv"];
    let mut child = cli.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "orders_change_feed batch 5  1 file\n");
    Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
    let output: Output = child.wait_with_output().unwrap().into();
    assert_eq!(output.code, 130, "{output:?}");
    assert!(output.stderr.contains("interrupted") && output.stderr.contains("run the same command again"), "{output:?}");
    assert_eq!(cli.query(counts), before);

    cli.ok(&args);
    assert_eq!(cli.query(counts), format!("{before}5,600000,paid\n"));
    // So many changed rows do not stay in memory.
    assert_eq!(files_below(&cli.path("warehouse/tmp")), BTreeSet::new(), "spilled files are left");
}

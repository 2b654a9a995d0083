//! Ledgers, flows of type `delta_publishing`, from the command line: the worked examples cell by cell.

use qetl_test_harness::ledger::SEARCH;
use qetl_test_models::ledger::model::Ledger;

use crate::cli::Cli;

#[test]
fn the_model_keeps_a_sound_ledger() {
    SEARCH.each(100, |_, history| {
        let mut ledger = Ledger::new(history.options.clone(), history.booking.clone());
        for arrival in &history.arrivals {
            ledger.execute(arrival.batch_id, &arrival.rows, arrival.accept_guards);
            ledger.assert_sound();
        }
        Ok(())
    });
}

/// A project whose flow `orders` has these lines in `[properties]`.
fn project(properties: &str) -> Cli {
    let cli = Cli::empty();
    let input = "primary_key = [\"id\"]\ncolumns = [\"id\", \"status\", { name = \"amount\", schema_type = \"decimal(18,2)\" }]\n";
    let load = "source_path = \"data/orders\"\nfile_pattern = \"orders_*.csv\"\nbatch_id_from = 'orders_(\\d+)'\n";
    cli.write(
        "flows/orders.toml",
        &format!(
            "id = \"orders\"\nflow_type = \"delta_publishing\"\n\n[input]\n{input}\n[properties]\n{properties}\n\n[properties.load]\n{load}"
        ),
    );
    cli
}

fn orders(cli: &Cli, batch: i64, rows: &str) {
    cli.write(&format!("data/orders/orders_{batch}.csv"), &csv(rows));
}

/// Of rows such as `A,open,100 B,open,100`.
fn csv(rows: &str) -> String {
    format!("id,status,amount\n{}\n", rows.replace(' ', "\n"))
}

const EXAMPLE: [(i64, &str); 5] = [
    (1, "A,open,100 B,open,100 C,open,50 D,open,70 E,open,10"),
    (2, "A,open,100 B,open,150 E,open,"),
    (4, "A,open,100 B,open,150 D,open,75 E,open, F,open,20"),
    (5, "A,open,100 B,paid,150 C,open,50 D,open,75 E,open,10 F,open,20 F,open,20"),
    (6, "A,open,100 B,paid,150 C,open,50 E,open,10 F,open,25"),
];
const THREE: (i64, &str) = (3, "A,open,100 B,open,120 C,open,50 E,open,");

const LEDGER: &str = "SELECT xt_batch_id, xt_transaction_id, xt_transaction_type, status, amount, xt_referred_transaction_id \
                      FROM orders_delta_transaction ORDER BY xt_batch_id, xt_transaction_id";
const HEADER: &str = "xt_batch_id,xt_transaction_id,xt_transaction_type,status,amount,xt_referred_transaction_id\n";
const BATCH_1: &str = "\
1,A#1#B,INITIAL_BOOKING,open,100.00,
1,B#1#B,INITIAL_BOOKING,open,100.00,
1,C#1#B,INITIAL_BOOKING,open,50.00,
1,D#1#B,INITIAL_BOOKING,open,70.00,
1,E#1#B,INITIAL_BOOKING,open,10.00,
";
const REVERSE_REPLAY: &str = "\
2,B#2#B,INITIAL_BOOKING,open,150.00,
2,B#2#R,REVERSAL,open,-100.00,B#1#B
2,C#2#R,REVERSAL,open,-50.00,C#1#B
2,D#2#R,REVERSAL,open,-70.00,D#1#B
2,E#2#B,INITIAL_BOOKING,open,,
2,E#2#R,REVERSAL,open,-10.00,E#1#B
4,D#4#B,REPUBLISH,open,75.00,D#2#R
4,F#4#B,INITIAL_BOOKING,open,20.00,
5,B#5#B,INITIAL_BOOKING,paid,150.00,
5,B#5#R,REVERSAL,open,-150.00,B#2#B
5,C#5#B,REPUBLISH,open,50.00,C#2#R
5,E#5#B,INITIAL_BOOKING,open,10.00,
5,E#5#R,REVERSAL,open,,E#2#B
6,D#6#R,REVERSAL,open,-75.00,D#4#B
6,F#6#B,INITIAL_BOOKING,open,25.00,
6,F#6#R,REVERSAL,open,-20.00,F#4#B
";
const DELTA_CORRECTION: &str = "\
2,B#2#D,DELTA_CORRECTION,open,50.00,B#1#B
2,C#2#R,REVERSAL,open,-50.00,C#1#B
2,D#2#R,REVERSAL,open,-70.00,D#1#B
2,E#2#D,DELTA_CORRECTION,open,-10.00,E#1#B
4,D#4#B,REPUBLISH,open,75.00,D#2#R
4,F#4#B,INITIAL_BOOKING,open,20.00,
5,B#5#B,INITIAL_BOOKING,paid,150.00,
5,B#5#R,REVERSAL,open,-150.00,B#1#B
5,C#5#B,REPUBLISH,open,50.00,C#2#R
5,E#5#D,DELTA_CORRECTION,open,10.00,E#1#B
6,D#6#R,REVERSAL,open,-75.00,D#4#B
6,F#6#D,DELTA_CORRECTION,open,5.00,F#4#B
";
const METHODS: [(&str, &str); 2] = [("", REVERSE_REPLAY), ("DELTA_METHOD = \"DELTA_CORRECTION\"", DELTA_CORRECTION)];

#[test]
fn the_worked_examples_come_out_cell_by_cell() {
    for (method, ledger) in METHODS {
        let cli = project(method);
        for (batch, rows) in EXAMPLE {
            orders(&cli, batch, rows);
        }
        cli.ok(&["execute"]);
        assert_eq!(cli.query(LEDGER), [HEADER, BATCH_1, ledger].concat());
        let state = "id,status,amount,xt_batch_id\nA,open,100.00,6\nB,paid,150.00,6\nC,open,50.00,6\nE,open,10.00,6\nF,open,25.00,6\n";
        assert_eq!(cli.query("SELECT * FROM orders_state ORDER BY id"), state);
        let position = "SELECT id, status, SUM(amount) AS amount FROM orders_delta_transaction GROUP BY id, status HAVING SUM(amount) <> 0 ORDER BY id";
        assert_eq!(cli.query(position), "id,status,amount\nA,open,100.00\nB,paid,150.00\nC,open,50.00\nE,open,10.00\nF,open,25.00\n");
        let feed = "SELECT xt_record_type, count(*) AS n FROM orders_change_feed GROUP BY xt_record_type ORDER BY xt_record_type";
        assert_eq!(cli.query(feed), "xt_record_type,n\nCHANGED,5\nDELETED,3\nNEW,6\nREACTIVATED,2\nSTALE,11\n");

        let everything = "SELECT * FROM orders_delta_transaction ORDER BY xt_batch_id, xt_transaction_id";
        let before = cli.query(everything);
        let columns = "id,status,amount,xt_transaction_id,xt_transaction_type,xt_referred_transaction_id,xt_batch_id,xt_processed_at\n";
        assert!(before.starts_with(columns), "{before}");
        cli.ok(&["execute", "--full-refresh"]);
        assert_eq!(cli.query(everything), before, "processing times stay as they are, too");
    }
}

#[test]
fn a_published_ledger_is_changed_at_its_end_alone() {
    for (method, ledger) in METHODS {
        let cli = project(method);
        for (batch, rows) in EXAMPLE {
            orders(&cli, batch, rows);
        }
        cli.ok(&["execute"]);
        let before = cli.query(LEDGER);
        let refused = |args: &[&str]| {
            let output = cli.run(args);
            assert_eq!(output.code, 3, "{args:?}: {output:?}");
            assert!(output.stderr.contains("late_batches = \"cascade\""), "{output:?}");
            assert_eq!(cli.query(LEDGER), before);
        };
        cli.write("late/three.csv", &csv(THREE.1));
        refused(&["execute", "--batch-id", "3", "--input", "late/three.csv"]);
        cli.write("late/five.csv", &csv(EXAMPLE[3].1).replace("B,paid,150", "B,paid,155"));
        refused(&["execute", "--batch-id", "5", "--input", "late/five.csv"]);

        let told = cli.ok(&["execute", "--batch-id", "5"]);
        assert!(told.contains("batch 5: unchanged"), "{told}");
        cli.write("late/six.csv", &csv(EXAMPLE[4].1).replace("F,open,25", "F,open,30"));
        cli.ok(&["execute", "--batch-id", "6", "--input", "late/six.csv"]);
        let replaced = ledger.replace("open,25.00", "open,30.00").replace("open,5.00", "open,10.00");
        assert_eq!(cli.query(LEDGER), [HEADER, BATCH_1, &replaced].concat());
    }
}

#[test]
fn a_late_batch_that_cascades_leaves_the_ledger_of_the_right_order() {
    for (method, _) in METHODS {
        let properties = format!("{method}\nlate_batches = \"cascade\"");
        let (late, ordered) = (project(&properties), project(&properties));
        for (batch, rows) in EXAMPLE {
            orders(&late, batch, rows);
            orders(&ordered, batch, rows);
        }
        late.ok(&["execute"]);
        orders(&late, THREE.0, THREE.1);
        let told = late.ok(&["execute"]);
        assert!(told.contains("batch 3: later batches were derived again: 4, 5, 6"), "{told}");
        orders(&ordered, THREE.0, THREE.1);
        ordered.ok(&["execute"]);
        let ledger = late.query(LEDGER);
        assert_eq!(ledger, ordered.query(LEDGER));
        assert!(ledger.contains("3,C#3#B,REPUBLISH,open,50.00,C#2#R\n"), "{ledger}");
        assert!(ledger.contains("4,C#4#R,REVERSAL,open,-50.00,C#3#B\n"), "{ledger}");
        assert!(ledger.contains("5,C#5#B,REPUBLISH,open,50.00,C#4#R\n"), "{ledger}");
    }
}

#[test]
fn an_amount_that_does_not_fit_is_refused() {
    let columns = |ty: &str| format!("columns = [\"id\", \"status\", {{ name = \"amount\", schema_type = \"{ty}\" }}]");
    let great = "9".repeat(36);
    for (ty, from, to) in [("decimal(38,2)", format!("-{great}"), great), ("integer", "-1".to_owned(), i64::MAX.to_string())] {
        let cli = project("DELTA_METHOD = \"DELTA_CORRECTION\"");
        let flow = std::fs::read_to_string(cli.path("flows/orders.toml")).unwrap();
        cli.write("flows/orders.toml", &flow.replace(&columns("decimal(18,2)"), &columns(ty)));
        orders(&cli, 1, &format!("A,open,{from} B,open,1"));
        cli.ok(&["execute"]);
        let before = cli.query(LEDGER);
        orders(&cli, 2, &format!("A,open,{to} B,open,2"));
        let refused = cli.run(&["execute"]);
        assert_eq!(refused.code, 3, "{refused:?}");
        assert!(["batch 2", "id = A", "xt_column = amount"].iter().all(|told| refused.stderr.contains(told)), "{refused:?}");
        assert_eq!(cli.query(LEDGER), before);
    }
}

const ACCOUNTING: &str = "\
id = \"accounting_transactions\"
name = \"Accounting Transactions\"
flow_type = \"delta_publishing\"

[input]
primary_key = [\"transaction_id\"]
columns = [\"transaction_id\", \"account_id\", \"amount\", \"transaction_date\"]

[properties]
DELTA_METHOD = \"REVERSE_REPLAY\"
";

/// A project with the documented flow, and its batches, each of rows such as `1001,7,100.50,2024-01-15`.
fn accounting(batches: &[&[&str]]) -> Cli {
    let cli = Cli::empty();
    cli.write("flows/accounting_transactions.toml", ACCOUNTING);
    for (batch, rows) in (1..).zip(batches) {
        let file = format!("inbox/transactions_{batch}.csv");
        cli.write(&file, &format!("transaction_id,account_id,amount,transaction_date\n{}\n", rows.join("\n")));
        cli.ok(&["execute", "accounting_transactions", "--batch-id", &batch.to_string(), "--input", &file]);
    }
    cli
}

const ACCOUNTS: &str = "SELECT account_id, amount, transaction_date, xt_transaction_id, xt_transaction_type, xt_referred_transaction_id \
                        FROM accounting_transactions_delta_transaction ORDER BY xt_batch_id, xt_transaction_id";

#[test]
fn the_documented_flow_books_named_files() {
    let cli = accounting(&[
        &["1001,7,100.1,2024-01-15", "1002,7,0.2,2024-01-15", "1003,8,-25,2024-01-16"],
        // One amount is corrected, one row moves to another account, one is gone, one is new.
        &["1001,7,100.3,2024-01-15", "1002,9,0.2,2024-01-15", "1004,8,12.5,2024-01-17"],
        &["1001,7,100.3,2024-01-15", "1002,9,0.2,2024-01-15", "1003,8,-25,2024-01-16", "1004,8,12.5,2024-01-17"],
    ]);
    let expected = "\
account_id,amount,transaction_date,xt_transaction_id,xt_transaction_type,xt_referred_transaction_id
7,100.10,2024-01-15,1001#1#B,INITIAL_BOOKING,
7,0.20,2024-01-15,1002#1#B,INITIAL_BOOKING,
8,-25.00,2024-01-16,1003#1#B,INITIAL_BOOKING,
7,100.30,2024-01-15,1001#2#B,INITIAL_BOOKING,
7,-100.10,2024-01-15,1001#2#R,REVERSAL,1001#1#B
9,0.20,2024-01-15,1002#2#B,INITIAL_BOOKING,
7,-0.20,2024-01-15,1002#2#R,REVERSAL,1002#1#B
8,25.00,2024-01-16,1003#2#R,REVERSAL,1003#1#B
8,12.50,2024-01-17,1004#2#B,INITIAL_BOOKING,
8,-25.00,2024-01-16,1003#3#B,REPUBLISH,1003#2#R
";
    assert_eq!(cli.query(ACCOUNTS), expected);
    let balances =
        "SELECT account_id, SUM(amount) AS balance FROM accounting_transactions_delta_transaction GROUP BY account_id ORDER BY 1";
    assert_eq!(cli.query(balances), "account_id,balance\n7,100.30\n8,-12.50\n9,0.20\n");
    let told = cli.ok(&["execute", "--batch-id", "3", "--input", "inbox/transactions_3.csv"]);
    assert!(told.contains("batch 3: unchanged"), "{told}");
}

#[test]
fn whole_amounts_become_decimals_and_a_finer_one_widens_them() {
    let cli = accounting(&[&["1001,7,100,2024-01-15"], &["1001,7,100.125,2024-01-15"]]);
    let expected = "\
account_id,amount,transaction_date,xt_transaction_id,xt_transaction_type,xt_referred_transaction_id
7,100.000,2024-01-15,1001#1#B,INITIAL_BOOKING,
7,100.125,2024-01-15,1001#2#B,INITIAL_BOOKING,
7,-100.000,2024-01-15,1001#2#R,REVERSAL,1001#1#B
";
    assert_eq!(cli.query(ACCOUNTS), expected);
}

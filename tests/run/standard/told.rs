//! What is told of a flow's text: once, or at every look.

use super::{flow, ingestion, project, rows, sql};

#[test]
fn warnings_of_a_text_are_told_once() {
    let text = |more: &str| {
        flow(
            &[ingestion("t", ""), sql("x", &format!("INSERT INTO {{target_dataset}} SELECT id{more} FROM t"), "source_dataset = \"t\"")]
                .concat(),
        )
    };
    let cli = project(&text(""));
    let warned = |args: &[&str]| {
        let ran = cli.run(args);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.stderr.matches("has single braces").count()
    };
    cli.write("data/t_1.csv", "id\n1\n");
    assert_eq!(warned(&["execute"]), 1);
    cli.write("data/t_2.csv", "id\n2\n");
    assert_eq!(warned(&["execute"]), 0);
    assert_eq!(warned(&["execute"]), 0);
    assert_eq!((warned(&["check"]), warned(&["check"])), (1, 1));
    cli.write("flows/flow.toml", &text(", id * 2 AS twice"));
    assert_eq!((warned(&["execute"]), warned(&["execute"])), (1, 0));
    // Those of SQL too.
    cli.write("flows/flow.toml", &text(", TRIM(id) AS trimmed"));
    let said = cli.run(&["execute"]);
    assert!(said.stderr.contains("`trim` is of text"), "{said:?}");
    cli.write("data/t_3.csv", "id\n3\n");
    assert!(!cli.run(&["execute"]).stderr.contains("`trim` is of text"));
}

#[test]
fn a_flow_that_is_given_its_files_reads_something() {
    let cli = project("id = \"f\"\nflow_type = \"change_feed\"\n[input]\nprimary_key = [\"id\"]\ncolumns = [\"id\", \"v\"]\n");
    cli.write("one.csv", "id,v\n1,1\n");
    let ran = cli.run(&["execute", "f", "--batch-id", "1", "--input", "one.csv"]);
    assert!(ran.code == 0 && !ran.stderr.contains("reads nothing"), "{ran:?}");
    assert!(cli.run(&["check"]).stderr.contains("reads nothing"));
}

#[test]
fn a_value_that_nobody_asks_for_is_refused() {
    let tasks = [ingestion("t", ""), sql("x", "SELECT id FROM t WHERE id >= {{ least_amount }} AND id < {{ var('most', 99) }}", "")];
    let cli = project(&flow(&format!("[variables]\nleast_amount = 1\n{}", tasks.concat())));
    cli.write("data/t_1.csv", "id\n1\n5\n");
    for command in ["execute", "plan"] {
        let refused = cli.run(&[command, "--var", "lest_amount=3"]);
        assert!(refused.code == 2 && refused.stderr.contains("did you mean `least_amount`?"), "{command}: {refused:?}");
    }
    cli.ok(&["execute", "--var", "least_amount=3", "--var", "most=6"]);
    assert_eq!(rows(&cli, "SELECT id FROM x"), ["5"]);
    // A flow type without variables has none to set; beside one that has, the other's count.
    cli.write("flows/feed.toml", "id = \"feed\"\nflow_type = \"change_feed\"\n[input]\nprimary_key = [\"id\"]\ncolumns = [\"id\"]\n");
    let refused = cli.run(&["execute", "feed", "--var", "least_amount=3"]);
    assert!(refused.code == 2 && refused.stderr.contains("flow `feed` has no variables"), "{refused:?}");
    assert_eq!(cli.run(&["plan", "--var", "least_amount=3"]).code, 0);
}

#[test]
fn what_keeps_the_old_logic_is_said() {
    let text = |more: &str| {
        flow(&format!(
            "[variables]\nleast = 0\n{}{}",
            ingestion("t", ""),
            sql("x", &format!("INSERT INTO x SELECT id{more} FROM t WHERE id > {{{{ least }}}}"), "")
        ))
    };
    let cli = project(&text(""));
    for number in [1, 2] {
        cli.write(&format!("data/t_{number}.csv"), &format!("id\n{number}\n"));
        cli.ok(&["execute"]);
    }
    cli.write("flows/flow.toml", &text(" * 10 AS id"));
    let kept = "the flow's text changed: rows of batches 1–2 keep the old logic; `--full-refresh` derives them again";
    let planned = cli.run(&["plan"]);
    assert!(planned.stderr.contains(kept), "{planned:?}");
    let ran = cli.run(&["execute"]);
    assert!(ran.stderr.contains(kept), "{ran:?}");
    assert!(!cli.run(&["execute"]).stderr.contains(kept));
    cli.ok(&["execute", "--full-refresh"]);
    assert_eq!(rows(&cli, "SELECT id FROM x ORDER BY id"), ["10", "20"]);
    let varied = cli.run(&["execute", "--var", "least=1"]);
    assert!(varied.stderr.contains("the values of `--var` changed: rows of batches 1–3 keep the old values"), "{varied:?}");
}

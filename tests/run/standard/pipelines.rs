//! Files to tables through SQL: what is read, in which order, what waits, what is refused.

use super::{flow, ingestion, project, rows, sql};
use crate::cli::Cli;

/// Ingest, clean, aggregate; with what authors write otherwise than they should.
const THREE: &str = r#"
id = "sales"
flow_type = "standard"

[variables]
least = 1
region = "eu"

[[tasks]]
id = "ingest"
type = "ingestion"
target_dataset = "raw_sales"
[tasks.config]
path = "data/sales_*.csv"
columns = ["id", "customer", { name = "sold_on", schema_type = "date" }, { name = "amount", schema_type = "decimal(10,2)" }, "region"]

[[tasks]]
id = "clean"
type = "sql_processing"
source_dataset = "raw_sales"
target_dataset = "sales"
source_scope = "batch"
[tasks.variables]
least = 2
sql = """
INSERT INTO {{ target_dataset }}
SELECT id, TRIM(customer) AS customer, TRIM(sold_on) AS sold_on, amount
FROM {{ source_dataset }}
WHERE amount >= {{ least }} AND region = {{ var("region") | sql }}
"""

[[tasks]]
id = "sum_up"
type = "sql_processing"
source_dataset = "sales"
target_dataset = "per_customer"
sql = "SELECT customer, COUNT(*) AS n, SUM(amount) AS amount, MAX(sold_on) AS last FROM {source_dataset} GROUP BY customer"
"#;

fn three() -> Cli {
    let cli = project(THREE);
    cli.write(
        "data/sales_1.csv",
        "id,customer,sold_on,amount,region\n1, Ada ,2024-03-01,10.50,eu\n2,Bert,2024-03-01,1.99,eu\n3,Cleo,2024-03-01,5,us\n",
    );
    cli
}

#[test]
fn files_are_ingested_cleaned_and_summed_up() {
    let cli = three();
    let checked = cli.run(&["check"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    for warning in ["stands under `[tasks.variables]`", "single braces"] {
        assert!(checked.stderr.contains(warning) || checked.stderr.contains("key_in_table"), "{warning}: {}", checked.stderr);
    }
    assert!(checked.stderr.contains("`trim` is of text: `sold_on`, which is a date, is cast to text"), "{}", checked.stderr);
    cli.ok(&["execute"]);
    assert_eq!(rows(&cli, "SELECT id, customer, sold_on, amount, xt_batch_id FROM sales"), ["1,Ada,2024-03-01,10.50,1"]);
    assert_eq!(rows(&cli, "SELECT customer, n, amount, last FROM per_customer"), ["Ada,1,10.50,2024-03-01"]);
    assert!(cli.ok(&["execute"]).contains("up to date"));

    cli.write("data/sales_2.csv", "id,customer,sold_on,amount,region\n4,Ada,2024-03-02,2.00,eu\n");
    cli.ok(&["execute"]);
    assert_eq!(rows(&cli, "SELECT id, xt_batch_id FROM sales ORDER BY id"), ["1,1", "4,2"]);
    assert_eq!(rows(&cli, "SELECT customer, n, amount, last, xt_batch_id FROM per_customer"), ["Ada,2,12.50,2024-03-02,2"]);

    // A variable of the command line hides the others, and is work to do.
    let told = cli.ok(&["execute", "--var", "region=us"]);
    assert!(told.contains("batch 3"), "{told}");
}

#[test]
fn a_column_that_is_not_there_fails_the_check_at_its_place() {
    let wrong = THREE.replace("SELECT customer, COUNT(*)", "SELECT customr, COUNT(*)");
    let cli = project(&wrong);
    let line = wrong.lines().position(|line| line.contains("customr")).unwrap() + 1;
    let checked = cli.run(&["check"]);
    assert_eq!(checked.code, 2, "{checked:?}");
    for said in [&format!("flows/flow.toml:{line}:"), "column `customr` is not in `sales`", "did you mean `customer`", "sold_on"] {
        assert!(checked.stderr.contains(said), "{said}: {}", checked.stderr);
    }
}

#[test]
fn mistakes_in_sql_are_told_where_they_stand() {
    let source = ingestion("t", "columns = [{ name = \"id\", schema_type = \"integer\" }, { name = \"Name\", schema_type = \"string\" }]");
    for (text, at, said) in [
        ("SELECT id FROM t WHERE\n  missing = 1", "missing", "column `missing` is not in `t`"),
        ("SELECT t.nam FROM t", "t.nam", "column `nam` is not in `t`"),
        ("SELECT sums(id) FROM t", "sums", "there is no function `sums`"),
        ("SELECT id FROM nowhere", "nowhere", "no task makes `nowhere`"),
        ("SELECT id, name FROM t GROUP BY id", "name", "group by"),
        ("SELECT a.id FROM t a JOIN t b ON a.id = b.id WHERE id = 1", "id = 1", "several"),
        ("SELECT sum(name) FROM t", "sum", ""),
        ("SELECT [id] AS x FROM t", "SELECT", "no dataset can hold"),
        ("INSERT INTO x (a, b) SELECT id FROM t", "SELECT id", "lists 2 columns"),
    ] {
        let text = flow(&format!("{source}{}", sql("x", text, "")));
        let cli = project(&text);
        let checked = cli.run(&["check"]);
        let at = text.rfind(at).unwrap();
        let line = text[..at].matches('\n').count() + 1;
        let column = at - text[..at].rfind('\n').unwrap();
        assert_eq!(checked.code, 2, "{text}: {checked:?}");
        assert!(checked.stderr.contains(&format!("flow.toml:{line}:{column}")), "{line}:{column}: {}", checked.stderr);
        assert!(checked.stderr.to_lowercase().contains(said), "{said}: {}", checked.stderr);
    }
}

#[test]
fn names_are_found_whatever_their_case() {
    let source = ingestion("Orders", "columns = [{ name = \"Id\", schema_type = \"integer\" }]");
    let cli = project(&flow(&format!("{source}{}", sql("x", "SELECT ID AS a, o.id AS \"B\" FROM orders o", ""))));
    cli.write("data/Orders_1.csv", "Id\n7\n");
    cli.ok(&["execute"]);
    assert_eq!(cli.query("SELECT a, b FROM x"), "a,B\n7,7\n");
}

/// Two ingestions, a join of both, two tables of the join, one of these two.
#[test]
fn tasks_fan_in_and_out() {
    let tasks = [
        sql("report", "SELECT c.name, c.total, o.n FROM per_name c, overall o", ""),
        sql("per_name", "SELECT name, SUM(amount) AS total FROM joined GROUP BY name", ""),
        sql("overall", "SELECT COUNT(*) AS n FROM joined", ""),
        sql("joined", "SELECT p.id, c.id, name, amount FROM payments p JOIN customers c ON p.customer = c.id", ""),
        ingestion("payments", ""),
        ingestion("customers", ""),
    ];
    for jobs in ["1", "3"] {
        let cli = project(&flow(&tasks.concat()));
        cli.write("data/payments_1.csv", "id,customer,amount\n1,1,5\n2,1,6\n3,2,7\n");
        cli.write("data/customers_1.csv", "id,name\n1,Ada\n2,Bert\n");
        let plan = cli.ok(&["plan"]);
        let at = |name: &str| plan.find(&format!("make_{name}: ")).unwrap_or_else(|| panic!("{name}: {plan}"));
        assert!(at("joined") < at("per_name") && at("overall") < at("report"), "{plan}");
        cli.ok(&["execute", "--jobs", jobs]);
        assert_eq!(rows(&cli, "SELECT name, total, n FROM report ORDER BY name"), ["Ada,11,3", "Bert,7,3"]);
        // Equal names of a result are told apart.
        assert_eq!(rows(&cli, "SELECT id, id_1 FROM joined ORDER BY id"), ["1,1", "2,1", "3,2"]);
        assert!(cli.ok(&["plan", "--graph", "mermaid"]).contains("joined --> per_name"));
        assert!(cli.ok(&["plan", "--show", "sql"]).contains("SELECT COUNT(*) AS n FROM joined"));
    }
}

#[test]
fn the_execution_date_is_in_sql_and_in_paths() {
    let load = ingestion("t", "").replace("data/t_*.csv", "data/t_{{ ds }}.csv");
    let cli =
        project(&flow(&format!("{load}{}", sql("x", "INSERT INTO x SELECT id, {{ ds | sql }} AS day FROM t", "source_scope = 'batch'"))));
    cli.write("data/t_2024-03-01.csv", "id\n1\n");
    cli.write("data/t_2024-03-02.csv", "id\n2\n");
    assert!(cli.ok(&["execute", "--execution-date", "2024-02-29"]).contains("up to date"));
    cli.ok(&["execute", "--execution-date", "2024-03-02"]);
    cli.ok(&["execute", "--execution-date", "2024-03-01"]);
    let expected = ["2,2024-03-02,1", "1,2024-03-01,2"];
    assert_eq!(rows(&cli, "SELECT id, day, xt_batch_id FROM x ORDER BY xt_batch_id"), expected);
    // A batch keeps its date when everything is derived again.
    cli.ok(&["execute", "--full-refresh", "shop"]);
    assert_eq!(rows(&cli, "SELECT id, day, xt_batch_id FROM x ORDER BY xt_batch_id"), expected);
    let missing = cli.run(&["execute", "shop", "--batch-id", "9", "--execution-date", "2024-05-01"]);
    assert!(missing.code == 2 && missing.stderr.contains("data/t_2024-05-01.csv"), "{missing:?}");
}

#[test]
fn a_replay_replaces_its_batch() {
    let tasks = [
        ingestion("t", "on_changed_file = 'replay'"),
        sql("kept", "INSERT INTO kept SELECT id, v FROM t", "source_scope = 'batch'"),
        sql("latest", "SELECT id, v FROM t", "source_scope = 'batch'\nwrite_mode = 'merge'\nunique_key = ['id']"),
        sql("total", "SELECT SUM(v) AS v FROM t", ""),
    ];
    let cli = project(&flow(&tasks.concat()));
    for (file, text) in [("1", "id,v\n1,10\n2,20\n"), ("2", "id,v\n2,21\n3,31\n")] {
        cli.write(&format!("data/t_{file}.csv"), text);
        cli.ok(&["execute"]);
    }
    let latest = |cli: &Cli| rows(cli, "SELECT id, v, xt_batch_id FROM latest ORDER BY id");
    assert_eq!(latest(&cli), ["1,10,1", "2,21,2", "3,31,2"]);
    assert!(cli.ok(&["execute", "shop", "--batch-id", "1"]).contains("unchanged"));
    // Without key 2 in batch 2 the row of batch 1 counts again.
    cli.write("data/t_2.csv", "id,v\n3,33\n");
    cli.ok(&["execute"]);
    assert_eq!(latest(&cli), ["1,10,1", "2,20,1", "3,33,2"]);
    assert_eq!(rows(&cli, "SELECT id, v, xt_batch_id FROM kept ORDER BY id"), ["1,10,1", "2,20,1", "3,33,2"]);
    assert_eq!(rows(&cli, "SELECT v, xt_batch_id FROM total"), ["63,2"]);
    // A batch that comes late: later ones still win.
    cli.write("late.csv", "id,v\n1,99\n3,98\n");
    cli.write("data/t_1.csv", "id,v\n2,22\n3,30\n");
    cli.ok(&["execute"]);
    assert_eq!(latest(&cli), ["2,22,1", "3,33,2"]);
    let twice = cli.run(&["execute", "shop", "--batch-id", "5", "--input", "late.csv"]);
    assert_eq!(twice.code, 0, "{twice:?}");
    assert_eq!(latest(&cli), ["1,99,5", "2,22,1", "3,98,5"]);
}

/// Two tasks that make one dataset, one after the other.
#[test]
fn a_dataset_may_come_from_two_tasks() {
    let tasks = [
        ingestion("a", ""),
        ingestion("b", ""),
        sql("both", "INSERT INTO both SELECT id, 'a' AS origin FROM a", "source_scope = 'batch'"),
        sql("both", "INSERT INTO both SELECT id, id * 2 AS twice FROM b", "source_scope = 'batch'\ndependencies = ['make_both']")
            .replace("id = \"make_both\"", "id = \"more\""),
        sql("sums", "SELECT SUM(id) AS id, COUNT(origin) AS n FROM both", ""),
    ];
    let cli = project(&flow(&tasks.concat()));
    cli.write("data/a_1.csv", "id\n1\n");
    cli.write("data/b_1.csv", "id\n2\n");
    cli.ok(&["execute"]);
    cli.write("data/a_2.csv", "id\n3\n");
    cli.ok(&["execute"]);
    let all = ["1,a,,1", "2,,4,1", "3,a,,2"];
    assert_eq!(rows(&cli, "SELECT id, origin, twice, xt_batch_id FROM both ORDER BY id"), all);
    cli.ok(&["execute", "--full-refresh"]);
    assert_eq!(rows(&cli, "SELECT id, origin, twice, xt_batch_id FROM both ORDER BY id"), all);
    assert_eq!(rows(&cli, "SELECT id, n FROM sums"), ["6,2"]);
    let twice = [ingestion("a", ""), ingestion("a", "").replace("load_a", "load_a2") + "dependencies = ['load_a']\n"];
    cli.write("flows/flow.toml", &flow(&twice.concat().replace("columns", "")));
    assert_eq!(cli.run(&["check"]).code, 2);
}

#[test]
fn two_rows_of_a_key_are_refused() {
    let merge = "source_scope = 'batch'\nwrite_mode = 'merge'\nunique_key = ['id']";
    let cli = project(&flow(&format!("{}{}", ingestion("t", ""), sql("latest", "SELECT id, v FROM t", merge))));
    cli.write("data/t_1.csv", "id,v\n1,10\n1,10\n2,1\n2,2\n");
    let refused = cli.run(&["execute"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("2 different rows have the key id = 2"), "{refused:?}");
}

#[test]
fn a_failure_publishes_nothing() {
    let tasks = [
        ingestion("t", ""),
        sql("good", "SELECT id FROM t", ""),
        sql("bad", "SELECT 1 / (id - 2) AS x FROM t", ""),
        sql("after_bad", "SELECT x FROM bad", ""),
    ];
    let cli = project(&flow(&tasks.concat()));
    cli.write("data/t_1.csv", "id\n1\n");
    cli.ok(&["execute"]);
    cli.write("data/t_2.csv", "id\n2\n");
    let before = cli.ok(&["datasets", "--format", "json"]);
    let failed = cli.run(&["execute"]);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stderr.contains("step `bad`") && failed.stderr.to_lowercase().contains("divide by zero"), "{failed:?}");
    assert_eq!(cli.ok(&["datasets", "--format", "json"]), before);
    assert_eq!(rows(&cli, "SELECT id FROM t"), ["1"]);
    // The file still waits, and goes through once the cause is mended.
    cli.write("flows/flow.toml", &flow(&tasks.concat()).replace("(id - 2)", "(id - 3)"));
    cli.ok(&["execute"]);
    assert_eq!(rows(&cli, "SELECT x FROM after_bad ORDER BY x"), ["-1", "0"]);
}

#[test]
fn a_changed_text_is_work_and_a_changed_file_is_told() {
    let text = flow(&format!("{}{}", ingestion("t", ""), sql("x", "SELECT id FROM t", "")));
    let cli = project(&text);
    cli.write("data/t_1.csv", "id\n1\n");
    cli.ok(&["execute"]);
    cli.write("flows/flow.toml", &text.replace("SELECT id FROM t", "SELECT id, id * 2 AS twice FROM t"));
    let plan = cli.run(&["plan"]);
    assert!(plan.stdout.contains("1 batch waits") && plan.stderr.contains("the flow's text changed"), "{plan:?}");
    cli.ok(&["execute"]);
    assert_eq!(rows(&cli, "SELECT id, twice FROM x"), ["1,2"]);
    assert!(cli.ok(&["execute"]).contains("up to date"));
    cli.write("data/t_1.csv", "id\n5\n");
    let changed = cli.run(&["execute"]);
    assert!(changed.code == 3 && changed.stderr.contains("`data/t_1.csv` was read as batch 1"), "{changed:?}");
    // A column that is gone from a query is gone from its table.
    cli.write("data/t_1.csv", "id\n1\n");
    cli.write("flows/flow.toml", &text);
    cli.ok(&["execute"]);
    assert_eq!(cli.query("SELECT * FROM x").lines().next(), Some("id,xt_batch_id,xt_processed_at"));
}

/// A task that fails lets the one beside it run to its end, and nothing begins after it.
#[test]
fn nothing_begins_after_a_failure() {
    let tasks = [
        ingestion("t", ""),
        sql("bad", "SELECT 1 / (id - 1) AS x FROM t", ""),
        sql("beside", "SELECT id FROM t", ""),
        sql("after_beside", "SELECT id FROM beside", ""),
        sql("last", "SELECT id FROM after_beside", ""),
    ];
    let cli = project(&flow(&tasks.concat()));
    cli.write("data/t_1.csv", "id\n1\n");
    let failed = cli.run(&["execute", "--jobs", "1"]);
    assert!(failed.code == 1 && failed.stdout.contains("  t ") && !failed.stdout.contains("beside"), "{failed:?}");
    let failed = cli.run(&["execute", "--jobs", "2"]);
    assert!(failed.code == 1 && !failed.stdout.contains("  last "), "{failed:?}");
    // Who reads what could not be made is skipped.
    cli.write("flows/reader.toml", &flow(&sql("y", "SELECT id FROM t", "source_dataset = 't'")).replace("\"shop\"", "\"reader\""));
    let failed = cli.run(&["execute"]);
    assert!(failed.code == 1 && failed.stderr.contains("flow `reader` was skipped: `shop`"), "{failed:?}");
}

#[test]
fn a_flow_reads_what_another_made() {
    let cli = Cli::sample();
    cli.write(
        "flows/a_report.toml",
        "id = \"report\"\nflow_type = \"standard\"\n[[tasks]]\nid = \"count\"\ntype = \"sql_processing\"\n\
         source_dataset = \"orders_state\"\ntarget_dataset = \"order_count\"\nsql = \"SELECT COUNT(*) AS n FROM {{ source_dataset }}\"\n",
    );
    cli.ok(&["check"]);
    // As long as what it reads is not there, it has nothing to do.
    assert!(cli.ok(&["execute", "report"]).contains("up to date"));
    cli.ok(&["execute"]);
    let count = rows(&cli, "SELECT COUNT(*) FROM orders_state");
    assert_eq!(rows(&cli, "SELECT n FROM order_count"), count);
    assert!(cli.ok(&["execute", "report"]).contains("up to date"));
    cli.write("data/orders/orders_4.csv", "order_id,customer,status,amount\n1,a,open,1.00\n");
    cli.ok(&["execute"]);
    assert_eq!(rows(&cli, "SELECT n FROM order_count"), ["1"]);
}

#[test]
fn the_template_runs_as_it_is() {
    let cli = Cli::empty();
    cli.ok(&["init", ".", "--template", "standard"]);
    cli.ok(&["check"]);
    cli.ok(&["execute"]);
    assert_eq!(
        rows(&cli, "SELECT customer, orders, amount, last_order FROM sales_per_customer ORDER BY customer"),
        ["Ada,2,19.75,2024-03-02", "Bert,1,3.00,2024-03-01"]
    );
}

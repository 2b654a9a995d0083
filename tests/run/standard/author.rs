//! The SQL of authors on the embedded engine: names, times, exact arithmetic, and how large it may be.

use std::time::Instant;

use proptest::prelude::*;

use super::{flow, ingestion, project, rows, sql};
use crate::cli::Cli;

/// A project whose `raw` has these lines.
fn raw(lines: &str, tasks: &str) -> Cli {
    let cli = project(&flow(&format!("{}{tasks}", ingestion("raw", ""))));
    cli.write("data/raw_1.csv", lines);
    cli
}

/// A project without flows.
fn nothing() -> Cli {
    let cli = Cli::empty();
    cli.write("qetl.toml", "");
    cli
}

#[test]
fn a_column_named_like_a_word_of_sql_is_no_reason_to_read_the_word_otherwise() {
    let text = "SELECT v, count(*) AS N, max(Date) AS \"end\" FROM {{ source_dataset }} GROUP BY v ORDER BY v DESC";
    let task = sql("out", text, "source_dataset = \"raw\"");
    let cli = raw("id,Group,Order,Count,Date,End,Is,From,v\n1,x,2,3,2024-01-31,5,6,7,8\n", &task);
    cli.ok(&["execute"]);
    assert_eq!(
        cli.query("SELECT * FROM out"),
        "v,N,end,xt_batch_id,xt_processed_at\n".to_owned() + &rows(&cli, "SELECT * FROM out")[0] + "\n"
    );
    assert_eq!(rows(&cli, "SELECT v, n, \"END\" FROM out"), ["8,1,2024-01-31"]);
    for query in [
        "SELECT id FROM raw ORDER BY id DESC",
        "SELECT id FROM raw WHERE v IS NOT NULL GROUP BY id",
        "SELECT CASE WHEN id = 1 THEN id END AS id FROM raw",
        "SELECT CAST(CAST(Date AS DATE) AS VARCHAR) AS id FROM raw WHERE false UNION ALL SELECT '1'",
        "SELECT count(*) AS id FROM raw",
        "SELECT r.\"order\" - 1 AS id FROM raw AS r",
    ] {
        assert_eq!(rows(&cli, query), ["1"], "{query}");
    }
}

#[test]
fn rows_are_sorted_by_sums_of_a_column_whose_name_a_result_took() {
    let cli = raw("g,m,day\na,10.5,2024-01-31\nb,9.25,2023-01-31\nb,9.25,2023-02-01\n", "");
    cli.ok(&["execute"]);
    let first = |sql: &str| rows(&cli, &format!("{sql} LIMIT 1"))[0].clone();
    assert_eq!(first("SELECT g, -SUM(m) AS m FROM raw GROUP BY g ORDER BY SUM(m) DESC"), "b,-18.50");
    assert_eq!(first("SELECT g, COUNT(*) AS m FROM raw GROUP BY g HAVING MAX(m) > 1 ORDER BY MAX(m) DESC"), "a,1");
    assert_eq!(
        first("SELECT x.g, SUM(x.m) AS m FROM (SELECT * FROM raw) x JOIN raw y ON x.day = y.day GROUP BY x.g ORDER BY SUM(x.m)"),
        "a,10.50"
    );
    assert_eq!(first("SELECT g, SUM(m) AS m FROM raw GROUP BY g ORDER BY m + 1"), "a,10.50");
    assert_eq!(first("SELECT SUBSTR(day, 1, 4) AS y, SUBSTRING(m FROM 2) AS s FROM raw ORDER BY y DESC"), "2024,0.50");
}

#[test]
fn a_filter_over_a_join_reads_the_column_that_it_names() {
    let tasks = sql("paid", "SELECT id, amount - 10 AS amount FROM raw WHERE id <> 3", "");
    let cli = raw("id,amount\n1,10\n2,20\n3,30\n", &tasks);
    cli.ok(&["execute"]);
    let joined = "paid p RIGHT JOIN (SELECT id, max(amount) AS amount FROM raw GROUP BY id HAVING max(amount) > 0) r ON r.id = p.id";
    let is_less = "CASE WHEN p.amount < r.amount THEN 1 END IS NOT NULL";
    let found = rows(&cli, &format!("SELECT r.id, r.amount, p.amount FROM {joined} WHERE {is_less} ORDER BY 1"));
    assert_eq!(found, ["1,10,0", "2,20,10"]);
}

#[test]
fn an_alias_is_stored_as_it_is_written_and_found_whatever_its_case() {
    let tasks = sql("marts", "SELECT Plan AS plan, count(*) AS N FROM raw GROUP BY PLAN", "")
        + &sql("again", "SELECT n AS Total, PLAN FROM marts ORDER BY total", "");
    let cli = raw("Plan\nfree\nfree\n", &tasks);
    cli.ok(&["execute"]);
    assert_eq!(cli.query("SELECT plan, n FROM marts"), "plan,N\nfree,2\n");
    assert_eq!(cli.query("SELECT * EXCLUDE (xt_batch_id, xt_processed_at) FROM again"), "Total,plan\n2,free\n");
}

#[test]
fn rows_that_stay_keep_the_names_that_they_have() {
    let merge = |alias: &str| {
        let text = format!("SELECT id, max(v) AS {alias} FROM raw GROUP BY id");
        sql("kept", &text, "write_mode = \"merge\"\nunique_key = [\"ID\"]\nsource_scope = \"batch\"")
    };
    let cli = raw("id,v\n1,10\n", &merge("most"));
    cli.ok(&["execute"]);
    cli.write("flows/flow.toml", &flow(&(ingestion("raw", "") + &merge("MOST"))));
    cli.write("data/raw_2.csv", "id,v\n2,20\n");
    cli.ok(&["execute"]);
    assert_eq!(cli.query("SELECT id, most FROM kept ORDER BY id"), "id,most\n1,10\n2,20\n");
}

#[test]
fn integers_and_decimals_overflow_with_an_error() {
    let most = i64::MAX;
    let check = |text: &str, told: &str| {
        let columns = "columns = [\"id\", \"v\", \"w\", { name = \"d\", schema_type = \"decimal(38,2)\" }]";
        let cli = project(&flow(&format!("{}{}", ingestion("raw", columns), sql("out", text, ""))));
        cli.write("data/raw_1.csv", &format!("id,v,w,d\n1,{most},-{most},{0}.99\n2,1,-2,0.01\n", "9".repeat(36)));
        let output = cli.run(&["execute"]);
        assert_eq!(output.code, 3, "{text}: {output:?}");
        assert!(output.stderr.contains(told) && output.stderr.contains("step `out`"), "{text}: {}", output.stderr);
        let query = cli.run(&[
            "query",
            &text.replace(
                "raw",
                &format!("(SELECT * FROM (VALUES (1, {most}, -{most}, {0}.99), (2, 1, -2, 0.01)) AS t(id, v, w, d))", "9".repeat(36)),
            ),
        ]);
        assert_eq!(query.code, 3, "{text}: {query:?}");
    };
    for text in [
        "SELECT sum(v) AS s FROM raw",
        "SELECT max(v) + 1 AS s FROM raw",
        "SELECT v * 2 AS s FROM raw",
        "SELECT w - v AS s FROM raw",
        "SELECT -(w - 1) AS s FROM raw",
        "SELECT abs(w - 1) AS s FROM raw",
        "SELECT sum(v) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s FROM raw",
        "SELECT id, sum(v) AS s FROM raw GROUP BY GROUPING SETS ((id), ())",
    ] {
        check(text, "overflow");
    }
    for text in ["SELECT sum(d) AS s FROM raw", "SELECT d + 0.01 AS s FROM raw", "SELECT d * 10 AS s FROM raw"] {
        check(text, "more than 38 digits");
    }
}

#[test]
fn sums_are_exact_whatever_comes_on_the_way() {
    let cli = nothing();
    let of = |sql: &str| cli.query(sql).lines().skip(1).collect::<Vec<_>>().join(" ");
    let most = i64::MAX;
    assert_eq!(of(&format!("SELECT sum(v) AS s FROM (VALUES ({most}), ({most}), (-{most})) AS t(v)")), most.to_string());
    assert_eq!(of("SELECT sum(v) AS s FROM (VALUES (1), (NULL)) AS t(v)"), "1");
    assert_eq!(of("SELECT sum(v) AS s FROM (VALUES (1)) AS t(v) WHERE v > 1"), "");
    assert_eq!(of("SELECT sum(DISTINCT v) AS s FROM (VALUES (1), (1), (2)) AS t(v)"), "3");
    assert_eq!(of("SELECT sum(v) FILTER (WHERE v > 1) AS s FROM (VALUES (1), (1), (2)) AS t(v)"), "2");
    assert_eq!(of("SELECT sum(v) AS s FROM (VALUES (0.10), (0.20)) AS t(v)"), "0.30");
    assert_eq!(of("SELECT avg(v) AS s FROM (VALUES (0.01), (0.01), (0.03)) AS t(v)"), "0.016667");
    assert_eq!(of("SELECT avg(v) AS s FROM (VALUES (-0.01), (0.00)) AS t(v)"), "-0.005000");
    assert_eq!(of("SELECT avg(v) AS s FROM (VALUES (1), (2)) AS t(v)"), "1.5");
    assert_eq!(of("SELECT 20.0 / 3 AS s"), "6.66667");
    assert_eq!(of("SELECT 7 / 2 AS s"), "3");
    assert_eq!(of("SELECT 1 + 2 * 3 - 4 AS s"), "3");
    assert_eq!(of("SELECT -(5) AS s"), "-5");
    assert_eq!(of("SELECT 7.5 % 2 AS s"), "1.5");
}

#[test]
fn now_is_the_batchs_time() {
    let text = "SELECT id, DATE('now', '-60 days') AS d, DATETIME('now') AS t, now() AS n, current_date AS c, \
        STRFTIME('%Y', 'now') AS y FROM raw";
    let cli = raw("id\n1\n", &sql("out", text, ""));
    cli.ok(&["execute", "--execution-date", "2024-03-01T10:20:30Z"]);
    let made = rows(&cli, "SELECT d, t, n, c, y FROM out");
    assert_eq!(made, ["2024-01-01,2024-03-01 10:20:30,2024-03-01T10:20:30.000000Z,2024-03-01,2024"]);
    cli.ok(&["execute", "--full-refresh"]);
    assert_eq!(rows(&cli, "SELECT d, t, n, c, y FROM out"), made);
    assert_eq!(rows(&cli, "SELECT date('now') = current_date AS same"), ["true"]);
}

/// What SQLite says.
fn of_sqlite(connection: &rusqlite::Connection, expr: &str) -> Option<String> {
    connection.query_row(&format!("SELECT CAST({expr} AS TEXT)"), (), |row| row.get(0)).unwrap()
}

#[test]
fn dates_are_those_of_sqlite() {
    let cli = nothing();
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    let times =
        ["2024-01-31", "2024-02-29 23:59:59.999", "2023-12-31T10:20", "2024-01-31T10:00:00.000000Z", "10:20", "2024-02-30", "x", ""];
    let modifiers = [
        "",
        ", '+1 month'",
        ", '-60 days'",
        ", 'start of month', '+1 month', '-1 day'",
        ", 'weekday 0', '-6 days'",
        ", '1.5 hours'",
        ", '-1 year'",
        ", 'start of year'",
        ", 'nothing'",
    ];
    let mut exprs = Vec::new();
    for time in times {
        for modifier in modifiers {
            exprs.extend(["DATE", "TIME", "DATETIME"].map(|name| format!("{name}('{time}'{modifier})")));
            exprs.push(format!("STRFTIME('%Y-%W %j', '{time}'{modifier})"));
        }
    }
    exprs.extend([
        "DATE(NULL)".to_owned(),
        "DATE(2460000.5)".to_owned(),
        "DATE(1700000000, 'unixepoch')".to_owned(),
        "UNIXEPOCH('2024-01-31')".to_owned(),
    ]);
    let columns: Vec<String> =
        exprs.iter().enumerate().map(|(n, expr)| format!("COALESCE(CAST({expr} AS VARCHAR), 'nothing') AS c{n}")).collect();
    let found = rows(&cli, &format!("SELECT {}", columns.join(", ")));
    let expected: Vec<String> = exprs.iter().map(|expr| of_sqlite(&connection, expr).unwrap_or_else(|| "nothing".to_owned())).collect();
    for ((expr, found), expected) in exprs.iter().zip(found[0].split(',')).zip(&expected) {
        assert_eq!(found, expected, "{expr}");
    }
}

#[test]
fn a_date_is_of_dates_and_instants_too() {
    let cli = raw("id,at,day\n1,2024-01-31T23:30:00+02:00,2024-02-29\n2,,\n", "");
    cli.ok(&["execute"]);
    assert_eq!(
        rows(&cli, "SELECT DATE(at) AS a, DATE(day) AS b, DATE(day, '-1 year') AS c FROM raw ORDER BY id"),
        ["2024-01-31,2024-02-29,2023-03-01", ",,"]
    );
    assert_eq!(rows(&cli, "SELECT id FROM raw WHERE DATE(at) = '2024-01-31' AND at >= DATE('2024-01-30')"), ["1"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn days_are_added_as_sqlite_does(days in -800_000_i64..800_000, months in -40_i64..40, day in 0_i64..3_000_000) {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        let expr = format!("DATE('0001-01-01', '{day} days', '{days} days', '{months} months')");
        let found = rows(&nothing(), &format!("SELECT COALESCE(CAST({expr} AS VARCHAR), 'nothing') AS d"));
        prop_assert_eq!(&found[0], &of_sqlite(&connection, &expr).unwrap_or_else(|| "nothing".to_owned()));
    }
}

#[test]
fn a_query_is_told_what_is_wrong_as_a_task_is() {
    let cli = Cli::sample();
    cli.ok(&["execute"]);
    let told = |sql: &str| {
        let output = cli.run(&["query", sql]);
        assert_eq!(output.code, 2, "{sql}: {output:?}");
        for inside in ["DataFusion", "ParserError", "Schema error", "warehouse.", "planning"] {
            assert!(!output.stderr.contains(inside), "{sql}: {}", output.stderr);
        }
        output.stderr
    };
    assert!(
        told("SELECT sum(status) FROM orders_state").contains("`sum` does not take"),
        "{}",
        told("SELECT sum(status) FROM orders_state")
    );
    assert!(told("SELEC 1").contains("this is not SQL"));
    assert!(told("SELECT 1, END FROM orders_state").contains("this is not SQL"));
    assert!(told("SELECT STATU FROM orders_state").contains("did you mean `status`?"));
    assert!(told("SELECT 1 FROM order_state").contains("did you mean `orders_state`?"));
    assert!(told("SELECT custmer(1)").contains("there is no function `custmer`"));
    let odd = told("SELECT strftim('%Y', 'now')");
    assert!(odd.contains("did you mean `strftime`?"), "{odd}");
}

#[test]
fn large_sql_is_planned_in_time_or_refused() {
    let cli = raw("id\n1\n", "");
    cli.ok(&["execute"]);
    let planned = |what: &str, sql: String, result: &str| {
        let begin = Instant::now();
        let output = cli.run(&["query", &sql, "--format", "csv"]);
        println!("{what}: {:.2} s", begin.elapsed().as_secs_f64());
        assert_eq!(output.code, 0, "{what}: {}", output.stderr);
        assert_eq!(output.stdout.lines().nth(1), Some(result), "{what}");
    };
    planned("terms", format!("SELECT 1{} AS n", "+1".repeat(1_000)), "1001");
    planned("terms of a column", format!("SELECT id{} AS n FROM raw", "+id".repeat(1_000)), "1001");
    planned("decimals", format!("SELECT 0.1{} AS n", "+0.1".repeat(1_000)), "100.1");
    planned("unions", format!("SELECT 1 AS n{}", " UNION ALL SELECT 1".repeat(500)), "1");
    planned("distinct unions", format!("SELECT 1 AS n{}", " UNION SELECT 1".repeat(500)), "1");
    planned("conditions", format!("SELECT id AS n FROM raw WHERE id = 1{}", " OR id = 2".repeat(1_000)), "1");
    planned("and", format!("SELECT id AS n FROM raw WHERE id = 1{}", " AND id < 2".repeat(1_000)), "1");
    planned("values", format!("SELECT id AS n FROM raw WHERE id IN (1{})", ", 2".repeat(10_000)), "1");
    planned(
        "arms",
        format!("SELECT CASE id{} ELSE 0 END AS n FROM raw", (1..=1_000).map(|n| format!(" WHEN {n} THEN {n}")).collect::<String>()),
        "1",
    );
    planned("texts", format!("SELECT length('a'{}) AS n", " || 'a'".repeat(1_000)), "1001");
    let refused = |sql: String| {
        let output = cli.run(&["query", &sql]);
        assert_eq!(output.code, 2, "{output:?}");
        assert!(output.stderr.contains("are the most"), "{}", output.stderr);
    };
    refused(format!("SELECT 1{}", "+1".repeat(10_000)));
    refused(format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(5_000)));
    refused(format!("SELECT 'a'{}", " || 'a'".repeat(10_000)));
    let nested = cli.run(&["query", &format!("SELECT {}1{}", "(".repeat(3_000), ")".repeat(3_000))]);
    assert_eq!(nested.code, 2, "{nested:?}");
    assert!(nested.stderr.contains("nested too deeply"), "{}", nested.stderr);
    let nested = cli.run(&["query", &format!("{}SELECT 1{}", "SELECT * FROM (".repeat(3_000), ") AS t".repeat(3_000))]);
    assert!(nested.stderr.contains("nested too deeply"), "{}", nested.stderr);
    for text in
        ["SELECT 1{% for i in range(9999) %}+1{% endfor %} AS n", "SELECT 1 AS n{% for i in range(5000) %} UNION ALL SELECT 1{% endfor %}"]
    {
        let cli = project(&flow(&sql("out", text, "")));
        for command in ["check", "plan", "execute"] {
            let output = cli.run(&[command]);
            assert_eq!(output.code, 2, "{command}: {output:?}");
            assert!(output.stderr.contains("are the most"), "{command}: {}", output.stderr);
        }
    }
}

//! Values, as they come in from files: what is landed, what is refused and with which way out, on the command line.

use crate::cli::{Cli, Output};

/// A project with one ingestion into `raw`, of files that lie there.
fn ingestion(config: &str, files: &[(&str, &str)]) -> Cli {
    let cli = Cli::empty();
    let task = "[[tasks]]\nid = \"l\"\ntask_type = \"ingestion\"\ntarget_dataset = \"raw\"\n[tasks.config]\n";
    cli.write("flows/s.toml", &format!("id = \"s\"\nflow_type = \"standard\"\n{task}path = \"data/*\"\n{config}\n"));
    files.iter().for_each(|(name, text)| cli.write(&format!("data/{name}"), text));
    cli
}

/// A project with one flow of that type, whose files lie in `data`.
fn flow(flow_type: &str, input: &str, load: &str, files: &[(&str, &str)]) -> Cli {
    let cli = Cli::empty();
    let load = format!("[properties.load]\nsource_path = \"data\"\nfile_pattern = \"*\"\n{load}");
    cli.write("flows/o.toml", &format!("id = \"o\"\nflow_type = \"{flow_type}\"\n[input]\n{input}\n{load}\n"));
    files.iter().for_each(|(name, text)| cli.write(&format!("data/{name}"), text));
    cli
}

fn rows(cli: &Cli, query: &str) -> Vec<String> {
    cli.query(query).lines().skip(1).map(str::to_owned).collect()
}

fn refused(output: &Output, code: i32, said: &[&str]) {
    assert_eq!(output.code, code, "{output:?}");
    said.iter().for_each(|text| assert!(output.stderr.contains(text), "{text}: {output:?}"));
}

#[test]
fn names_that_differ_in_case_only_are_refused_where_both_are_read() {
    for (name, text) in
        [("a.jsonl", "{\"id\":1,\"A\":1,\"a\":2}\n"), ("a.csv", "id,A,a\n1,1,2\n"), ("a.json", "[{\"id\":1,\"A\":1,\"a\":2}]")]
    {
        let cli = ingestion("", &[(name, text)]);
        refused(&cli.run(&["execute"]), 3, &["the columns `A` and `a` differ in case only", "columns", "from"]);
        assert_eq!(cli.run(&["query", "SELECT * FROM raw"]).code, 2, "nothing is landed");
        // The way out works.
        let cli = ingestion("columns = [\"id\", { name = \"big\", from = \"A\" }, \"a\"]", &[(name, text)]);
        cli.ok(&["execute"]);
        assert_eq!(rows(&cli, "SELECT id, big, a FROM raw"), ["1,1,2"]);
        let cli = ingestion("columns = [\"id\", \"a\"]", &[(name, text)]);
        cli.ok(&["execute"]);
    }
}

#[test]
fn a_single_column_that_looks_like_several_is_told() {
    let cli = ingestion("", &[("x.csv", "a;b\n1;2\n")]);
    let ran = cli.run(&["execute"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("is the delimiter `;`? then set `delimiter = \";\"`"), "{ran:?}");
    let cli = ingestion("", &[("x.csv", "id\tname\n1\tx\n")]);
    refused(&cli.run(&["execute"]), 2, &["which no dataset can have", "is the delimiter `\\t`? then set `delimiter = \"\\t\"`"]);
}

#[test]
fn empty_objects_are_rows() {
    let cli = ingestion("", &[("a1.jsonl", "{}\n")]);
    cli.ok(&["execute"]);
    cli.write("data/a2.jsonl", "{\"id\":1,\"v\":\"x\"}\n");
    cli.ok(&["execute"]);
    assert_eq!(rows(&cli, "SELECT id, v FROM raw ORDER BY xt_batch_id"), [",", "1,x"]);
    let cli = ingestion("", &[("a1.jsonl", "{}\n"), ("a2.jsonl", "{\"id\":1,\"v\":\"x\"}\n")]);
    refused(&cli.run(&["execute"]), 3, &["a1.jsonl: the file has no columns `id`, `v`", "optional = true"]);
    let both = "columns = [{ name = \"id\", optional = true }, { name = \"v\", optional = true }]";
    let cli = ingestion(both, &[("a1.jsonl", "{}\n"), ("a2.jsonl", "{\"id\":1,\"v\":\"x\"}\n")]);
    cli.ok(&["execute"]);
    assert_eq!(rows(&cli, "SELECT id, v FROM raw ORDER BY xt_source_file"), [",", "1,x"]);
}

#[test]
fn a_column_that_files_may_lack_is_null() {
    let input = "primary_key = [\"id\"]\ncolumns = [\"id\", \"name\", NOTE]";
    let files = [("b_1.jsonl", "{\"id\":1,\"name\":\"a\",\"note\":\"x\"}\n{\"id\":2,\"name\":\"b\"}\n")];
    let cli = flow("change_feed", &input.replace("NOTE", "\"note\""), "", &files);
    cli.ok(&["execute"]);
    cli.write("data/b_2.jsonl", "{\"id\":1,\"name\":\"a\"}\n{\"id\":2,\"name\":\"b\"}\n");
    refused(&cli.run(&["execute"]), 3, &["the file has no column `note`", "optional = true"]);
    let text = std::fs::read_to_string(cli.path("flows/o.toml")).unwrap().replace("\"note\"", "{ name = \"note\", optional = true }");
    cli.write("flows/o.toml", &text);
    cli.ok(&["execute"]);
    assert_eq!(
        rows(&cli, "SELECT id, note, xt_record_type FROM o_change_feed WHERE xt_batch_id = 2 ORDER BY id"),
        ["1,,CHANGED", "2,,STALE"]
    );
}

#[test]
fn null_in_columns_that_every_row_needs_names_the_way_out() {
    let aside = "set the rows without a value in";
    let sessions = "columns = [\"user_id\", \"timestamp\"]";
    for (row, column) in [(",2024-01-01T10:01:00", "user_id"), ("u1,", "timestamp")] {
        let cli = flow("sessionization", sessions, "", &[("e.csv", &format!("user_id,timestamp\nu1,2024-01-01T10:00:00\n{row}\n"))]);
        refused(&cli.run(&["execute"]), 3, &[&format!("column `{column}`: NULL"), aside, "on_null_key = \"park\""]);
        // The advice works.
        let text = std::fs::read_to_string(cli.path("flows/o.toml"))
            .unwrap()
            .replace("[properties.load]", "on_null_key = \"park\"\n[properties.load]");
        cli.write("flows/o.toml", &text);
        cli.ok(&["execute"]);
        assert_eq!(rows(&cli, "SELECT count(*) FROM o_parked"), ["1"]);
    }
    let cli = flow(
        "change_feed",
        "primary_key = [\"id\"]\ncolumns = [\"id\", { name = \"v\", required = true }]",
        "",
        &[("o_1.csv", "id,v\n1,\n")],
    );
    let ran = cli.run(&["execute"]);
    refused(&ran, 3, &["column `v`: NULL", "take out the column's `required`"]);
    assert!(!ran.stderr.contains("on_null_key"), "{ran:?}");
}

#[test]
fn amounts_that_could_never_balance_are_refused() {
    let input = "primary_key = [\"id\"]\ncolumns = [\"id\", { name = \"amt\", schema_type = \"float\" }]";
    for method in ["REVERSE_REPLAY", "DELTA_CORRECTION"] {
        let cli = flow("delta_publishing", input, "", &[("o_1.csv", "id,amt\n1,5\n")]);
        let text = std::fs::read_to_string(cli.path("flows/o.toml")).unwrap();
        cli.write(
            "flows/o.toml",
            &text.replace("[properties.load]", &format!("[properties]\nDELTA_METHOD = \"{method}\"\n[properties.load]")),
        );
        cli.ok(&["execute"]);
        cli.write("data/o_2.csv", "id,amt\n1,NaN\n2,-inf\n");
        refused(
            &cli.run(&["execute"]),
            3,
            &["data/o_2.csv:2:3: column `amt`: `NaN` is no amount", "data/o_2.csv:3:3", "2 rows do not fit"],
        );
        cli.write("data/o_2.csv", "id,amt\n1,7\n");
        cli.ok(&["execute"]);
        cli.ok(&["verify"]);
    }
}

#[test]
fn what_plan_prints_to_paste_can_be_pasted() {
    let cli = flow("sessionization", "columns = [{ name = \"user_id\", from = \"User ID\" }, \"timestamp\", \"page\"]", "", &[]);
    std::fs::create_dir_all(cli.path("data")).unwrap();
    cli.write("data/.hidden", "");
    let plan = cli.run(&["plan"]);
    let (_, list) = plan.stdout.split_once("columns = [\n").unwrap_or_else(|| panic!("{plan:?}"));
    let (list, _) = list.split_once("    ]").unwrap();
    assert!(list.contains("{ name = \"user_id\", from = \"User ID\" },"), "{list}");
    assert!(!list.contains("schema_type"), "{list}");
}

#[test]
fn an_amount_that_was_read_as_text_is_told() {
    let input = "primary_key = [\"id\"]\ncolumns = [\"id\", \"amount\"]";
    let cli = flow("delta_publishing", input, "delimiter = \";\"", &[("o_1.csv", "id;amount\n1;2499,50\n")]);
    refused(
        &cli.run(&["execute"]),
        2,
        &["no column can be a measure", "column `amount` is text, though `2499,50` looks like a number", "decimal_separator"],
    );
    let text = std::fs::read_to_string(cli.path("flows/o.toml")).unwrap();
    cli.write("flows/o.toml", &format!("{text}decimal_separator = \",\"\n"));
    cli.ok(&["execute"]);
    assert_eq!(rows(&cli, "SELECT amount FROM o_delta_transaction"), ["2499.50"]);
}

#[test]
fn rows_of_trailing_delimiters_and_unnamed_columns() {
    let input = "primary_key = [\"id\"]\ncolumns = [\"id\", \"v\"]";
    let cli = flow("change_feed", input, "", &[("o_1.csv", "id,v,,\n1,a,,\n")]);
    cli.ok(&["execute"]);
    cli.write("data/o_2.csv", "id,v,\n1,a\n");
    cli.ok(&["execute"]);
    cli.write("data/o_3.csv", "id,v\n1,a,\n2,b,\n");
    refused(
        &cli.run(&["execute"]),
        3,
        &["data/o_3.csv:2:5: the row has 3 fields, the header 2", "on_ragged_rows = \"fill\"", "2 rows do not fit"],
    );
    let text = std::fs::read_to_string(cli.path("flows/o.toml")).unwrap();
    cli.write("flows/o.toml", &format!("{text}on_ragged_rows = \"fill\"\n"));
    cli.ok(&["execute"]);
    assert_eq!(
        rows(&cli, "SELECT id, v, xt_record_type FROM o_change_feed ORDER BY xt_batch_id, id"),
        ["1,a,NEW", "1,a,STALE", "1,a,STALE", "2,b,NEW"]
    );
}

//! Rows that do not fit and are set aside, on the command line.

use crate::cli::Cli;

const SQLITE: &str = "[engine]\nname = \"sqlite\"\n[engine.config]\npath = \"test.db\"\n";
const EMBEDDED: &str = "";
const ENGINES: [&str; 2] = [EMBEDDED, SQLITE];

/// The flow `o` of that type, whose files lie in `data` and are called `b_1.csv` and so on.
fn flow(engine: &str, flow_type: &str, input: &str, load: &str) -> Cli {
    let cli = Cli::empty();
    if !engine.is_empty() {
        cli.write("qetl.toml", engine);
    }
    let load = format!("[properties.load]\nsource_path = \"data\"\nbatch_id_from = 'b_(\\d+)'\non_changed_file = \"replay\"\n{load}\n");
    cli.write("flows/o.toml", &format!("id = \"o\"\nflow_type = \"{flow_type}\"\n[input]\n{input}\n{load}"));
    cli
}

const PARK: &str = "on_bad_row = \"park\"";

const KEYED: &str = "primary_key = [\"id\"]\n\
     columns = [{ name = \"id\", schema_type = \"integer\" }, { name = \"amount\", schema_type = \"decimal(10,2)\" }, \"note\"]";

fn rows(cli: &Cli, query: &str) -> Vec<String> {
    cli.query(query).lines().skip(1).map(str::to_owned).collect()
}

fn feed(cli: &Cli) -> Vec<String> {
    rows(cli, "SELECT id, xt_batch_id, xt_record_type FROM o_change_feed ORDER BY 1, 2")
}

fn refused(cli: &Cli, args: &[&str], code: i32, said: &[&str]) {
    let output = cli.run(args);
    assert_eq!(output.code, code, "{output:?}");
    said.iter().for_each(|text| assert!(output.stderr.contains(text), "{text}: {output:?}"));
}

#[test]
fn a_row_that_does_not_fit_is_kept_with_its_text() {
    for engine in ENGINES {
        let cli = flow(engine, "change_feed", KEYED, PARK);
        cli.write("data/b_1.csv", "id,amount,note\n1,1.50,a\n2,2.50,b\n3,3.50,c\n");
        cli.ok(&["execute"]);
        // Key 2 is there, so that it stands; key 3 is gone.
        cli.write("data/b_2.csv", "id,amount,note\n1,1.75,a\n2,\"2,50\",b\n");
        cli.ok(&["execute"]);
        assert_eq!(feed(&cli), ["1,1,NEW", "1,2,CHANGED", "2,1,NEW", "3,1,NEW", "3,2,DELETED"], "{engine}");
        let parked =
            "SELECT id, amount, note, xt_parked_reason, xt_row_text, xt_error, xt_source_file, xt_row_number, xt_batch_id FROM o_parked";
        let told = "2,,b,bad_row,\"2,\"\"2,50\"\",b\",\"column `amount`: `2,50` is not a decimal(10,2)\",data/b_2.csv,2,2";
        assert_eq!(rows(&cli, parked), [told], "{engine}");
        assert_eq!(rows(&cli, "SELECT COUNT(*) FROM o_landing"), ["5"], "{engine}");
        cli.ok(&["verify"]);
        // A full refresh keeps it.
        cli.ok(&["execute", "--full-refresh"]);
        assert_eq!(rows(&cli, parked), [told], "{engine}");
        assert_eq!(feed(&cli), ["1,1,NEW", "1,2,CHANGED", "2,1,NEW", "3,1,NEW", "3,2,DELETED"], "{engine}");
        // The same text is the same content, another one is not.
        cli.write("data/b_2.csv", "id,amount,note\n2,\"2,50\",b\n1,1.750,a\n");
        let again = cli.ok(&["execute", "--format", "json"]);
        assert!(again.contains("unchanged"), "{engine}: {again}");
        cli.write("data/b_2.csv", "id,amount,note\n2,\"2,51\",b\n1,1.75,a\n");
        let again = cli.ok(&["execute", "--format", "json"]);
        assert!(again.contains("\"succeeded\""), "{engine}: {again}");
        assert_eq!(rows(&cli, "SELECT xt_row_text FROM o_parked"), ["\"2,\"\"2,51\"\",b\""], "{engine}");
        // A file that fits replaces it.
        cli.write("data/b_2.csv", "id,amount,note\n2,2.51,b\n1,1.75,a\n");
        cli.ok(&["execute"]);
        assert_eq!(rows(&cli, "SELECT COUNT(*) FROM o_parked"), ["0"], "{engine}");
        assert_eq!(feed(&cli), ["1,1,NEW", "1,2,CHANGED", "2,1,NEW", "2,2,CHANGED", "3,1,NEW", "3,2,DELETED"], "{engine}");
        cli.ok(&["verify"]);
    }
}

#[test]
fn a_row_whose_key_cannot_be_read_may_have_been_any() {
    for engine in ENGINES {
        let cli = flow(engine, "change_feed", KEYED, PARK);
        cli.write("data/b_1.csv", "id,amount,note\n1,1,a\n2,2,b\n3,3,c\n");
        cli.ok(&["execute"]);
        cli.write("data/b_2.csv", "id,amount,note\n1,1,a\nx,2,b\n");
        let ran = cli.run(&["execute"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stderr.contains("nothing is deleted by absence in this batch"), "{engine}: {ran:?}");
        assert_eq!(feed(&cli), ["1,1,NEW", "1,2,STALE", "2,1,NEW", "3,1,NEW"], "{engine}");
        // The next one deletes what it misses, and knows what stood.
        cli.write("data/b_3.csv", "id,amount,note\n1,1,a\n2,2,b\n");
        cli.ok(&["execute"]);
        assert_eq!(feed(&cli), ["1,1,NEW", "1,2,STALE", "1,3,STALE", "2,1,NEW", "2,3,STALE", "3,1,NEW", "3,3,DELETED"], "{engine}");
        // Whole lines that are no rows.
        cli.write("data/b_4.csv", "id,amount,note\n1,1,a,b,c\n");
        cli.ok(&["execute"]);
        assert_eq!(
            rows(&cli, "SELECT xt_row_text, xt_error FROM o_parked WHERE xt_batch_id = 4"),
            ["\"1,1,a,b,c\",\"the row has 5 fields, the header 3\""]
        );
        assert_eq!(rows(&cli, "SELECT COUNT(*) FROM o_change_feed WHERE xt_batch_id = 4"), ["0"], "{engine}");
        cli.ok(&["verify"]);
    }
}

#[test]
fn other_rows_of_a_key_with_a_parked_row_do_not_count() {
    for engine in ENGINES {
        let cli = flow(engine, "change_feed", &format!("{KEYED}\nbatch_mode = \"delta\""), PARK);
        cli.write("data/b_1.csv", "id,amount,note\n1,1,a\n2,2,b\n");
        cli.ok(&["execute"]);
        cli.write("data/b_2.csv", "id,amount,note\n1,9,z\n1,?,z\n2,3,b\n4,?,d\n");
        cli.ok(&["execute"]);
        assert_eq!(feed(&cli), ["1,1,NEW", "2,1,NEW", "2,2,CHANGED"], "{engine}");
        cli.ok(&["verify"]);
    }
}

#[test]
fn a_batch_may_have_so_many_rows_that_do_not_fit() {
    for engine in ENGINES {
        let cli = flow(engine, "change_feed", KEYED, &format!("{PARK}\nmax_bad_ratio = 0.5"));
        cli.write("data/b_1.csv", "id,amount,note\n1,1,a\n2,?,b\n");
        cli.ok(&["execute"]);
        cli.write("data/b_2.csv", "id,amount,note\n1,1,a\n2,?,b\n3,!,b\n");
        let said = ["2 of the batch's 3 rows do not fit, more than `max_bad_ratio = 0.5` allows", "data/b_2.csv:3:3", "data/b_2.csv:4:3"];
        refused(&cli, &["execute"], 3, &said);
        assert_eq!(rows(&cli, "SELECT COUNT(*) FROM o_parked"), ["1"], "{engine}");
        cli.write("data/b_2.csv", "id,amount,note\n1,1,a\n2,2,b\n3,!,b\n");
        cli.ok(&["execute"]);
    }
}

#[test]
fn what_is_told_of_the_keys() {
    let cli = flow(EMBEDDED, "change_feed", KEYED, "max_bad_ratio = 0.5");
    refused(&cli, &["check"], 2, &["`max_bad_ratio` does nothing here", "on_bad_row"]);
    let cli = flow(EMBEDDED, "change_feed", KEYED, &format!("{PARK}\nmax_bad_ratio = 1.5"));
    refused(&cli, &["check"], 2, &["max_bad_ratio"]);
    let cli = flow(EMBEDDED, "change_feed", KEYED, "on_bad_row = \"skip\"");
    refused(&cli, &["check"], 2, &["on_bad_row", "park"]);
    // Whoever loads the tables of generated code sees to such rows.
    let cli = flow(EMBEDDED, "change_feed", &KEYED.replace("\"note\"", "{ name = \"note\", schema_type = \"string\" }"), PARK);
    refused(&cli, &["generate", "--target", "sql", "--dialect", "duckdb", "--out", "out"], 2, &["reads no files", "on_bad_row"]);
    // NULL in a key has a rule of its own.
    let cli = flow(EMBEDDED, "change_feed", KEYED, PARK);
    cli.write("data/b_1.csv", "id,amount,note\n1,1,a\n,2,b\n");
    refused(&cli, &["execute"], 3, &["NULL, and the column is required", "on_null_key"]);
}

#[test]
fn to_set_rows_aside_no_more_is_refused_while_there_are_some() {
    for engine in ENGINES {
        let cli = flow(engine, "change_feed", KEYED, PARK);
        cli.write("data/b_1.csv", "id,amount,note\n1,1,a\n2,?,b\n");
        cli.ok(&["execute"]);
        let without = text(&cli).replace(PARK, "");
        let with = text(&cli);
        cli.write("flows/o.toml", &without);
        refused(&cli, &["execute"], 2, &["`on_bad_row`", "--full-refresh"]);
        refused(&cli, &["execute", "--full-refresh"], 3, &["rows were set aside that do not fit", "xt_row_number = 2", "on_bad_row"]);
        cli.write("flows/o.toml", &with);
        cli.write("data/b_1.csv", "id,amount,note\n1,1,a\n2,2,b\n");
        cli.ok(&["execute"]);
        cli.write("flows/o.toml", &without);
        cli.ok(&["execute", "--full-refresh"]);
        assert_eq!(feed(&cli), ["1,1,NEW", "2,1,NEW"], "{engine}");
        // And back.
        cli.write("flows/o.toml", &with);
        cli.ok(&["execute", "--full-refresh"]);
        cli.write("data/b_2.csv", "id,amount,note\n1,1,a\n2,?,b\n");
        cli.ok(&["execute"]);
        assert_eq!(feed(&cli), ["1,1,NEW", "1,2,STALE", "2,1,NEW"], "{engine}");
        cli.ok(&["verify"]);
    }
}

fn text(cli: &Cli) -> String {
    std::fs::read_to_string(cli.path("flows/o.toml")).unwrap()
}

#[test]
fn every_flow_type_sets_rows_aside() {
    let types = [
        ("delta_publishing", "columns = [\"id\", { name = \"amount\", schema_type = \"decimal(10,2)\" }]\nprimary_key = [\"id\"]"),
        ("scd2", "columns = [\"id\", { name = \"amount\", schema_type = \"decimal(10,2)\" }]\nprimary_key = [\"id\"]"),
        (
            "sessionization",
            "columns = [{ name = \"user_id\", from = \"id\" }, { name = \"timestamp\", schema_type = \"timestamp\", from = \"amount\" }]",
        ),
        (
            "growth_accounting",
            "columns = [{ name = \"user_id\", from = \"id\" }, { name = \"timestamp\", schema_type = \"timestamp\", from = \"amount\" }]",
        ),
    ];
    for engine in ENGINES {
        for (flow_type, input) in types {
            let cli = flow(engine, flow_type, input, PARK);
            let good = if input.contains("timestamp") { "2024-01-01T10:00:00" } else { "1.5" };
            cli.write("data/b_1.csv", &format!("id,amount\na,{good}\nb,{good}\n"));
            cli.write("data/b_2.csv", &format!("id,amount\na,{good}\nb,NaN\n"));
            cli.ok(&["execute"]);
            let parked = "SELECT xt_parked_reason, xt_row_text, xt_source_file, xt_row_number, xt_batch_id FROM o_parked";
            assert_eq!(rows(&cli, parked), ["bad_row,\"b,NaN\",data/b_2.csv,2,2"], "{flow_type} {engine}");
            cli.ok(&["verify"]);
            cli.ok(&["execute", "--full-refresh"]);
            assert_eq!(rows(&cli, parked), ["bad_row,\"b,NaN\",data/b_2.csv,2,2"], "{flow_type} {engine}");
        }
    }
}

/// A standard flow that loads `raw` from `data`, sums it up, and reads what was set aside.
fn ingestion(engine: &str, config: &str) -> Cli {
    let cli = Cli::empty();
    if !engine.is_empty() {
        cli.write("qetl.toml", engine);
    }
    let text = "id = \"s\"\nflow_type = \"standard\"\n\
        [[tasks]]\nid = \"load\"\ntask_type = \"ingestion\"\ntarget_dataset = \"raw\"\n[tasks.config]\npath = \"data/*.csv\"\n\
        on_changed_file = \"replay\"\ncolumns = [\"id\", { name = \"amount\", schema_type = \"integer\" }]\nCONFIG\n\
        [[tasks]]\nid = \"sum\"\ntask_type = \"sql_processing\"\ntarget_dataset = \"total\"\nwrite_mode = \"replace\"\n\
        sql = \"SELECT SUM(amount) AS amount, COUNT(*) AS n FROM raw\"\n\
        [[tasks]]\nid = \"wrong\"\ntask_type = \"sql_processing\"\ntarget_dataset = \"wrong\"\nwrite_mode = \"replace\"\n\
        sql = \"SELECT COUNT(*) AS n FROM raw_parked\"\n";
    cli.write("flows/s.toml", &text.replace("CONFIG", config));
    cli
}

#[test]
fn an_ingestion_sets_rows_aside_beside_its_target() {
    for engine in ENGINES {
        let cli = ingestion(engine, PARK);
        cli.write("data/a.csv", "id,amount\na,1\nb,2\n");
        cli.ok(&["check"]);
        cli.ok(&["execute"]);
        assert_eq!(rows(&cli, "SELECT COUNT(*) FROM raw_parked"), ["0"], "{engine}");
        cli.write("data/b.csv", "id,amount\na,1\nb,two\nc,3\nd,4,5\n");
        cli.ok(&["execute"]);
        let parked = "SELECT id, amount, xt_parked_reason, xt_row_text, xt_error, xt_source_file, xt_row_number, xt_batch_id \
                      FROM raw_parked ORDER BY xt_row_number";
        let told = [
            "b,,bad_row,\"b,two\",column `amount`: `two` is not an integer,data/b.csv,2,2",
            ",,bad_row,\"d,4,5\",\"the row has 3 fields, the header 2\",data/b.csv,4,2",
        ];
        assert_eq!(rows(&cli, parked), told, "{engine}");
        assert_eq!(rows(&cli, "SELECT id, xt_row_number FROM raw WHERE xt_batch_id = 2 ORDER BY 2"), ["a,1", "c,3"], "{engine}");
        assert_eq!(rows(&cli, "SELECT amount, n FROM total"), ["7,4"], "{engine}");
        assert_eq!(rows(&cli, "SELECT n FROM wrong"), ["2"], "{engine}");
        // A full refresh keeps them, and the same text is the same content.
        cli.ok(&["execute", "--full-refresh"]);
        assert_eq!(rows(&cli, parked), told, "{engine}");
        cli.write("data/b.csv", "id,amount\nc,3\nd,4,5\nb,two\na,01\n");
        let again = cli.ok(&["execute", "--format", "json"]);
        assert!(again.contains("unchanged"), "{engine}: {again}");
        assert_eq!(rows(&cli, parked), told, "{engine}");
        cli.write("data/b.csv", "id,amount\na,1\nb,zwei\nc,3\nd,4\n");
        cli.ok(&["execute"]);
        assert_eq!(rows(&cli, "SELECT xt_row_text FROM raw_parked"), ["\"b,zwei\""], "{engine}");
        cli.write("data/b.csv", "id,amount\na,1\nb,2\nc,3\nd,4\n");
        cli.ok(&["execute"]);
        assert_eq!(rows(&cli, "SELECT COUNT(*) FROM raw_parked"), ["0"], "{engine}");
        assert_eq!(rows(&cli, "SELECT amount, n FROM total"), ["13,6"], "{engine}");
        cli.ok(&["verify"]);
    }
}

#[test]
fn an_ingestion_may_have_so_many_rows_that_do_not_fit() {
    for engine in ENGINES {
        let cli = ingestion(engine, &format!("{PARK}\nmax_bad_ratio = 0.5"));
        cli.write("data/a.csv", "id,amount\na,1\nb,two\nc,three\n");
        let said = ["2 of the batch's 3 rows do not fit, more than `max_bad_ratio = 0.5` allows", "data/a.csv:3:3", "data/a.csv:4:3"];
        refused(&cli, &["execute"], 3, &said);
        cli.write("data/a.csv", "id,amount\na,1\nb,two\n");
        cli.ok(&["execute"]);
        assert_eq!(rows(&cli, "SELECT COUNT(*) FROM raw_parked"), ["1"], "{engine}");
        let cli = ingestion(engine, "");
        refused(&cli, &["check"], 2, &["no task makes `raw_parked`"]);
    }
}

//! Change data that carries its own order, snapshots of some values, and columns that come later, from the command line.

use crate::cli::Cli;

/// A project whose flow `o_change_feed` has these lines in `[input]`.
fn project(flow_type: &str, input: &str, properties: &str) -> Cli {
    let cli = Cli::empty();
    let id = if flow_type == "change_feed" { "o_change_feed" } else { "o" };
    let load = "[properties.load]\nsource_path = \"data\"\nfile_pattern = \"*.csv\"\n";
    cli.write("flows/f.toml", &format!("id = \"{id}\"\nflow_type = \"{flow_type}\"\n[input]\n{input}\n[properties]\n{properties}\n{load}"));
    cli
}

fn feed(input: &str) -> Cli {
    project("change_feed", input, "")
}

const FEED: &str = "SELECT * EXCLUDE (xt_processed_at) FROM o_change_feed ORDER BY xt_batch_id, id";

#[test]
fn the_greatest_sequence_counts_and_not_the_line() {
    let cli = feed(
        "primary_key = [\"id\"]\ncolumns = [\"id\", \"v\", \"op\", \"lsn\"]\nbatch_mode = \"delta\"\ndelete_column = \"op\"\n\
         delete_values = [\"D\"]\non_duplicate_key = \"keep_last\"\nsequence_columns = [\"lsn\"]",
    );
    cli.write("data/o_1.csv", "id,v,op,lsn\n1,new,U,20\n1,old,I,10\n");
    cli.write("data/o_2.csv", "id,v,op,lsn\n1,older,U,9\n2,gone,D,5\n");
    cli.write("data/o_3.csv", "id,v,op,lsn\n2,late,U,4\n1,newest,D,21\n");
    cli.ok(&["execute"]);
    assert_eq!(cli.query(FEED), "id,v,op,lsn,xt_batch_id,xt_record_type,xt_changed_columns\n1,new,U,20,1,NEW,\n1,new,U,21,3,DELETED,\n");
    assert_eq!(
        cli.query("SELECT id, v, lsn, xt_parked_reason, xt_source_file, xt_row_number, xt_batch_id FROM o_parked ORDER BY xt_batch_id, id"),
        "id,v,lsn,xt_parked_reason,xt_source_file,xt_row_number,xt_batch_id\n\
         1,older,9,superseded,data/o_2.csv,1,2\n2,gone,5,unknown_key,data/o_2.csv,2,2\n2,late,4,superseded,data/o_3.csv,1,3\n"
    );
    cli.ok(&["verify"]);
}

#[test]
fn a_row_without_its_sequence_is_refused_with_its_place() {
    let cli = feed("primary_key = [\"id\"]\ncolumns = [\"id\", \"v\", \"lsn\"]\nsequence_columns = [\"lsn\"]");
    cli.write("data/o_1.csv", "id,v,lsn\n1,a,1\n2,b,\n");
    let refused = cli.run(&["execute"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("data/o_1.csv:3:5") && refused.stderr.contains("`lsn`"), "{refused:?}");
}

#[test]
fn a_sequence_that_was_inferred_without_an_order_is_refused() {
    let cli = feed("primary_key = [\"id\"]\ncolumns = [\"id\", \"v\", \"lsn\"]\nsequence_columns = [\"lsn\"]");
    cli.write("data/o_1.csv", "id,v,lsn\n1,a,true\n2,b,false\n");
    let refused = cli.run(&["execute"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("the sequence column `lsn` is of type boolean"), "{refused:?}");
}

/// Rows that differ at the greatest sequence are refused with their lines; at another one they do not matter.
#[test]
fn ties_are_refused_at_the_greatest_sequence_alone() {
    let cli = feed("primary_key = [\"id\"]\ncolumns = [\"id\", \"v\", \"lsn\"]\nsequence_columns = [\"lsn\"]\nbatch_mode = \"delta\"");
    cli.write("data/o_1.csv", "id,v,lsn\n1,a,1\n1,b,1\n1,c,2\n1,c,2\n");
    cli.ok(&["execute"]);
    assert_eq!(cli.query("SELECT id, v FROM o_state"), "id,v\n1,c\n");
    cli.write("data/o_2.csv", "id,v,lsn\n1,a,3\n1,c,2\n1,b,3\n");
    let refused = cli.run(&["execute"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("id = 1: data/o_2.csv:2, data/o_2.csv:4"), "{refused:?}");
}

/// Adding the key to a flow that has batches asks for a full refresh, which then gives what the flow would have given.
#[test]
fn a_sequence_that_is_named_later_asks_for_a_full_refresh() {
    let input = "primary_key = [\"id\"]\ncolumns = [\"id\", \"v\", \"lsn\"]\nbatch_mode = \"delta\"\n";
    let cli = feed(input);
    cli.write("data/o_1.csv", "id,v,lsn\n1,b,2\n");
    cli.write("data/o_2.csv", "id,v,lsn\n1,a,1\n");
    cli.ok(&["execute"]);
    assert_eq!(cli.query("SELECT v FROM o_state"), "v\na\n");
    let flow = std::fs::read_to_string(cli.path("flows/f.toml")).unwrap();
    cli.write("flows/f.toml", &flow.replace("batch_mode", "sequence_columns = [\"lsn\"]\nbatch_mode"));
    cli.write("data/o_3.csv", "id,v,lsn\n1,c,3\n");
    let stopped = cli.run(&["execute"]);
    assert_eq!(stopped.code, 2, "{stopped:?}");
    assert!(stopped.stderr.contains("`sequence_columns` was the default") && stopped.stderr.contains("--full-refresh"), "{stopped:?}");
    cli.ok(&["execute", "--full-refresh"]);
    let expected = "id,v,lsn,xt_batch_id,xt_record_type,xt_changed_columns\n1,b,2,1,NEW,\n1,c,3,3,CHANGED,v\n";
    assert_eq!(cli.query(FEED), expected);
    assert_eq!(cli.query("SELECT v, xt_parked_reason FROM o_parked"), "v,xt_parked_reason\na,superseded\n");
}

#[test]
fn a_deletion_may_be_a_time_that_is_set() {
    let cli = feed(
        "primary_key = [\"id\"]\ncolumns = [\"id\", \"v\", { name = \"deleted_at\", schema_type = \"string\" }]\nbatch_mode = \"delta\"\n\
         delete_column = \"deleted_at\"\ndelete_values = \"not_null\"",
    );
    cli.write("data/o_1.csv", "id,v,deleted_at\n1,a,\n2,b,2024-01-01 10:00:00\n");
    cli.ok(&["execute"]);
    assert_eq!(cli.query("SELECT id, xt_record_type FROM o_change_feed"), "id,xt_record_type\n1,NEW\n");
    let flow = std::fs::read_to_string(cli.path("flows/f.toml")).unwrap();
    cli.write("flows/f.toml", &flow.replace("\"not_null\"", "[\"NOT NULL\"]"));
    let checked = cli.run(&["check"]);
    assert!(checked.stderr.contains("delete_values = \"not_null\""), "{checked:?}");
}

#[test]
fn a_snapshot_of_a_day_leaves_other_days_alone() {
    let cli = feed("primary_key = [\"date\", \"id\"]\ncolumns = [\"date\", \"id\"]\nsnapshot_of = [\"date\"]");
    cli.write("data/o_1.csv", "date,id\n2024-01-01,a\n2024-01-01,b\n");
    cli.write("data/o_2.csv", "date,id\n2024-01-02,c\n2024-01-02,d\n");
    cli.write("data/o_3.csv", "date,id\n2024-01-01,a\n2024-01-01,bb\n");
    cli.write("data/o_4.csv", "date,id\n");
    cli.ok(&["execute"]);
    let deleted = "SELECT date, id, xt_batch_id FROM o_change_feed WHERE xt_record_type = 'DELETED'";
    assert_eq!(cli.query(deleted), "date,id,xt_batch_id\n2024-01-01,b,3\n");
    assert_eq!(cli.query("SELECT id FROM o_state ORDER BY id"), "id\na\nbb\nc\nd\n");
    cli.ok(&["verify"]);
}

#[test]
fn an_added_column_is_carried_until_rows_have_it() {
    let cli = feed("primary_key = [\"id\"]\ncolumns = [\"id\", \"v\"]\nadded_columns = \"carried\"");
    cli.write("data/o_1.csv", "id,v\n1,a\n2,b\n3,c\n4,d\n");
    cli.ok(&["execute"]);
    let flow = std::fs::read_to_string(cli.path("flows/f.toml")).unwrap();
    cli.write("flows/f.toml", &flow.replace("\"v\"]", "\"v\", \"note\"]"));
    cli.write("data/o_2.csv", "id,v,note\n1,a,x\n2,bb,x\n3,c,\n");
    let plan = cli.run(&["plan"]).stderr;
    assert!(plan.contains("column `note` is new") && plan.contains("it is carried until rows have it"), "{plan}");
    cli.write("data/o_3.csv", "id,v,note\n1,a,y\n2,bb,x\n3,c,x\n4,d,x\n");
    cli.ok(&["execute"]);
    let feed = "id,v,note,xt_batch_id,xt_record_type,xt_changed_columns\n\
                1,a,,1,NEW,\n2,b,,1,NEW,\n3,c,,1,NEW,\n4,d,,1,NEW,\n\
                1,a,x,2,STALE,\n2,bb,x,2,CHANGED,v\n3,c,,2,STALE,\n4,d,,2,DELETED,\n\
                1,a,y,3,CHANGED,note\n2,bb,x,3,STALE,\n3,c,x,3,CHANGED,note\n4,d,x,3,REACTIVATED,note\n";
    assert_eq!(cli.query(FEED), feed);
    cli.ok(&["verify"]);
    cli.ok(&["execute", "--full-refresh"]);
    assert_eq!(cli.query(FEED), feed);
    cli.ok(&["verify"]);
}

/// An attribute may be carried when it is added; a dimension posts, for the sums are told by it.
#[test]
fn what_a_ledger_books_posts_when_it_is_added() {
    let columns = |more: &str| format!("columns = [\"id\", {{ name = \"amount\", schema_type = \"decimal(18,2)\" }}{more}]");
    let input = format!("primary_key = [\"id\"]\nadded_columns = \"carried\"\n{}", columns(""));
    let cli = project("delta_publishing", &input, "");
    cli.write("data/o_1.csv", "id,amount\n1,10\n2,20\n");
    cli.ok(&["execute"]);
    let flow = std::fs::read_to_string(cli.path("flows/f.toml")).unwrap();
    let flow = flow.replace(&columns(""), &columns(", \"note\", \"region\""));
    cli.write("flows/f.toml", &flow.replace("[properties]\n", "[properties]\nattribute_columns = [\"note\"]\n"));
    cli.write("data/o_2.csv", "id,amount,note,region\n1,10,hello,\n2,20,hello,eu\n");
    cli.ok(&["execute", "--full-refresh"]);
    assert_eq!(
        cli.query("SELECT id, xt_record_type, xt_changed_columns FROM o_change_feed WHERE xt_batch_id = 2 ORDER BY id"),
        "id,xt_record_type,xt_changed_columns\n1,STALE,\n2,CHANGED,region\n"
    );
    assert_eq!(
        cli.query("SELECT xt_transaction_id, amount, note, region FROM o_delta_transaction WHERE xt_batch_id = 2 ORDER BY 1"),
        "xt_transaction_id,amount,note,region\n2#2#B,20.00,hello,eu\n2#2#R,-20.00,,\n"
    );
    cli.ok(&["verify"]);
}

/// A reversal of a deletion carries the last state, and the sequence that it had.
#[test]
fn a_ledger_of_changes_in_any_order() {
    let input = "primary_key = [\"id\"]\ncolumns = [\"id\", { name = \"amount\", schema_type = \"decimal(18,2)\" }, \"lsn\", \"op\"]\n\
                 batch_mode = \"delta\"\nsequence_columns = [\"lsn\"]\ndelete_column = \"op\"\ndelete_values = [\"D\"]";
    let cli = project("delta_publishing", input, "late_batches = \"cascade\"");
    cli.write("data/o_1.csv", "id,amount,lsn,op\nA,1,5,\nA,2,7,\n");
    cli.write("data/o_2.csv", "id,amount,lsn,op\nA,9,6,\n");
    cli.write("data/o_3.csv", "id,amount,lsn,op\nA,2,8,\n");
    cli.write("data/o_4.csv", "id,amount,lsn,op\nA,3,9,\n");
    cli.write("data/o_5.csv", "id,amount,lsn,op\nA,,11,D\nB,,4,D\n");
    cli.write("data/o_6.csv", "id,amount,lsn,op\nA,7,10,\nB,1,3,\n");
    cli.ok(&["execute"]);
    assert_eq!(
        cli.query("SELECT xt_transaction_id, amount, lsn, xt_referred_transaction_id FROM o_delta_transaction ORDER BY xt_batch_id, 1"),
        "xt_transaction_id,amount,lsn,xt_referred_transaction_id\n\
         A#1#B,2.00,7,\nA#4#B,3.00,9,\nA#4#R,-2.00,8,A#1#B\nA#5#R,-3.00,9,A#4#B\n"
    );
    cli.ok(&["verify"]);
}

#[test]
fn a_row_without_a_key_stops_deletions_by_absence_with_a_word() {
    let cli = feed("primary_key = [\"id\"]\ncolumns = [\"id\", \"day\"]\nsnapshot_of = [\"day\"]\non_null_key = \"park\"");
    cli.write("data/o_1.csv", "id,day\na,1\nb,1\n");
    assert!(!cli.run(&["execute"]).stderr.contains("warning"));
    cli.write("data/o_2.csv", "id,day\na,1\n,1\n");
    let told = cli.run(&["execute"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(format!("{told:?}").contains("nothing is deleted by absence in this batch"), "{told:?}");
    assert_eq!(cli.query("SELECT id, xt_batch_id FROM o_state ORDER BY id"), "id,xt_batch_id\na,2\nb,1\n");
    cli.write("data/o_3.csv", "id,day\na,1\n");
    cli.ok(&["execute"]);
    assert_eq!(cli.query("SELECT id FROM o_state"), "id\na\n");
}

/// Of many batches, latest rows are kept in a file of their own; a column that is taken out meanwhile is no harm.
#[test]
fn many_batches_are_told_by_few_files() {
    const LAST: usize = 24;
    let delta = "batch_mode = \"delta\"\nsequence_columns = [\"lsn\"]\ndelete_column = \"op\"\ndelete_values = [\"D\"]";
    for mode in [delta, ""] {
        let cli = feed(&format!("primary_key = [\"id\"]\ncolumns = [\"id\", \"v\", \"w\", \"lsn\", \"op\"]\n{mode}"));
        let write = |batch: usize| {
            // Key 0 is always there, another one comes with each batch, and one goes; a deletion and a late row of key 1000 + batch.
            let gone = if mode.is_empty() { String::new() } else { format!("{},,,{batch},D\n{},x,,3,\n", batch - 1, 1000 + batch) };
            let dead = if mode.is_empty() { String::new() } else { format!("{},,,5,D\n", 1001 + batch) };
            cli.write(&format!("data/o_{batch}.csv"), &format!("id,v,w,lsn,op\n0,{batch},w,{batch},\n{batch},x,w,{batch},\n{gone}{dead}"));
        };
        (2..=6).for_each(write);
        cli.ok(&["execute"]);
        let flow = std::fs::read_to_string(cli.path("flows/f.toml")).unwrap();
        cli.write("flows/f.toml", &flow.replace("\"w\", ", ""));
        for batch in 7..=LAST {
            write(batch);
            cli.ok(&["execute"]);
        }
        // No deletion came before the first of the late rows. The first file, which is the second of the story, is batch 1.
        let first = if mode.is_empty() { "" } else { "1002,x,1\n" };
        let newest = LAST - 1;
        let state = format!("id,v,xt_batch_id\n0,{LAST},{newest}\n{LAST},x,{newest}\n{first}");
        assert_eq!(cli.query("SELECT id, v, xt_batch_id FROM o_state ORDER BY id"), state);
        if !mode.is_empty() {
            let parked = "SELECT xt_parked_reason, count(*) AS n FROM o_parked GROUP BY 1 ORDER BY 1";
            assert_eq!(cli.query(parked), format!("xt_parked_reason,n\nsuperseded,{}\nunknown_key,{LAST}\n", LAST - 2));
        }
        cli.ok(&["verify"]);
        let feed = "SELECT id, v, lsn, op, xt_batch_id, xt_record_type, xt_changed_columns FROM o_change_feed ORDER BY xt_batch_id, id";
        let before = cli.query(feed);
        cli.ok(&["execute", "--full-refresh"]);
        assert_eq!(cli.query(feed), before);
    }
}

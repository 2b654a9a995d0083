//! The pages of the flow types name the steps that the SQL shows.

use std::{collections::BTreeMap, fs};

/// A heading under `## Steps` is a rule: its text is the name of a table expression in the SQL of an example flow.
#[test]
fn every_step_of_a_page_is_one_of_the_sql() {
    let mut written: BTreeMap<String, String> = BTreeMap::new();
    for entry in fs::read_dir("../../flows").unwrap() {
        let path = entry.unwrap().path();
        let flow = fs::read_to_string(&path).unwrap();
        let line = flow.lines().find_map(|line| line.strip_prefix("flow_type = ")).unwrap();
        let snapshot = format!("../../snapshots/flows/{}.duckdb.snap", path.file_stem().unwrap().to_string_lossy());
        // Flows of tasks bring SQL of their own.
        if let Ok(sql) = fs::read_to_string(snapshot) {
            written.entry(line.trim_matches('"').to_owned()).or_default().push_str(&sql);
        }
    }
    for (flow_type, sql) in written {
        let page = fs::read_to_string(format!("../../docs/flow-types/{flow_type}.md")).unwrap();
        let steps = page.split_once("\n## Steps\n").map_or("", |(_, steps)| steps);
        let steps = steps.split("\n## ").next().unwrap();
        let names: Vec<&str> = steps.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
        assert!(names.len() >= 3, "the page of {flow_type} has few steps: {names:?}");
        for name in names {
            assert!(sql.contains(&format!("\"{name}\" AS (")), "no SQL of {flow_type} has the step `{name}`");
        }
    }
}

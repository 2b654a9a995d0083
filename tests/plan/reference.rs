//! `docs/reference/` is made of the declarations: this rewrites it, and fails when it was not up to date.

use std::{fs, path::Path};

use qetl_core::{
    flow::file_schema,
    reference::{properties, sections},
};
use serde_json::Value;

#[test]
fn the_reference_is_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let mut stale = Vec::new();
    for entry in qetl_plugins::registry().entries() {
        let schema = file_schema(Some(entry));
        let mut page = format!(
            "# {}\n\n{}.\n\nMade from the declarations by `cargo test -p qetl-test-plan`; do not edit.\n",
            entry.name, entry.summary
        );
        for (title, table) in sections(&schema) {
            page.push_str(&table_of(title, table));
        }
        let file = folder.join(format!("{}.md", entry.name));
        if fs::read_to_string(&file).ok().as_deref() != Some(page.as_str()) {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&file, page).unwrap();
            stale.push(entry.name);
        }
    }
    assert!(stale.is_empty(), "docs/reference was out of date and is written anew: {stale:?}");
}

fn table_of(title: &str, table: &Value) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let row = |property: qetl_core::reference::Property| {
        format!("| `{}` | {} | {} | {} |\n", property.name, cell(&property.ty), cell(&property.default), cell(&property.about))
    };
    let rows: String = properties(table).into_iter().map(row).collect();
    format!("\n## `{title}`\n\n| key | type | default | what it is |\n| --- | --- | --- | --- |\n{rows}")
}

//! The catalog as other programs, and later versions of its format, may have it.

use std::fs;

use super::{catalog, tables};
use crate::cli::Cli;

#[test]
fn columns_that_a_later_format_adds_do_not_matter() {
    let cli = Cli::sample();
    let last = fs::read_to_string(cli.path("data/orders/orders_3.csv")).unwrap();
    fs::remove_file(cli.path("data/orders/orders_3.csv")).unwrap();
    cli.ok(&["execute"]);
    let connection = catalog(&cli);
    let names = "SELECT group_concat(name) FROM sqlite_master WHERE type = 'table' AND name LIKE 'ducklake_%'";
    let names: String = connection.query_row(names, (), |row| row.get(0)).unwrap();
    let names: Vec<&str> = names.split(',').collect();
    for name in &names {
        connection.execute_batch(&format!("ALTER TABLE {name} ADD COLUMN of_a_later_version VARCHAR")).unwrap();
    }
    assert!(names.len() > 20);
    drop(connection);
    cli.write("data/orders/orders_3.csv", &last);
    cli.ok(&["execute"]);
    cli.ok(&["execute", "--full-refresh"]);
    let other = Cli::sample();
    other.ok(&["execute"]);
    assert_eq!(tables(&cli), tables(&other));
}

#[test]
fn a_publish_without_changes_is_none_in_the_format() {
    let cli = Cli::sample();
    let flow = fs::read_to_string(cli.path("flows/orders_change_feed.toml")).unwrap();
    cli.write("flows/orders_change_feed.toml", &flow.replace("batch_mode = \"snapshot\"", "batch_mode = \"delta\""));
    cli.write("data/orders/orders_4.csv", "order_id,customer,status,amount\n");
    cli.ok(&["execute"]);
    let changes = "SELECT count(*), count(changes_made), sum(changes_made = '') FROM ducklake_snapshot_changes WHERE snapshot_id > 0";
    let found: (i64, i64, i64) = catalog(&cli).query_row(changes, (), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    assert_eq!(found, (4, 3, 0));
}

#[test]
fn a_warehouse_may_stand_beside_the_project() {
    let cli = Cli::empty();
    cli.ok(&["init", "shop"]);
    let settings = fs::read_to_string(cli.path("shop/qetl.toml")).unwrap();
    cli.write("shop/qetl.toml", &settings.replace("\"warehouse\"", "\"../elsewhere/./wh\""));
    let shop = |args: &[&str]| cli.ok(&[&["--project", "shop"], args].concat());
    shop(&["execute"]);
    assert!(cli.path("elsewhere/wh/published.json").is_file());
    assert_eq!(shop(&["query", "SELECT count(*) AS n FROM orders_state", "--format", "csv"]), "n\n4\n");
    shop(&["verify"]);
}

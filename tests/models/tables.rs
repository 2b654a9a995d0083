//! What each model's datasets hold, as texts: to compare tables of any engine with.

use std::collections::BTreeMap;

use crate::{
    growth,
    histories::usual,
    ledger::model::Ledger,
    oracle::{Column, Model, OnNullKey, Options, RecordType, Row, Value},
    scd2, sessions,
    text::{TextRow, float_text},
};

/// Columns of a dataset and its rows, which have no order.
#[derive(Debug, Clone, PartialEq)]
pub struct TextTable {
    pub dataset: String,
    pub columns: Vec<String>,
    pub rows: Vec<TextRow>,
}

/// A value as engines are asked for it.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Unreadable => None,
        // −0.0 is stored as 0.0.
        Value::Float(value) => Some(float_text(if *value == 0.0 { 0.0 } else { *value })),
        Value::Int(_) | Value::Text(_) | Value::Decimal(_) | Value::Bool(_) | Value::Date(_) | Value::Timestamp(_) => Some(value.text()),
    }
}

/// The feed, what a feed without STALE rows has beside it, the live keys, what was landed and what was parked.
pub fn change_feed(model: &Model) -> Vec<TextTable> {
    let options = &model.options;
    let feed = model.history();
    let feed_rows = |stale: bool| {
        let wanted = feed.iter().filter(|found| options.emit_stale || (found.record_type == RecordType::Stale) == stale);
        let more = |batch: i64, kind: RecordType, changed: &Option<String>| vec![number(batch), word(kind.name()), changed.clone()];
        wanted.map(|found| row(&found.row, more(found.batch_id, found.record_type, &found.changed_columns))).collect()
    };
    let feed_columns = ["xt_batch_id", "xt_record_type", "xt_changed_columns"];
    let mut tables = vec![table("h_change_feed", &options.columns, &feed_columns, feed_rows(false))];
    if !options.emit_stale {
        tables.push(table("h_stale", &options.columns, &feed_columns, feed_rows(true)));
    }
    tables.push(table("h_state", &options.columns, &["xt_batch_id"], model.state().iter().map(of_batch).collect()));
    tables.push(table("h_landing", &options.columns, &["xt_batch_id"], model.landing().iter().map(of_batch).collect()));
    if options.parks() {
        tables.push(parked(options, &model.parked()));
    }
    tables
}

/// The tables of its change feed, and the transactions.
pub fn delta_publishing(ledger: &Ledger) -> Vec<TextTable> {
    let posted = ledger.transactions();
    let rows = posted.iter().map(|posted| {
        let kind = word(posted.transaction_type.name());
        row(&posted.row, vec![Some(posted.id.clone()), kind, posted.refers_to.clone(), number(posted.batch_id)])
    });
    let more = ["xt_transaction_id", "xt_transaction_type", "xt_referred_transaction_id", "xt_batch_id"];
    let mut tables = change_feed(&ledger.feed);
    tables.push(table("h_delta_transaction", &ledger.feed.options.columns, &more, rows.collect()));
    tables
}

/// Sessions, and their events where the flow has them; what was landed and what was parked.
pub fn sessionization(model: &sessions::model::Model) -> Vec<TextTable> {
    let tables = model.tables().into_iter();
    let texts = |rows: &[Row]| rows.iter().map(|cells| row(cells, Vec::new())).collect();
    tables.map(|(name, table)| TextTable { dataset: format!("h_{name}"), rows: texts(&table.rows), columns: table.columns }).collect()
}

/// The five datasets of growth; what was landed and what was parked.
pub fn growth_accounting(model: &growth::model::Model) -> Vec<TextTable> {
    let options = &model.options;
    let mut found: BTreeMap<&str, Vec<TextRow>> = model.growth().tables().into_iter().collect();
    let mut tables = growth_datasets(options);
    for table in &mut tables {
        table.rows = found.remove(table.dataset.trim_start_matches("h_")).unwrap();
    }
    tables.push(table("h_landing", &options.columns, &["xt_batch_id"], model.landing().iter().map(of_batch).collect()));
    if options.on_null_key == OnNullKey::Park || options.parks_bad {
        tables.push(table("h_parked", &options.columns, &["xt_batch_id"], model.parked().iter().map(of_batch).collect()));
    }
    tables
}

/// The five datasets with their columns, and no rows.
pub fn growth_datasets(options: &growth::model::Options) -> Vec<TextTable> {
    let user = options.columns[options.user].name.as_str();
    let datasets: [(&str, &[&str]); 5] = [
        ("h_activity_periods", &[user, "period", "activity_count", "first_activity_at", "last_activity_at"]),
        ("h_acquisitions", &["period", user, "first_activity_at"]),
        ("h_churn", &["period", user, "last_activity_date", "churn_date"]),
        ("h_resurrections", &["period", user, "churn_date", "return_date", "days_inactive"]),
        ("h_growth_summary", &["period", "acquisitions", "churn", "resurrections", "net_growth", "active_users", "user_base", "is_final"]),
    ];
    datasets.into_iter().map(|(dataset, columns)| table(dataset, &[], columns, Vec::new())).collect()
}

/// The versions; what was landed and what was parked.
pub fn scd2(model: &scd2::model::Model) -> Vec<TextTable> {
    let options = &model.options.feed;
    let versions = model.versions();
    let rows = versions.iter().map(|found| {
        let (to, is_current) = (found.to.as_ref().and_then(text), found.to.is_none());
        let processed_at = text(&Value::Timestamp(found.processed_at));
        let more = vec![number(found.version), text(&found.from), to, Some(is_current.to_string()), number(found.batch_id), processed_at];
        row(&found.row, more)
    });
    let more = ["xt_version", "xt_effective_from", "xt_effective_to", "xt_is_current", "xt_batch_id", "xt_processed_at"];
    let mut tables = vec![table("h_scd2", &options.columns, &more, rows.collect())];
    tables.push(table("h_landing", &options.columns, &["xt_batch_id"], model.feed.landing().iter().map(of_batch).collect()));
    if options.parks() {
        tables.push(parked(options, &model.parked()));
    }
    tables
}

fn table(dataset: &str, columns: &[Column], more: &[&str], rows: Vec<TextRow>) -> TextTable {
    let columns = columns.iter().map(|column| column.name.clone()).chain(more.iter().map(|name| (*name).to_owned())).collect();
    TextTable { dataset: dataset.to_owned(), columns, rows }
}

fn parked(options: &Options, rows: &[(Row, &str, i64)]) -> TextTable {
    // Of a row that does not fit there is its text.
    let line = |values: &Row| values.contains(&Value::Unreadable).then(|| values.iter().map(usual).collect::<Vec<_>>().join(","));
    let text = |values: &Row| options.parks_bad.then(|| line(values));
    let rows = rows.iter().map(|(values, reason, batch)| {
        let more = [word(reason), number(*batch)].into_iter().chain(text(values));
        row(values, more.collect())
    });
    let more = ["xt_parked_reason", "xt_batch_id"].into_iter().chain(options.parks_bad.then_some("xt_row_text"));
    table("h_parked", &options.columns, &more.collect::<Vec<_>>(), rows.collect())
}

fn of_batch((values, batch): &(Row, i64)) -> TextRow {
    row(values, vec![number(*batch)])
}

fn row(values: &Row, more: Vec<Option<String>>) -> TextRow {
    values.iter().map(text).chain(more).collect()
}

fn number(number: i64) -> Option<String> {
    Some(number.to_string())
}

fn word(word: &str) -> Option<String> {
    Some(word.to_owned())
}

//! Random lives of a change feed whose files come to a folder one by one: parts of one batch at different times, files that change, files
//! that are moved away once they were read, and columns that folders tell.

use proptest::{collection::vec, prelude::*, sample::Index};

use crate::{
    histories::{content, flow_text, options, properties_toml, table, toml_text},
    oracle::{ColumnType, LateBatches, Options, Row, Value},
};

/// What happens to one flow, from its first file on.
#[derive(Debug, Clone)]
pub struct PartsHistory {
    pub options: Options,
    /// A column that the folders tell, with what those of each part say.
    pub folder: Option<(usize, Vec<Value>)>,
    pub events: Vec<Event>,
}

/// A file comes, or changes; then the flow is executed.
#[derive(Debug, Clone)]
pub struct Event {
    pub batch_id: i64,
    /// Which of the batch's files it is.
    pub part: usize,
    pub rows: Vec<Row>,
    /// How many of the files that are there are moved away after it was read, and which.
    pub moved: Vec<Index>,
    /// Whether the flow is executed only once another file is there, too.
    pub waits: bool,
}

/// The numbers in the names of a batch's files: natural order is not that of text.
pub const PARTS: [&str; 3] = ["2", "10", "1"];

pub fn parts_history() -> BoxedStrategy<PartsHistory> {
    let life = table(true).prop_flat_map(|table| {
        options(&table).prop_flat_map(move |options| {
            let options = Options { late_batches: LateBatches::Cascade, ..options };
            let texts: Vec<usize> =
                (0..options.columns.len()).filter(|at| options.columns[*at].ty == ColumnType::Text && !is_mark(&options, *at)).collect();
            let folder = match texts.is_empty() {
                true => Just(None).boxed(),
                false => prop::option::of((any::<Index>(), vec(folder_value(), PARTS.len()))).boxed(),
            };
            let event = (
                prop::sample::select(vec![1, 2, 3, 20]),
                0..PARTS.len(),
                content(&table, &options),
                vec(any::<Index>(), 0..2),
                prop::bool::weighted(0.2),
            );
            (Just(options), folder, vec(event, 1..9), Just(texts))
        })
    });
    let life = life.prop_map(|(options, folder, events, texts)| {
        let folder = folder.map(|(column, values)| (*column.get(&texts), values));
        let event = |(batch_id, part, mut rows, moved, waits): (i64, usize, Vec<Row>, Vec<Index>, bool)| {
            if let Some((column, values)) = &folder {
                rows.iter_mut().for_each(|row| row[*column] = values[part].clone());
            }
            rows.truncate(5);
            Event { batch_id, part, rows, moved, waits }
        };
        let events = events.into_iter().map(event).collect();
        PartsHistory { options, folder, events }
    });
    // Without another column a file would have none.
    life.prop_filter("a column in the file", |history| history.folder.is_none() || history.options.columns.len() > 2).boxed()
}

fn is_mark(options: &Options, column: usize) -> bool {
    options.delete.as_ref().is_some_and(|(mark, _)| *mark == column)
}

fn folder_value() -> impl Strategy<Value = Value> {
    let texts = ["a", "b", "a b", "a/b", "%", "ü", "x=y", "1"].map(|text| Value::Text(text.to_owned()));
    prop_oneof![1 => Just(Value::Null), 6 => prop::sample::select(texts.to_vec())]
}

/// The flow file of a history.
pub fn flow_toml(history: &PartsHistory) -> String {
    let mut flow = flow_text("id = \"h_change_feed\"\nflow_type = \"change_feed\"", &history.options, &properties_toml(&history.options));
    flow += "file_pattern = \"**/*.csv\"\nbatch_id_from = 'b_(\\d+)_'\non_changed_file = \"replay\"\n";
    if let Some((column, _)) = &history.folder {
        flow += &format!("partition_columns = [{}]\n", toml_text(&history.options.columns[*column].name));
    }
    flow
}

/// Where a file stands, below the project.
pub fn path(history: &PartsHistory, event: &Event) -> String {
    let folder = history.folder.as_ref().map_or_else(String::new, |(column, values)| {
        let value = &values[event.part];
        let value = if *value == Value::Null { "__HIVE_DEFAULT_PARTITION__".to_owned() } else { percent(&value.text()) };
        format!("{}={value}/", percent(&history.options.columns[*column].name))
    });
    format!("data/{folder}b_{}_{}.csv", event.batch_id, PARTS[event.part])
}

fn percent(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// The text of the file.
pub fn csv(history: &PartsHistory, event: &Event) -> String {
    let told = history.folder.as_ref().map(|(column, _)| *column);
    let stands = |at: &usize| Some(*at) != told;
    let columns: Vec<_> = (0..history.options.columns.len()).filter(stands).map(|at| history.options.columns[at].clone()).collect();
    let rows: Vec<Row> = event.rows.iter().map(|row| (0..row.len()).filter(stands).map(|at| row[at].clone()).collect()).collect();
    crate::histories::csv_text(&columns, &rows, |_| crate::histories::usual)
}

/// Snapshots that are empty, and those that delete much, are let through: files come by and by.
pub const ACCEPT_GUARDS: bool = true;

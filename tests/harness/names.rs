//! Names of columns are data: words of SQL in any case, and any characters. Every flow type runs with them.

use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestCaseError};
use qetl_core::schema::{refuse_column_name, same_name};
use qetl_runtime::waiting::Request;
use tokio::runtime::Runtime;

use crate::{
    project::TestProject,
    search::{Lived, Places, Search, failed},
};

/// The names of four columns: a key, a text, an amount, a time.
type Names = [String; 4];

pub const SEARCH: Search<Names> = Search { flow_type: "names", histories: names, told: |names| format!("{names:?}"), live };

const WORDS: [&str; 41] = [
    "Group",
    "Order",
    "Count",
    "Sum",
    "Max",
    "Date",
    "End",
    "Left",
    "Desc",
    "Is",
    "From",
    "Select",
    "Where",
    "Case",
    "When",
    "Null",
    "True",
    "False",
    "User",
    "Values",
    "Table",
    "Limit",
    "Union",
    "Join",
    "On",
    "Using",
    "With",
    "As",
    "By",
    "In",
    "Not",
    "Window",
    "Partition",
    "Timestamp",
    "Interval",
    "Column",
    "Primary",
    "Default",
    "id",
    "n",
    "x",
];

/// Letters, what quotes names somewhere, what means something in SQL, in templates or in drivers, and letters of many bytes.
const LETTERS: [&str; 32] = [
    "a", "B", "z", "0", "9", "_", " ", ".", "-", "\"", "'", "`", "[", "]", "(", ")", "{", "}", "?", ":", "%", "$", "\\", "/", "*", ";",
    "ä", "ß", "Ж", "日", "é", "😀",
];

fn name() -> impl Strategy<Value = String> {
    let word = select(&WORDS[..]).prop_flat_map(|word| select(vec![word.to_owned(), word.to_lowercase(), word.to_uppercase()]));
    let text = vec(select(&LETTERS[..]), 1..8).prop_map(|letters| letters.concat());
    prop_oneof![word, text].prop_filter("a name of a column", |name| refuse_column_name(name).is_none() && name.trim() == name)
}

fn names() -> BoxedStrategy<Names> {
    let differ = |names: &Names| (1..4).all(|at| names[..at].iter().all(|other| !same_name(other, &names[at])));
    [name(), name(), name(), name()].prop_filter("names that differ", differ).boxed()
}

/// A name as a text of a flow file.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

fn csv_field(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn columns([key, text, amount, at]: &Names) -> String {
    let typed = |name: &str, ty: &str| format!("{{ name = {}, schema_type = \"{ty}\" }}", quoted(name));
    format!(
        "columns = [{}, {}, {}, {}]",
        typed(key, "string"),
        typed(text, "string"),
        typed(amount, "decimal(18,2)"),
        typed(at, "timestamp")
    )
}

/// A flow file, and the datasets that it makes.
type Made = (String, &'static [&'static str]);

fn flows(names: &Names) -> Vec<Made> {
    let [key, _, amount, at] = names;
    let (key, amount, at, columns) = (quoted(key), quoted(amount), quoted(at), columns(names));
    let load = "[properties.load]\nsource_path = \"data\"\n";
    let keyed = format!("[input]\nprimary_key = [{key}]\n{columns}\n");
    vec![
        (format!("id = \"f_change_feed\"\nflow_type = \"change_feed\"\n{keyed}{load}"), &["f_landing", "f_change_feed", "f_state"]),
        (
            format!("id = \"f\"\nflow_type = \"delta_publishing\"\n{keyed}[properties]\nmeasure_columns = [{amount}]\n{load}"),
            &["f_change_feed", "f_delta_transaction"],
        ),
        (
            format!(
                "id = \"f\"\nflow_type = \"delta_publishing\"\n{keyed}[properties]\nmeasure_columns = [{amount}]\nDELTA_METHOD = \"DELTA_CORRECTION\"\n{load}"
            ),
            &["f_delta_transaction"],
        ),
        (format!("id = \"f\"\nflow_type = \"scd2\"\n{keyed}[properties]\neffective_date_column = {at}\n{load}"), &["f_scd2"]),
        (
            format!(
                "id = \"f\"\nflow_type = \"sessionization\"\n[input]\n{columns}\n[properties]\nuser_id_field = {key}\ntimestamp_field = {at}\n{load}"
            ),
            &["f_landing", "f_sessions"],
        ),
        (
            format!(
                "id = \"f\"\nflow_type = \"growth_accounting\"\n[input]\n{columns}\n[properties]\nuser_id_column = {key}\ntimestamp_column = {at}\n{load}"
            ),
            &["f_landing", "f_activity_periods", "f_growth_summary"],
        ),
    ]
}

fn standard(project_quote: char, [key, text, amount, _]: &Names, columns: &str) -> String {
    let in_sql = |name: &str| {
        let quote = project_quote.to_string();
        format!("{quote}{}{quote}", name.replace(&quote, &quote.repeat(2)))
    };
    let (key, text, amount) = (in_sql(key), in_sql(text), in_sql(amount));
    let sql = format!(
        "SELECT r.{key}, COUNT(*) AS {text}, SUM({amount}) AS {amount} FROM raw r WHERE {amount} > 0 GROUP BY {key} ORDER BY MAX(r.{amount}) DESC"
    );
    // Braces are a template's.
    let sql = quoted(&format!("{{% raw %}}{sql}{{% endraw %}}"));
    format!(
        "id = \"f\"\nflow_type = \"standard\"\n[[tasks]]\nid = \"l\"\ntask_type = \"ingestion\"\ntarget_dataset = \"raw\"\n\
         [tasks.config]\npath = \"data/*.csv\"\n{columns}\n\
         [[tasks]]\nid = \"t\"\ntask_type = \"sql_processing\"\ntarget_dataset = \"made\"\nsql = {sql}\n"
    )
}

const BATCHES: [&str; 2] =
    ["A,x,1.50,2024-01-01T10:00:00Z\nB,y,2.00,2024-01-01T11:00:00Z\n", "A,z,10.00,2024-01-02T10:00:00Z\nB,y,2.00,2024-01-01T11:00:00Z\n"];

fn live(runtime: &Runtime, places: Places<'_>, names: &Names) -> Result<Lived, TestCaseError> {
    let quote = places().quote;
    let mut flows = flows(names);
    flows.push((standard(quote, names, &columns(names)), &["raw", "made"]));
    let header: Vec<String> = names.iter().map(|name| csv_field(name)).collect();
    let mut refused = None;
    for (flow, datasets) in flows {
        let project = TestProject::new(places(), &flow);
        let lived = runtime.block_on(async {
            for (index, rows) in BATCHES.iter().enumerate() {
                let path = project.folder.path().join(format!("data/f_{index}.csv"));
                std::fs::write(path, format!("{}\n{rows}", header.join(","))).unwrap();
                let report = project.execute(&Request::default()).await.map_err(|why| failed(format!("{why}\n{flow}")))?;
                if let Some(why) = project.place.says_no(&report) {
                    return Ok(Some(why));
                }
                let errors =
                    report.flows.iter().flat_map(|flow| flow.batches.iter().filter_map(|batch| batch.error.as_ref()).chain(&flow.error));
                if let Some(error) = errors.map(|error| error.message.clone()).next() {
                    return Err(failed(format!("{error}\n{flow}")));
                }
            }
            project.verified().await.map_err(|why| failed(format!("{why}\n{flow}")))?;
            for dataset in datasets {
                let all = project.asked(&format!("SELECT * FROM {dataset}")).await.map_err(|why| failed(format!("{why}\n{flow}")))?;
                if all.is_empty() {
                    return Err(failed(format!("`{dataset}` is empty\n{flow}")));
                }
            }
            if datasets.contains(&"made") {
                let columns = [0, 1, 2].map(|at| project.place.quoted(&names[at])).join(", ");
                let rows = project.asked(&format!("SELECT {columns} FROM made ORDER BY 1")).await.map_err(failed)?;
                let text = |text: &str| Some(text.to_owned());
                let expected = [[text("A"), text("2"), text("11.50")], [text("B"), text("2"), text("4.00")]];
                if rows != expected {
                    return Err(failed(format!("{rows:?}\n{flow}")));
                }
            }
            project.refresh().await.map_err(|why| failed(format!("{why}\n{flow}")))?;
            Ok(None)
        })?;
        refused = refused.or(lived);
    }
    Ok(refused.map_or(Lived::AsTheModelSays, Lived::Refused))
}

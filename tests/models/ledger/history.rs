//! Random lives of a ledger: a change feed's, in which most changes touch few columns and all amounts add exactly.

use proptest::{
    collection::vec,
    prelude::*,
    sample::{select, subsequence},
};

use super::model::{Booking, Method};
use crate::{
    histories::{
        self, Arrival, Marks, Part, Table, Types, bad_places, column_names, column_type, domains, flow_text, properties_toml, some_of,
        spoil, table_of, variant,
    },
    oracle::{ColumnType, LateBatches, Options, Value},
};

/// What happens to one flow of type `delta_publishing`.
#[derive(Debug, Clone)]
pub struct LedgerHistory {
    pub options: Options,
    pub booking: Booking,
    /// The line of the flow file that names the method; empty for the default.
    method_line: &'static str,
    pub arrivals: Vec<Arrival>,
}

pub fn ledger_history() -> BoxedStrategy<LedgerHistory> {
    plan().prop_flat_map(|plan| (table(&plan), Just(plan))).prop_flat_map(|(table, plan)| options(&table, &plan)).boxed()
}

/// The same of a flow that sets rows aside that do not fit, some of whose rows do not.
pub fn ledger_history_with_bad_rows() -> BoxedStrategy<LedgerHistory> {
    let histories = (ledger_history(), bad_places()).prop_map(|(mut history, places)| {
        history.options.parks_bad = true;
        let needed = [history.options.key.as_slice(), &history.options.sequence].concat();
        spoil(history.arrivals.iter_mut().collect(), &history.options.columns, &needed, &places);
        history
    });
    histories.boxed()
}

/// The flow file of a history; its datasets are `h_…`.
pub fn flow_toml(history: &LedgerHistory) -> String {
    let LedgerHistory { options, booking, method_line, .. } = history;
    let mut properties = properties_toml(options) + method_line;
    if let Some(measures) = &booking.measure_columns {
        properties += &format!("measure_columns = [{}]\n", column_names(options, measures));
    }
    if !booking.attribute_columns.is_empty() {
        properties += &format!("attribute_columns = [{}]\n", column_names(options, &booking.attribute_columns));
    }
    if options.late_batches == LateBatches::Cascade {
        properties += "late_batches = \"cascade\"\n";
    }
    flow_text("id = \"h\"\nflow_type = \"delta_publishing\"", options, &properties)
}

/// What a failing test tells of its history.
pub fn told(history: &LedgerHistory) -> String {
    format!("flow:\n{}\n{:?}\narrivals: {:#?}", flow_toml(history), history.booking, history.arrivals)
}

/// The part that a column beside the key plays. Where measures are chosen by type, a dimension may become one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Role {
    Measure,
    Dimension,
    Attribute,
    /// Not among `change_detection_columns`.
    Untracked,
}

/// A flow before its columns have names and values.
#[derive(Debug, Clone)]
struct Plan {
    keys: Vec<ColumnType>,
    values: Vec<(ColumnType, Role)>,
    marks: Option<Marks>,
    sequences: Vec<ColumnType>,
    names: Vec<&'static str>,
    measures_are_named: bool,
    tracked_are_named: bool,
    method: (Method, &'static str),
}

/// The plain names come first, so that a failing case shrinks to them. A name that ends in `_id` is no measure by default.
const NAMES: [&str; 15] =
    ["id", "amount", "account_id", "status", "note", "fee", "place", "order", "a b", "Ünï", "quo\"te", "Mixed", "node_id", "lsn", "select"];

fn plan() -> impl Strategy<Value = Plan> {
    let keys = prop_oneof![3 => vec(column_type(), 1), 2 => vec(column_type(), 2), 2 => vec(Just(ColumnType::Text), 2)];
    let amount = prop_oneof![3 => Just(ColumnType::Decimal), 2 => Just(ColumnType::Int), 2 => Just(ColumnType::Float)];
    let of = |role| move |types: Vec<ColumnType>| types.into_iter().map(|ty| (ty, role)).collect::<Vec<_>>();
    let carried = || prop_oneof![2 => vec(column_type(), 0), 1 => vec(column_type(), 1..=2)];
    let values = (
        vec(amount, 1..=3).prop_map(of(Role::Measure)),
        vec(column_type(), 0..=3).prop_map(of(Role::Dimension)),
        carried().prop_map(of(Role::Attribute)),
        carried().prop_map(of(Role::Untracked)),
    )
        .prop_map(|(measures, dimensions, attributes, untracked)| [measures, dimensions, attributes, untracked].concat());
    let marks = prop_oneof![2 => Just(None), 1 => histories::marks().prop_map(Some)];
    let orders = (marks, histories::sequence_types());
    let names = prop_oneof![1 => Just(NAMES.to_vec()), 2 => Just(NAMES.to_vec()).prop_shuffle()];
    let methods = [
        (Method::ReverseReplay, ""),
        (Method::ReverseReplay, "DELTA_METHOD = \"REVERSE_REPLAY\"\n"),
        (Method::ReverseReplay, "delta_method = \"reverse_replay\"\n"),
        (Method::DeltaCorrection, "DELTA_METHOD = \"DELTA_CORRECTION\"\n"),
        (Method::DeltaCorrection, "delta_method = \"Delta_Correction\"\n"),
        (Method::DeltaCorrection, "Delta_Method = \"delta_correction\"\n"),
    ];
    (keys, values, orders, names, any::<bool>(), any::<bool>(), select(methods.to_vec())).prop_map(
        |(keys, values, (marks, sequences), names, measures_are_named, tracked_are_named, method)| Plan {
            keys,
            values,
            marks,
            sequences,
            names,
            measures_are_named,
            tracked_are_named,
            method,
        },
    )
}

fn table(plan: &Plan) -> impl Strategy<Value = Table> + use<> {
    let most = if plan.keys.len() == 1 { 5 } else { 3 };
    let keys = plan.keys.iter().map(|ty| some_of(key_domains(*ty), most)).collect();
    let columns: Vec<_> = plan
        .values
        .iter()
        .map(|(ty, role)| {
            let may_be_measure = *role == Role::Measure || (*role == Role::Dimension && !plan.measures_are_named);
            some_of(if may_be_measure { amounts(*ty) } else { domains(*ty, true) }, 3)
        })
        .collect();
    let types = Types {
        keys: plan.keys.clone(),
        values: plan.values.iter().map(|(ty, _)| *ty).collect(),
        marks: plan.marks.clone(),
        sequences: plan.sequences.clone(),
    };
    table_of(types, plan.names.clone(), keys, variants(columns).boxed())
}

/// Some texts whose ids would be the same, were they only joined.
fn key_domains(ty: ColumnType) -> Vec<Vec<Value>> {
    let texts = |texts: [&str; 5]| texts.map(|text| Value::Text(text.to_owned())).to_vec();
    match ty {
        ColumnType::Text => {
            let awkward = [["a|b", "a", "b", "a|", "|b"], ["\\", "a\\", "\\|", "|", ""], ["#", "A#1#R", "A", "A#1", "#1#B"]];
            awkward.map(texts).into_iter().chain(domains(ty, true)).collect()
        }
        ColumnType::Int | ColumnType::Decimal | ColumnType::Bool | ColumnType::Date | ColumnType::Timestamp | ColumnType::Float => {
            domains(ty, true)
        }
    }
}

/// Amounts of which a few can be added in any order: the sums are exact and fit.
fn amounts(ty: ColumnType) -> Vec<Vec<Value>> {
    match ty {
        ColumnType::Int => {
            let great = 1 << 53;
            [[1, 2, 3, 10, -1], [0, great, great + 1, -great - 1, 5]].map(|values| values.map(Value::Int).to_vec()).to_vec()
        }
        ColumnType::Float => [[0.25, -0.5, 0.0, -0.0, 1.75], [1_048_576.25, -3.0, 0.5, 100.0, -0.25]]
            .map(|values| values.map(Value::Float).to_vec())
            .to_vec(),
        ColumnType::Decimal | ColumnType::Text | ColumnType::Bool | ColumnType::Date | ColumnType::Timestamp => domains(ty, true),
    }
}

/// Each differs from the one before it in few columns, so that corrections are as frequent as new bookings.
fn variants(columns: Vec<BoxedStrategy<Vec<Value>>>) -> impl Strategy<Value = Vec<Vec<Value>>> {
    columns.prop_flat_map(|columns| {
        let places: Vec<usize> = (0..columns.len()).collect();
        let most = places.len().min(2);
        let step = (subsequence(places, 1..=most), variant(columns.clone()));
        (variant(columns), vec(step, 1..=4)).prop_map(|(first, steps)| {
            let mut variants = vec![first];
            for (places, values) in steps {
                let mut next = variants[variants.len() - 1].clone();
                for place in places {
                    next[place] = values[place].clone();
                }
                variants.push(next);
            }
            variants
        })
    })
}

fn options(table: &Table, plan: &Plan) -> impl Strategy<Value = LedgerHistory> + use<> {
    let (table, plan) = (table.clone(), plan.clone());
    histories::options(&table).prop_flat_map(move |mut options| {
        let of = |wanted: &[Role]| -> Vec<usize> {
            let is_wanted = |part: &Part| matches!(part, Part::Value(at) if wanted.contains(&plan.values[*at].1));
            (0..table.parts.len()).filter(|column| is_wanted(&table.parts[*column])).collect()
        };
        let tracked = of(&[Role::Measure, Role::Dimension, Role::Attribute]);
        let named = plan.tracked_are_named || !of(&[Role::Untracked]).is_empty();
        options.change_detection_columns = named.then_some(tracked);
        let (method, method_line) = plan.method;
        let mut booking = Booking { measure_columns: None, attribute_columns: of(&[Role::Attribute]), method };
        if plan.measures_are_named || booking.measures(&options).is_empty() {
            booking.measure_columns = Some(of(&[Role::Measure]));
        }
        histories::arrivals(&table, &options).prop_map(move |arrivals| LedgerHistory {
            options: options.clone(),
            booking: booking.clone(),
            method_line,
            arrivals,
        })
    })
}

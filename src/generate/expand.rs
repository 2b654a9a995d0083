//! Flows, expanded from their text alone, and what keeps them from being generated.
#![expect(clippy::wildcard_enum_match_arm, reason = "one operator is looked for among all")]

use qetl_core::{
    Flow, Plan, Problems, Type,
    input::OnNullKey,
    ir::{Op, Rel, Step, Steps},
    plan::{self, InputType, Known},
    problem::Problem,
};
use qetl_sql::{Dialect, Unsupported};

use crate::Target;

/// The flow's plan. Its types must stand in the file: generated code does not look at data.
pub(crate) fn expand(flow: &Flow, target: Target) -> Result<Plan, Problems> {
    if flow.standard().is_some() {
        let what = format!("a standard flow is not generated as `{}`", target.name());
        let help = "its SQL and scripts are the author's own, and the types of its datasets are known once they have run; \
                    `--target airflow` runs it with qetl";
        let problem = Problem::new("qetl::generate::standard", flow.header.flow_type.span, what);
        return Err(Problems::from(problem.label("of this type").help(help)).in_source(&flow.source));
    }
    let mut problems = Problems::default();
    if flow.properties.batches(flow).times_from_ids {
        let what = format!("`effective_from_batch` is not generated as `{}`", target.name());
        let help = "what is generated is told the execution time of each batch: remove the key, and give it the date that the batch id is";
        problems.push(Problem::new("qetl::generate::times_from_ids", flow.header.flow_type.span, what).label("of this type").help(help));
    }
    for column in &flow.input.columns {
        if column.value.declared().is_none() {
            let name = column.value.name.as_str();
            let what = format!("column `{name}` has the type `auto`, which `generate` refuses: it is known once data was read");
            let help =
                format!("declare it, as in `{{ name = \"{name}\", schema_type = \"string\" }}`; `qetl plan` prints the list to paste");
            problems.push(Problem::new("qetl::generate::auto_type", column.span, what).label("no type").help(help));
        }
    }
    let parks = flow.load.as_ref().and_then(|load| load.on_bad_row.as_ref()).filter(|_| flow.reader.parks_bad_rows());
    if let Some(choice) = parks {
        let what = "code that is generated reads no files, so it cannot set rows aside that do not fit";
        let problem = Problem::new("qetl::generate::on_bad_row", choice.span, what).label("only `qetl execute` does");
        problems.push(problem.help("remove the key: whoever loads the landing table says what becomes of such rows"));
    }
    problems.in_source(&flow.source).or(())?;
    plan::expand(flow, input(flow))
}

fn input(flow: &Flow) -> Vec<InputType> {
    let keys = match flow.input.on_null_key {
        OnNullKey::Fail => flow.properties.key_columns(flow),
        OnNullKey::Park => Vec::new(),
    };
    let column = |column: &qetl_core::input::InputColumn| InputType {
        required: column.required || keys.contains(&column.name.value),
        ..InputType::new(&column.name, column.declared().unwrap_or(Type::Text), Known::Declared)
    };
    flow.input.columns.iter().map(|spanned| column(&spanned.value)).collect()
}

/// The steps of a check without orders: code that is generated asks whether there are rows, not which come first.
pub(crate) fn unordered(steps: &Steps) -> Steps {
    fn without(rel: &Rel) -> Rel {
        let rel = rel.map_inputs(&mut without);
        match &*rel.op {
            Op::Sort { input, .. } => input.clone(),
            _ => rel,
        }
    }
    Steps(steps.0.iter().map(|step| Step { rel: without(&step.rel), ..step.clone() }).collect())
}

/// What the dialect cannot say of a flow: at the column whose type it lacks, else at the flow's type.
pub(crate) fn unsupported(flow: &Flow, dialect: &dyn Dialect, why: &Unsupported) -> Problems {
    let lacks = |column: &qetl_core::input::InputColumn| column.declared().is_some_and(|ty| dialect.column_type(ty).is_err());
    let column = flow.input.columns.iter().find(|column| lacks(&column.value));
    let (span, label) = match column {
        Some(column) => (column.span, "of this type"),
        None => (flow.header.flow_type.span, "needs it"),
    };
    let help = "choose another dialect; `qetl plan --show sql --dialect D` shows what a dialect says";
    let problem = Problem::new("qetl::generate::unsupported", span, why.to_string()).label(label).help(help);
    Problems::from(problem).in_source(&flow.source)
}

//! Wrong flow files, each the smallest one of its kind: what is wrong, where, and the way out.

use miette::{GraphicalReportHandler, GraphicalTheme};
use qetl_core::{
    Flow, Problems,
    plan::{self, InputType, Known},
};

use crate::{snapshots, standard::problems_of as standard_problems};

fn problems_of(name: &str, text: &str) -> Problems {
    let flow = match Flow::parse(name, text, &qetl_plugins::registry()) {
        Ok(flow) => flow,
        Err(problems) => return problems,
    };
    let column = |column: &qetl_core::input::InputColumn| {
        InputType::new(&column.name, column.declared().unwrap_or(qetl_core::Type::Text), Known::Declared)
    };
    if let Some(standard) = flow.standard() {
        return standard_problems(&standard);
    }
    let input = flow.input.columns.iter().map(|spanned| column(&spanned.value)).collect();
    plan::expand(&flow, input).err().unwrap_or_default()
}

#[test]
fn wrong_flow_files_are_answered() {
    let mut right = Vec::new();
    insta::glob!("problems/*.toml", |path| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let problems = problems_of(&format!("flows/{name}.toml"), &std::fs::read_to_string(path).unwrap());
        if !problems.has_errors() {
            right.push(name);
            return;
        }
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100).with_links(false);
        let mut text = String::new();
        for problem in &problems.0 {
            assert!(!problem.place().is_empty(), "{name}: `{problem}` has no place");
            assert!(problem.code.starts_with("qetl::"), "{name}: {}", problem.code);
            handler.render_report(&mut text, problem).unwrap();
        }
        let mut settings = snapshots("problems");
        settings.remove_snapshot_suffix();
        settings.bind(|| insta::assert_snapshot!(name, text));
    });
    assert!(right.is_empty(), "these are not refused: {right:?}");
}

#[test]
fn times_from_numbered_files_are_warned_of() {
    let flow = |load: &str| {
        let text = format!(
            "id = 'f'\nflow_type = 'scd2'\n[input]\nprimary_key = ['id']\ncolumns = ['id', 'v']\n[properties]\neffective_from_batch = true\n\
             [properties.load]\nsource_path = 'data'\n{load}"
        );
        let flow = Flow::parse("f.toml", &text, &qetl_plugins::registry()).unwrap_or_else(|problems| panic!("{problems}"));
        flow.warnings.0.iter().map(|problem| problem.code).collect::<Vec<_>>()
    };
    assert_eq!(flow(""), ["qetl::decode::effective_from_batch"]);
    assert_eq!(flow("batch_id_from = '(\\d{8})'"), Vec::<&str>::new());
}

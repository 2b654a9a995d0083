//! `qetl generate`: code of other programs, made from the flows' text alone.

use std::path::Path;

use qetl_core::{Flow, suggest};
use qetl_generate::{
    GenerateError, Target,
    folder::{self, Difference, FolderError},
};
use qetl_runtime::{
    RunError,
    flows::{in_order, reads_from},
};
use serde_json::json;

use super::check::counted;
use crate::{
    args::{Format, GenerateTarget},
    library::Project,
    output::Output,
};

pub(crate) struct Options<'a> {
    pub target: GenerateTarget,
    pub dialect: Option<&'a str>,
    pub out: &'a Path,
    pub check: bool,
    pub format: Format,
}

pub(crate) fn run(project: &Project, ids: &[String], options: &Options<'_>, output: &Output) -> Result<i32, RunError> {
    let target = match options.target {
        GenerateTarget::Sql => Target::Sql,
        GenerateTarget::Dbt => Target::Dbt,
        GenerateTarget::Airflow => Target::Airflow,
    };
    if let (Target::Airflow, Some(_)) = (target, options.dialect) {
        return Err(RunError::usage(
            "`--dialect` does nothing with `--target airflow`",
            "leave it out: the DAGs call qetl, and no SQL is written",
        ));
    }
    let all = project.workspace.good_flows();
    let flows = in_order(&project.workspace.flows(ids)?, &all);
    let reads = |flow: &Flow| -> Vec<String> { reads_from(flow, &all) };
    let name = project.workspace.project.project.name.as_deref().unwrap_or("flows");
    let files = qetl_generate::generate(&flows, target, options.dialect.unwrap_or_default(), name, &reads).map_err(refused)?;
    let differences = match options.check {
        true => folder::compare(options.out, &files),
        false => folder::write(options.out, &files),
    };
    let differences = differences.map_err(|error| no_folder(&error))?;
    output.print(&match options.format {
        Format::Json => format!("{}\n", as_json(&differences, files.len(), options.check)),
        Format::Text if options.check => differences.iter().map(|difference| difference.diff.as_str()).collect(),
        Format::Text => written(&differences, files.len()),
    });
    if options.check && !differences.is_empty() {
        output.failure(
            &format!("{} not as the flows say", counted(differences.len(), "file is", "files are")),
            "run the same command without `--check`, and look at what changed",
        );
        return Ok(1);
    }
    Ok(0)
}

fn refused(error: GenerateError) -> RunError {
    match error {
        GenerateError::Problems(problems) => RunError::Problems(problems),
        GenerateError::Dialect { target, ref dialect } => {
            let help = suggest::help(dialect, target.dialects());
            RunError::usage(error.to_string(), help)
        }
    }
}

fn no_folder(error: &FolderError) -> RunError {
    match error {
        FolderError::Io { .. } => RunError::failed(error),
        FolderError::List { .. } => RunError::usage(error.to_string(), "remove it, or name another folder with `--out`"),
        FolderError::Foreign { .. } => RunError::usage(error.to_string(), "move it away, or name another folder with `--out`"),
    }
}

/// A line a file that was written or removed, then how many stand as they were.
fn written(differences: &[Difference], files: usize) -> String {
    let mut text: String = differences.iter().map(|difference| format!("{} {}\n", done(difference), difference.path)).collect();
    let changed = differences.iter().filter(|difference| done(difference) == "wrote").count();
    text.push_str(&format!("{}, {} as they were\n", counted(files, "file", "files"), files - changed));
    text
}

fn done(difference: &Difference) -> &'static str {
    match difference.what {
        folder::What::Differs | folder::What::Missing => "wrote",
        folder::What::Superfluous => "removed",
    }
}

fn as_json(differences: &[Difference], files: usize, check: bool) -> serde_json::Value {
    let one = |difference: &Difference| match check {
        true => json!({ "path": difference.path, "what": difference.what.name(), "diff": difference.diff }),
        false => json!({ "path": difference.path, "what": done(difference) }),
    };
    json!({ "files": files, "differences": differences.iter().map(one).collect::<Vec<_>>() })
}

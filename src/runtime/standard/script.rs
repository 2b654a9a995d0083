//! A task's Python script: a child process that gets its sources as Arrow files and gives its result as one.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use qetl_core::{
    DatasetName, Flow,
    format::Format,
    standard::{Rendered, StandardTask, Variables},
};
use qetl_ingest::SourceFile;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    bench::{Bench, Moment, Scopes},
    files::StandardJob,
};
use crate::{
    error::{Place, RunError},
    progress::{Event, Progress},
    run::blocking,
    waiting::Roots,
};

const RUNNER: &str = include_str!("runner.py");

/// A script to run.
pub(super) struct Script<'a> {
    pub(super) flow: &'a Flow,
    pub(super) task: &'a StandardTask,
    pub(super) text: &'a Rendered,
    pub(super) scopes: &'a Scopes,
    pub(super) job: &'a StandardJob,
    /// Those of the flow.
    pub(super) variables: &'a Variables,
}

/// What a script made; gone when it is dropped.
pub(super) struct Made {
    pub(super) file: SourceFile,
    _folder: Folder,
}

/// A folder that is removed with what is in it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is removed when the flow is locked the next time.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A child that does not outlive whoever waits for it.
struct Running(Arc<Mutex<Child>>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(child.try_wait(), Ok(Some(_))) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What the runner says of a script that failed.
#[derive(Debug, Deserialize)]
struct Failure {
    kind: String,
    #[serde(default)]
    message: String,
    /// In the script, from 1.
    line: Option<u64>,
    #[serde(default)]
    trace: String,
    #[serde(default)]
    module: String,
}

/// Runs the script and waits for its result.
pub(super) async fn run(
    bench: &dyn Bench,
    moment: Moment,
    script: &Script<'_>,
    roots: &Roots,
    progress: &Progress,
) -> Result<Made, RunError> {
    let folder = Folder(bench.folder().join(format!("script-{}", Uuid::now_v7())));
    let failed = |error: std::io::Error| RunError::failed(format!("`{}`: {error}", folder.0.display()));
    fs::create_dir_all(&folder.0).map_err(failed)?;
    let mut sources = Vec::new();
    for (index, source) in script.task.sources.iter().enumerate() {
        let path = folder.0.join(format!("source-{index}.arrow"));
        bench.export(moment, &source.dataset, script.scopes, &path).await?;
        sources.push(json!({ "names": names(&source.dataset), "path": path }));
    }
    let result = folder.0.join("result.arrow");
    let task = json!({
        "id": script.task.id.value,
        "script": script.text.text,
        "sources": sources,
        "target": names(&script.task.target),
        "result": result,
        "batch_id": script.job.batch_id,
        "execution_date": script.job.processed_at,
        "variables": variables(script),
    });
    fs::write(folder.0.join("task.json"), task.to_string()).map_err(failed)?;
    fs::write(folder.0.join("runner.py"), RUNNER).map_err(failed)?;

    let status = wait(script, &folder.0, roots, progress).await?;
    if !status.success() {
        let said = fs::read(folder.0.join("error.json")).ok().and_then(|text| serde_json::from_slice::<Failure>(&text).ok());
        return Err(explain(script, roots, status, said));
    }
    if !result.is_file() {
        let message = format!("the script of task `{}` saved nothing", script.task.id.value);
        let help = format!("end it with `context.save_dataframe(\"{}\", df)`", script.task.target);
        return Err(RunError::Failed { place: Place::default(), message: format!("{}: {message}", at(script, None)), help });
    }
    let name = format!("the result of task `{}`", script.task.id.value);
    Ok(Made { file: SourceFile { path: result, name, format: Format::Arrow }, _folder: folder })
}

/// What scripts may call a dataset: its full name first.
fn names(dataset: &DatasetName) -> Vec<String> {
    let mut names = vec![dataset.to_string(), format!("{}.{}", dataset.namespace, dataset.name), dataset.name.clone()];
    names.dedup();
    names
}

/// The variables as templates have them.
fn variables(script: &Script<'_>) -> Map<String, Value> {
    let of = |variables: &Variables| -> Vec<(String, Value)> {
        variables.0.iter().map(|(name, value)| (name.value.clone(), value.value.to_json())).collect()
    };
    let given = script.job.vars.iter().map(|(name, value)| (name.clone(), value.to_json()));
    of(script.variables).into_iter().chain(of(&script.task.variables)).chain(given).collect()
}

/// Starts Python and waits for its end; what it writes is told line by line.
async fn wait(script: &Script<'_>, folder: &Path, roots: &Roots, progress: &Progress) -> Result<ExitStatus, RunError> {
    let mut command = Command::new(&roots.python);
    command.arg("-u").arg(folder.join("runner.py")).arg(folder).current_dir(&roots.project);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("PYTHONIOENCODING", "utf-8");
    let mut child = command.spawn().map_err(|error| {
        let message = format!("`{}`, which runs scripts, cannot be started: {error}", roots.python.display());
        let help = "install Python with pandas and pyarrow, or name one in `qetl.toml`: `[python] interpreter = \"…\"`";
        RunError::Failed { place: Place::default(), message, help: help.to_owned() }
    })?;
    // The child ends when this end of the pipe is closed.
    let held = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let child = Arc::new(Mutex::new(child));
    let running = Running(child.clone());
    let say = |progress: &Progress| {
        let (progress, flow, step) = (progress.clone(), script.flow.id().to_owned(), script.task.target.to_string());
        move |line: String| progress.tell(Event::Said { flow: flow.clone(), step: step.clone(), line })
    };
    let (out, err) = (say(progress), say(progress));
    let status = blocking(move || {
        std::thread::scope(|scope| {
            scope.spawn(|| lines(stdout, &out));
            scope.spawn(|| lines(stderr, &err));
        });
        // It has closed its outputs, so this is short; the lock is free in between, to kill it.
        loop {
            let ended = child.lock().unwrap_or_else(PoisonError::into_inner).try_wait();
            match ended.map_err(RunError::failed)? {
                Some(status) => return Ok(status),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    })
    .await;
    drop(held);
    drop(running);
    status
}

fn lines(from: Option<impl Read>, say: &impl Fn(String)) {
    let Some(from) = from else { return };
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        say(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
}

/// The place of a line of the script in the flow file.
fn at(script: &Script<'_>, line: Option<u64>) -> String {
    let span = match line {
        Some(line) => script.text.span_at(line, 1),
        None => script.task.template().text.span,
    };
    let (line, column) = script.flow.source.place(span.start);
    format!("{}:{line}:{column}", script.flow.source.name())
}

fn explain(script: &Script<'_>, roots: &Roots, status: ExitStatus, said: Option<Failure>) -> RunError {
    let id = &script.task.id.value;
    let (message, help) = match said {
        Some(said) if said.kind == "missing" => (
            format!("the Python that runs scripts, `{}`, lacks `{}`", roots.python.display(), said.module),
            format!(
                "install it: `{} -m pip install pandas pyarrow`, or name another Python in `qetl.toml`: `[python] interpreter = \"…\"`",
                roots.python.display()
            ),
        ),
        Some(said) if said.kind == "failed" => {
            let trace: Vec<&str> = said.trace.trim_end().lines().collect();
            let last = trace[trace.len().saturating_sub(6)..].join("\n");
            let message = format!("{}: the script of task `{id}` failed: {}", at(script, said.line), said.message);
            (if last.is_empty() { message } else { format!("{message}\n{last}") }, String::new())
        }
        Some(said) => (format!("{}: the script of task `{id}` ended with exit code {}", at(script, None), said.message), String::new()),
        None => (format!("{}: the script of task `{id}` ended early: {status}", at(script, None)), String::new()),
    };
    RunError::Failed { place: Place::default(), message, help }
}

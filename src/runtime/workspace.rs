//! A project on disk: its folder, its settings, its flows.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use qetl_core::{Flow, Problems, Registry, problem::Problem, project::Project, suggest};

use crate::{error::RunError, natural, waiting::Roots};

/// A project that was opened. Flow files that are wrong are kept with their problems.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The project's folder, without links in it.
    pub root: PathBuf,
    pub project: Project,
    flows: Vec<FlowFile>,
}

/// A flow file by its name, with its flow or what is wrong.
type FlowFile = (String, Result<Flow, Problems>);

/// A flow file by its name, and what is wrong with it.
pub type WrongFile<'a> = (&'a str, &'a Problems);

impl Workspace {
    /// Opens the project of a folder; `None` looks from the current folder upward for `qetl.toml` or `flows/`.
    pub fn open(folder: Option<&Path>, profile: Option<&str>, registry: &Registry) -> Result<Workspace, RunError> {
        let root = match folder {
            Some(folder) => folder.to_owned(),
            None => find_root()?,
        };
        let root = root.canonicalize().map_err(|error| {
            RunError::usage(format!("`{}` cannot be opened: {error}", root.display()), "`--project DIR` names a project's folder")
        })?;
        if !is_project(&root) {
            return Err(no_project(&format!("in `{}`", root.display())));
        }
        let file = root.join("qetl.toml");
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(RunError::usage(format!("`{}` cannot be read: {error}", file.display()), "it is UTF-8 text")),
        };
        let project = Project::parse("qetl.toml", &text, profile, &|name| std::env::var(name).ok())?;
        let flows = read_flows(&root, registry)?;
        Ok(Workspace { root, project, flows })
    }

    /// The flows of these ids, or all, of which there must be one; every problem of every file that matters is told.
    pub fn flows(&self, ids: &[String]) -> Result<Vec<&Flow>, RunError> {
        let (flows, wrong) = self.chosen(ids)?;
        wrong
            .into_iter()
            .fold(Problems::default(), |mut all, (_, problems)| {
                all.append(problems.clone());
                all
            })
            .or(flows)
            .map_err(RunError::from)
    }

    /// The flows of these ids, or all; and beside all of them, the files that are wrong.
    pub fn chosen(&self, ids: &[String]) -> Result<(Vec<&Flow>, Vec<WrongFile<'_>>), RunError> {
        let good = self.good_flows();
        let wrong: Vec<WrongFile<'_>> = self.flows.iter().filter_map(|(name, flow)| Some((name.as_str(), flow.as_ref().err()?))).collect();
        if ids.is_empty() {
            return if self.flows.is_empty() { Err(no_flows(&self.root)) } else { Ok((good, wrong)) };
        }
        let mut chosen: Vec<&Flow> = Vec::new();
        for id in ids {
            match good.iter().find(|flow| flow.id() == id) {
                Some(flow) if !chosen.iter().any(|other| other.id() == id) => chosen.push(flow),
                Some(_) => (),
                // It may stand in one of the files that are wrong.
                None if !wrong.is_empty() => return Ok((Vec::new(), wrong)),
                None if good.is_empty() => return Err(no_flows(&self.root)),
                None => {
                    let help = suggest::help(id, good.iter().map(|flow| flow.id()));
                    return Err(RunError::usage(format!("there is no flow `{id}`"), help));
                }
            }
        }
        Ok((chosen, Vec::new()))
    }

    /// The flows whose files are right.
    pub fn good_flows(&self) -> Vec<&Flow> {
        self.flows.iter().filter_map(|(_, flow)| flow.as_ref().ok()).collect()
    }

    /// The folder of the data files.
    pub fn location(&self) -> PathBuf {
        without_dots(&self.root, self.project.storage.location.as_str())
    }

    /// The catalog's file.
    pub fn catalog(&self) -> PathBuf {
        match &self.project.storage.catalog {
            Some(catalog) => without_dots(&self.root, catalog.as_str()),
            None => self.location().join("catalog.sqlite"),
        }
    }

    pub fn roots(&self) -> Roots {
        let allowed = self.project.project.allowed_paths.iter().filter_map(|path| self.root.join(path).canonicalize().ok());
        let python = &self.project.python.interpreter;
        // A bare name is looked for where the system looks for programs.
        let python = if python.contains('/') { self.root.join(python) } else { PathBuf::from(python) };
        Roots { project: self.root.clone(), allowed: allowed.collect(), python }
    }
}

/// A path below a folder, or from there, as the system finds it: libraries that read files take no `..`.
fn without_dots(folder: &Path, path: &str) -> PathBuf {
    let mut found = folder.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::CurDir => (),
            Component::ParentDir => {
                // What is above a link is above what it links to.
                found = found.canonicalize().unwrap_or(found);
                found.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => found.push(part),
        }
    }
    found
}

fn find_root() -> Result<PathBuf, RunError> {
    let here = std::env::current_dir().map_err(RunError::failed)?;
    let found = here.ancestors().find(|folder| is_project(folder));
    found.map(Path::to_owned).ok_or_else(|| no_project(&format!("in `{}` or above it", here.display())))
}

fn is_project(folder: &Path) -> bool {
    folder.join("qetl.toml").is_file() || folder.join("flows").is_dir()
}

fn no_project(place: &str) -> RunError {
    let help = "a project has a `qetl.toml` or a `flows` folder; `qetl init DIR` makes one, `--project DIR` names one";
    RunError::usage(format!("there is no project {place}"), help)
}

fn no_flows(root: &Path) -> RunError {
    let message = format!("`{}` has no flow files", root.join("flows").display());
    RunError::usage(message, "a flow is a `.toml` file in that folder; `qetl init DIR` makes a project that has one")
}

fn read_flows(root: &Path, registry: &Registry) -> Result<Vec<FlowFile>, RunError> {
    let folder = root.join("flows");
    let mut names: Vec<String> = match fs::read_dir(&folder) {
        Ok(entries) => {
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).filter(|name| name.ends_with(".toml")).collect()
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(RunError::failed(format!("`{}` cannot be read: {error}", folder.display()))),
    };
    names.sort_by(|a, b| natural::compare(a, b));
    let mut flows: Vec<FlowFile> = Vec::new();
    for name in names {
        let shown = format!("flows/{name}");
        let flow = match fs::read(folder.join(&name)).map(String::from_utf8) {
            Ok(Ok(text)) => Flow::parse(&shown, &text, registry),
            Ok(Err(error)) => {
                let at = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let problem = Problem::new("qetl::parse::utf8", (at..at + 1).into(), "the file is not UTF-8 text");
                Err(Problems::from(problem.label("this byte")).in_source(&qetl_core::SourceText::new(&shown, &text)))
            }
            Err(error) => return Err(RunError::failed(format!("`{shown}` cannot be read: {error}"))),
        };
        let flow = flow.and_then(|flow| refuse_twins(flow, &flows));
        flows.push((shown, flow));
    }
    Ok(flows)
}

/// Two flows must not share an id or make the same dataset.
fn refuse_twins(flow: Flow, others: &[(String, Result<Flow, Problems>)]) -> Result<Flow, Problems> {
    for other in others.iter().filter_map(|(_, other)| other.as_ref().ok()) {
        let there = other.source.name();
        let problem = if other.id().eq_ignore_ascii_case(flow.id()) {
            Problem::new("qetl::parse::same_id", flow.header.id.span, format!("`{there}` has the flow id `{}` too", other.id()))
        } else if (other.namespace(), other.dataset_prefix.to_lowercase()) == (flow.namespace(), flow.dataset_prefix.to_lowercase()) {
            let message = format!("the flow makes the same datasets (`{}_…`) as `{there}`", flow.dataset_prefix);
            Problem::new("qetl::parse::same_datasets", flow.header.id.span, message)
                .help("give one of them another `dataset_prefix` or `namespace`")
        } else {
            continue;
        };
        return Err(Problems::from(problem.label("here")).in_source(&flow.source));
    }
    Ok(flow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_no_dots() {
        let check = |path: &str, found: &str| assert_eq!(without_dots(Path::new("/shop"), path), Path::new(found), "{path}");
        check("warehouse", "/shop/warehouse");
        check("../wh", "/wh");
        check("./a/../b/./c", "/shop/b/c");
        check("../../../wh", "/wh");
        check("/data/wh", "/data/wh");
    }
}

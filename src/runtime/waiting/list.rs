//! The files that a folder and a pattern name, and why there are none.

use std::{
    fs,
    path::{Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher};
use qetl_core::{Problem, load::Load, suggest};

use super::{
    Finder, JobFile, Roots,
    files::{look_at, shown},
};
use crate::{error::RunError, natural, records::FlowRecords};

/// The most names that a message has of files that are there.
const NAMED: usize = 3;

/// What a folder has of a pattern.
pub(super) struct Listed {
    /// In natural order of their names.
    pub(super) files: Vec<JobFile>,
    /// Nothing matches now, and nothing ever has.
    pub(super) missed: Option<Missed>,
}

/// A pattern that has never matched a file.
pub(crate) struct Missed {
    pub(crate) message: String,
    /// What is there instead.
    pub(crate) help: String,
}

impl Finder<'_> {
    fn load(&self) -> Result<&Load, RunError> {
        self.flow.load.as_ref().ok_or_else(|| {
            let message = format!("flow `{}` names no files to read", self.flow.id());
            RunError::usage(message, "add `[properties.load]`, or name files with `--batch-id N --input FILE`")
        })
    }

    pub(super) fn is_single_file(&self) -> bool {
        self.flow.load.as_ref().is_some_and(|load| self.roots.project.join(load.source_path.as_str()).is_file())
    }

    /// The flow's files.
    pub(super) fn list(&self) -> Result<Listed, RunError> {
        let load = self.load()?;
        let root = self.roots.project.join(load.source_path.as_str());
        if load.may_be_missing && !root.exists() {
            return Ok(Listed { files: Vec::new(), missed: None });
        }
        let missing = |error: std::io::Error| {
            let (line, column) = self.flow.source.place(load.source_path.span.start);
            let message = format!(
                "{}:{line}:{column}: `source_path = \"{}\"` cannot be read: {error}",
                self.flow.source.name(),
                load.source_path.value
            );
            let is_pattern = load.source_path.contains(['*', '?']);
            RunError::usage(
                message,
                if is_pattern {
                    "name the folder, and the files in it with `file_pattern`"
                } else {
                    "paths are relative to the project's folder; `may_be_missing = true` says that it may not be there yet"
                },
            )
        };
        let real = root.canonicalize().map_err(missing)?;
        if !self.roots.is_allowed(&real) {
            let (line, column) = self.flow.source.place(load.source_path.span.start);
            let message = format!(
                "{}:{line}:{column}: `source_path = \"{}\"` is outside the project",
                self.flow.source.name(),
                load.source_path.value
            );
            return Err(RunError::usage(message, "allow its folder in `qetl.toml`: `[project] allowed_paths = [\"…\"]`"));
        }
        let mut paths = Vec::new();
        let mut missed = None;
        if real.is_file() {
            paths.push(root.clone());
        } else {
            let pattern = load.file_pattern.as_ref().map_or("*", |pattern| pattern.as_str());
            let glob = GlobBuilder::new(pattern).literal_separator(true).build().map_err(|error| {
                RunError::usage(format!("`file_pattern = \"{pattern}\"` is not a pattern: {error}"), "such as `orders_*.csv`")
            })?;
            let glob = glob.compile_matcher();
            walk(&root, &root, pattern.contains('/'), &glob, &mut paths).map_err(missing)?;
            if paths.is_empty() && !load.may_be_missing && !has_matched(&root, &glob, self.roots, self.records) {
                missed = Some(Missed::of(&root, load.source_path.as_str(), pattern, &glob));
            }
        }
        let mut files = paths.iter().map(|path| self.look_below(path, &root)).collect::<Result<Vec<_>, _>>()?;
        files.sort_by(|a, b| natural::compare(&a.source.name, &b.source.name));
        Ok(Listed { files, missed })
    }

    fn look_below(&self, path: &Path, root: &Path) -> Result<JobFile, RunError> {
        let named =
            |error: &dyn std::fmt::Display, help: &str| RunError::usage(format!("`{}` {error}", shown(path, &self.roots.project)), help);
        let out = "take it out of the folder, or narrow `file_pattern`";
        let real = path.canonicalize().map_err(|error| named(&format!("cannot be read: {error}"), out))?;
        if !self.roots.is_allowed(&real) {
            return Err(named(
                &"is a link that leads outside the project",
                "allow the folder it leads to in `qetl.toml`: `[project] allowed_paths = [\"…\"]`",
            ));
        }
        look_at(path, Some(root), self.format(), self.roots, "`[properties.load]`")
            .map_err(|error| named(&format!("cannot be read: {error}"), out))
    }

    pub(super) fn look_at(&self, path: &Path) -> std::io::Result<JobFile> {
        look_at(path, None, self.format(), self.roots, "`[properties.load]`")
    }

    fn format(&self) -> Option<qetl_core::format::Format> {
        self.flow.load.as_ref().and_then(|load| load.format.as_ref()).map(|format| format.value)
    }

    /// The problem of a pattern that matches nothing.
    pub(super) fn never_matched(&self, missed: &Missed) -> Problem {
        let load = self.flow.load.as_ref();
        let pattern = load.and_then(|load| load.file_pattern.as_ref()).map(|pattern| pattern.span);
        let span = pattern.or_else(|| load.map(|load| load.source_path.span)).unwrap_or_default();
        Problem::new("qetl::plan::no_files", span, missed.message.clone()).label("no file, and never one").help(missed.help.clone())
    }
}

/// Whether the ledger has a file that the pattern names.
fn has_matched(root: &Path, glob: &GlobMatcher, roots: &Roots, records: &FlowRecords) -> bool {
    let matches = |path: PathBuf| path.strip_prefix(root).is_ok_and(|below| glob.is_match(below));
    records.ledger.iter().any(|(_, file)| matches(roots.project.join(&file.name)))
}

impl Missed {
    /// `folder`: what the pattern is below of, as the flow names it.
    pub(crate) fn of(root: &Path, folder: &str, pattern: &str, glob: &GlobMatcher) -> Self {
        let all = GlobBuilder::new("**").build().map(|all| all.compile_matcher());
        let mut below = Vec::new();
        if let Ok(all) = all {
            // What cannot be listed is told by who lists it.
            let _ = walk(root, root, true, &all, &mut below);
        }
        let names: Vec<String> = below.iter().map(|path| shown(path, root)).collect();
        let (beside, deeper): (Vec<&str>, Vec<&str>) = names.iter().map(String::as_str).partition(|name| !name.contains('/'));
        let mut hints = Vec::new();
        if pattern.contains('[') {
            hints.push("`[` … `]` is a set of characters, `[[]` the character `[`".to_owned());
        }
        if let Some(taken) = folders(root).into_iter().find(|name| glob.is_match(name)) {
            hints.push(format!("`{taken}` is a folder: `{taken}/*` names the files in it"));
        } else if beside.is_empty() && !deeper.is_empty() && !pattern.contains('/') {
            hints.push(format!("files lie in folders below, as `{}`: `**/{pattern}` looks into them", deeper[0]));
        }
        hints.push(there(pattern, if pattern.contains('/') { names.iter().map(String::as_str).collect() } else { beside }));
        hints.push("`may_be_missing = true` says that none may be there yet".to_owned());
        Self { message: format!("no file of `{folder}` matches `{pattern}`"), help: hints.join("; ") }
    }
}

/// The names nearest to the pattern, and how many there are.
fn there(pattern: &str, mut names: Vec<&str>) -> String {
    let count = names.len();
    let files = if count == 1 { "1 file is there".to_owned() } else { format!("{count} files are there") };
    if count == 0 {
        return "no file is there".to_owned();
    }
    names.sort_by_key(|name| (suggest::distance(pattern, name), *name));
    let shown: Vec<String> = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    let more = if count > NAMED { ", …" } else { "" };
    format!("{files}: {}{more}", shown.join(", "))
}

fn folders(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> =
        entries.filter(|entry| entry.path().is_dir()).filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_by(|a, b| natural::compare(a, b));
    names
}

impl Roots {
    /// Whether a path, without links in it, is in the project or in a folder that it allows.
    pub(crate) fn is_allowed(&self, real: &Path) -> bool {
        std::iter::once(&self.project).chain(&self.allowed).any(|allowed| real.starts_with(allowed))
    }
}

/// The files below a folder that match, hidden ones left out; `deep`: in folders below it too.
pub(crate) fn walk(root: &Path, folder: &Path, deep: bool, glob: &GlobMatcher, paths: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, hidden) = (entry.path(), entry.file_name().as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if path.is_dir() {
            // A link to a folder could lead round in circles.
            if deep && !entry.file_type()?.is_symlink() {
                walk(root, &path, deep, glob, paths)?;
            }
        } else if glob.is_match(path.strip_prefix(root).unwrap_or(&path)) {
            paths.push(path);
        }
    }
    Ok(())
}

//! Generated files in a folder: written, or compared with what stands there. A list of the files is kept in the folder, so
//! that a file that is no longer made is known for one of ours.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use similar::TextDiff;

use crate::Files;

/// The list's name in the folder.
pub const LIST: &str = "qetl-generated.json";

/// What the list says.
#[derive(Debug, Default, Serialize, Deserialize)]
struct List {
    about: String,
    files: BTreeSet<String>,
}

/// A file that is not as it would be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub path: String,
    pub what: What,
    /// From what stands there to what would, as a unified diff.
    pub diff: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Differs,
    Missing,
    /// It was made once, and no longer is.
    Superfluous,
}

impl What {
    pub fn name(self) -> &'static str {
        match self {
            What::Differs => "differs",
            What::Missing => "missing",
            What::Superfluous => "superfluous",
        }
    }
}

/// Why a folder cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("`{}`: {why}", path.display())]
    Io { path: PathBuf, why: io::Error },
    #[error("`{}` is not a list of generated files: {why}", path.display())]
    List { path: PathBuf, why: String },
    /// A file that qetl did not make.
    #[error("`{}` is there already, and qetl did not make it", path.display())]
    Foreign { path: PathBuf },
}

/// The files that differ from what stands in the folder, by path; the list is not one of them.
pub fn compare(folder: &Path, files: &Files) -> Result<Vec<Difference>, FolderError> {
    let listed = list(folder)?;
    let paths: BTreeSet<&String> = files.keys().chain(&listed.files).collect();
    let mut differences = Vec::new();
    for path in paths {
        let there = text(&folder.join(path))?;
        let what = match (&there, files.get(path)) {
            (Some(there), Some(made)) if there == made => continue,
            (Some(_), Some(_)) => What::Differs,
            (None, Some(_)) => What::Missing,
            (Some(_), None) => What::Superfluous,
            (None, None) => continue,
        };
        let (old, new) = (there.unwrap_or_default(), files.get(path).map_or("", String::as_str));
        let names = match what {
            What::Differs => (format!("a/{path}"), format!("b/{path}")),
            What::Missing => ("/dev/null".to_owned(), format!("b/{path}")),
            What::Superfluous => (format!("a/{path}"), "/dev/null".to_owned()),
        };
        let diff = TextDiff::from_lines(old.as_str(), new).unified_diff().header(&names.0, &names.1).to_string();
        differences.push(Difference { path: path.clone(), what, diff });
    }
    Ok(differences)
}

/// Writes what differs, and removes what the list names and is no longer made. What was done, by path.
pub fn write(folder: &Path, files: &Files) -> Result<Vec<Difference>, FolderError> {
    let listed = list(folder)?;
    let differences = compare(folder, files)?;
    let is_foreign = |difference: &&Difference| difference.what == What::Differs && !listed.files.contains(&difference.path);
    if let Some(difference) = differences.iter().find(is_foreign) {
        return Err(FolderError::Foreign { path: folder.join(&difference.path) });
    }
    fs::create_dir_all(folder).map_err(|why| at(folder, why))?;
    // What is about to be there is listed first: a run that ends early leaves nothing that the next does not know.
    keep(folder, files.keys().chain(&listed.files).cloned().collect())?;
    for difference in &differences {
        let path = folder.join(&difference.path);
        match files.get(&difference.path) {
            Some(text) => {
                let parent = path.parent().unwrap_or(folder);
                fs::create_dir_all(parent).and_then(|()| fs::write(&path, text)).map_err(|why| at(&path, why))?;
            }
            None => {
                fs::remove_file(&path).map_err(|why| at(&path, why))?;
                remove_empty_folders(folder, &path);
            }
        }
    }
    keep(folder, files.keys().cloned().collect())?;
    Ok(differences)
}

/// The folders above a removed file, as far as nothing else is in them.
fn remove_empty_folders(folder: &Path, path: &Path) {
    for parent in path.ancestors().skip(1).take_while(|parent| *parent != folder) {
        if fs::remove_dir(parent).is_err() {
            return;
        }
    }
}

fn list(folder: &Path) -> Result<List, FolderError> {
    let path = folder.join(LIST);
    let Some(text) = text(&path)? else { return Ok(List::default()) };
    let refused = |why: String| FolderError::List { path: path.clone(), why };
    let list: List = serde_json::from_str(&text).map_err(|why| refused(why.to_string()))?;
    // The list may come from elsewhere, and files are removed by it.
    match list.files.iter().find(|file| !is_inside(file)) {
        Some(file) => Err(refused(format!("`{file}` is not in the folder"))),
        None => Ok(list),
    }
}

fn is_inside(file: &str) -> bool {
    !file.is_empty() && Path::new(file).components().all(|part| matches!(part, std::path::Component::Normal(_)))
}

fn keep(folder: &Path, files: BTreeSet<String>) -> Result<(), FolderError> {
    let about = "The files that `qetl generate` made here. It removes those that it no longer makes.".to_owned();
    let path = folder.join(LIST);
    let text = serde_json::to_string_pretty(&List { about, files }).map_err(|why| at(&path, io::Error::other(why)))?;
    fs::write(&path, text + "\n").map_err(|why| at(&path, why))
}

/// `None` when there is no such file. What is not UTF-8 is not ours, and shown as well as it can be.
fn text(path: &Path) -> Result<Option<String>, FolderError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(at(path, why)),
    }
}

fn at(path: &Path, why: io::Error) -> FolderError {
    FolderError::Io { path: path.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(texts: &[(&str, &str)]) -> Files {
        texts.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    }

    fn told(differences: &[Difference]) -> Vec<(&str, What)> {
        differences.iter().map(|difference| (difference.path.as_str(), difference.what)).collect()
    }

    #[test]
    fn what_was_written_does_not_differ() {
        let folder = tempfile::tempdir().unwrap();
        let made = files(&[("a/one.sql", "SELECT 1;\n"), ("two.sql", "SELECT 2;\n")]);
        assert_eq!(told(&compare(folder.path(), &made).unwrap()), [("a/one.sql", What::Missing), ("two.sql", What::Missing)]);
        write(folder.path(), &made).unwrap();
        assert_eq!(compare(folder.path(), &made).unwrap(), []);
        assert_eq!(write(folder.path(), &made).unwrap(), []);
    }

    #[test]
    fn a_changed_file_is_shown_line_by_line_and_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let made = files(&[("one.sql", "SELECT 1;\nSELECT 2;\n")]);
        write(folder.path(), &made).unwrap();
        fs::write(folder.path().join("one.sql"), "SELECT 1;\nSELECT 3;\n").unwrap();
        let found = compare(folder.path(), &made).unwrap();
        assert_eq!(told(&found), [("one.sql", What::Differs)]);
        assert_eq!(found[0].diff, "--- a/one.sql\n+++ b/one.sql\n@@ -1,2 +1,2 @@\n SELECT 1;\n-SELECT 3;\n+SELECT 2;\n");
        write(folder.path(), &made).unwrap();
        assert_eq!(compare(folder.path(), &made).unwrap(), []);
    }

    #[test]
    fn what_is_no_longer_made_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &files(&[("gone/one.sql", "1\n"), ("kept/two.sql", "2\n")])).unwrap();
        fs::write(folder.path().join("kept/own.txt"), "mine").unwrap();
        let made = files(&[("three.sql", "3\n")]);
        let expected = [("gone/one.sql", What::Superfluous), ("kept/two.sql", What::Superfluous), ("three.sql", What::Missing)];
        assert_eq!(told(&compare(folder.path(), &made).unwrap()), expected);
        write(folder.path(), &made).unwrap();
        assert!(!folder.path().join("gone").exists());
        assert!(!folder.path().join("kept/two.sql").exists());
        assert_eq!(fs::read_to_string(folder.path().join("kept/own.txt")).unwrap(), "mine");
        assert_eq!(compare(folder.path(), &made).unwrap(), []);
    }

    #[test]
    fn a_file_of_another_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("one.sql"), "mine").unwrap();
        let refused = write(folder.path(), &files(&[("one.sql", "1\n"), ("two.sql", "2\n")]));
        assert!(matches!(refused, Err(FolderError::Foreign { .. })));
        assert!(!folder.path().join("two.sql").exists());
    }

    #[test]
    fn a_list_that_leads_out_of_the_folder_is_refused() {
        for path in ["../other.txt", "/etc/hosts", "a/../../b", ""] {
            let folder = tempfile::tempdir().unwrap();
            let text = serde_json::json!({ "about": "", "files": [path] }).to_string();
            fs::write(folder.path().join(LIST), text).unwrap();
            assert!(matches!(write(folder.path(), &Files::new()), Err(FolderError::List { .. })), "{path}");
        }
    }
}

//! `--out`: which format a file gets, and how it comes to be without harm to what was there.

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
};

use qetl_runtime::RunError;

use crate::args::RowFormat;

/// The format of a file: that of its ending, which `--format` may not contradict.
pub(super) fn format(path: &Path, asked: Option<RowFormat>) -> Result<RowFormat, RunError> {
    if asked == Some(RowFormat::Table) {
        return Err(RunError::usage("a table is for the screen", "`--format csv`, `json` or `parquet` writes a file"));
    }
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    let told = match ending.as_str() {
        "csv" => Some(RowFormat::Csv),
        "json" | "jsonl" | "ndjson" => Some(RowFormat::Json),
        "parquet" | "pq" => Some(RowFormat::Parquet),
        _ => None,
    };
    let shown = path.display();
    match (told, asked) {
        (Some(told), Some(asked)) if told != asked => {
            let message = format!("`--out {shown}` names a file of another format than `--format {}`", asked.name());
            Err(RunError::usage(message, "leave `--format` out, or give the file another ending"))
        }
        (Some(format), _) | (None, Some(format)) => Ok(format),
        // What has no ending of its own, such as a pipe, gets text.
        (None, None) if ending.is_empty() || ending == "txt" || !is_ordinary(path) => Ok(RowFormat::Csv),
        (None, None) => {
            let message = format!("`--out {shown}`: the ending `.{ending}` names no format that qetl writes");
            Err(RunError::usage(message, "give it the ending `.csv`, `.json`, `.jsonl` or `.parquet`, or say `--format csv`"))
        }
    }
}

/// What the system has for files that are open, which may be regular ones.
const OPEN_FILES: [&str; 5] = ["/proc", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr"];

/// Whether the path is a regular file, or nothing yet.
fn is_ordinary(path: &Path) -> bool {
    !OPEN_FILES.iter().any(|open| path.starts_with(open)) && fs::metadata(path).map_or(true, |meta| meta.is_file())
}

/// A file that is being written.
pub(super) struct Out {
    shown: PathBuf,
    /// Where rows go until all are written.
    beside: Option<PathBuf>,
    target: PathBuf,
}

impl Out {
    /// A regular file is written beside and renamed, so that a failed query leaves what was there; a link stays one, and what
    /// it leads to is written. Pipes and devices are written as they are.
    pub(super) fn create(path: &Path) -> Self {
        let shown = path.to_owned();
        if !is_ordinary(path) {
            return Self { shown, beside: None, target: path.to_owned() };
        }
        let target = follow(path);
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let beside = target.with_file_name(format!(".{name}.{}.part", std::process::id()));
        Self { shown, beside: Some(beside), target }
    }

    pub(super) fn file(&self) -> Result<File, RunError> {
        let opened = match &self.beside {
            Some(beside) => File::create(beside),
            None => OpenOptions::new().write(true).open(&self.target),
        };
        opened.map_err(|error| self.failed(&error))
    }

    pub(super) fn done(mut self) -> Result<(), RunError> {
        let Some(beside) = self.beside.take() else { return Ok(()) };
        let renamed = match fs::metadata(&self.target) {
            Ok(meta) => fs::set_permissions(&beside, meta.permissions()),
            Err(_) => Ok(()),
        };
        renamed.and_then(|()| fs::rename(&beside, &self.target)).map_err(|error| {
            let _ = fs::remove_file(&beside);
            self.failed(&error)
        })
    }

    fn failed(&self, error: &std::io::Error) -> RunError {
        RunError::failed(format!("`{}` cannot be written: {error}", self.shown.display()))
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            let _ = fs::remove_file(beside);
        }
    }
}

/// What a path leads to, whether or not that is there.
fn follow(path: &Path) -> PathBuf {
    // As many links as systems follow.
    (0..40)
        .try_fold(path.to_owned(), |path, _| match fs::read_link(&path) {
            Ok(to) => Ok(path.parent().unwrap_or(Path::new("")).join(to)),
            Err(_) => Err(path),
        })
        .unwrap_or_else(|path| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_decides() {
        let is = |name: &str, asked, format| assert_eq!(super::format(Path::new(name), asked).ok(), format, "{name}");
        is("y.parquet", None, Some(RowFormat::Parquet));
        is("y.JSONL", None, Some(RowFormat::Json));
        is("y", None, Some(RowFormat::Csv));
        is("y.dat", Some(RowFormat::Json), Some(RowFormat::Json));
        is("y.parquet", Some(RowFormat::Csv), None);
        is("y.xlsx", None, None);
        is("y.csv.gz", None, None);
        is("y.csv", Some(RowFormat::Table), None);
        is("/dev/stdout", None, Some(RowFormat::Csv));
    }

    #[test]
    fn links_stay_links() {
        let folder = std::env::temp_dir().join(format!("qetl-out-{}", std::process::id()));
        fs::create_dir_all(folder.join("real")).unwrap();
        std::os::unix::fs::symlink("real/y.csv", folder.join("y.csv")).unwrap();
        for text in ["one", "two"] {
            let out = Out::create(&folder.join("y.csv"));
            std::io::Write::write_all(&mut out.file().unwrap(), text.as_bytes()).unwrap();
            out.done().unwrap();
            assert_eq!(fs::read_to_string(folder.join("real/y.csv")).unwrap(), text);
        }
        assert!(fs::symlink_metadata(folder.join("y.csv")).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.join("real")).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }
}

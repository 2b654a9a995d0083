//! Files as they are on disk now, and as they were when they were read.

use std::{
    fs,
    path::{Component, Path},
    time::{SystemTime, UNIX_EPOCH},
};

use qetl_core::format::Format;
use qetl_ingest::SourceFile;

use super::Roots;
use crate::{
    error::RunError,
    records::{FileDetails, FileRecord},
};

/// A file of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct JobFile {
    pub source: SourceFile,
    /// Its path below the folder that is read, with `/` between folders.
    pub below: String,
    pub size: u64,
    /// Microseconds since 1970.
    pub modified: i64,
    pub details: FileDetails,
    /// `None` until it is read.
    pub content_hash: Option<u128>,
    /// When its rows were landed that stay; `None`: it is read now.
    pub landed_at: Option<i64>,
}

impl JobFile {
    /// A file whose rows are landed already, and stay, whatever became of it.
    pub(super) fn landed(record: &FileRecord, roots: &Roots) -> Self {
        // No reader opens it.
        let format = Format::of_file(&record.name).unwrap_or(Format::Csv);
        Self {
            source: SourceFile { path: roots.project.join(&record.name), name: record.name.clone(), format },
            below: record.name.clone(),
            size: record.size,
            modified: record.modified,
            details: record.details.clone(),
            content_hash: Some(record.content_hash),
            landed_at: Some(record.loaded_at),
        }
    }

    /// The file as the ledger keeps it, if it is read now.
    pub(crate) fn record(&self, content_hash: u128, now: i64) -> FileRecord {
        FileRecord {
            name: self.source.name.clone(),
            size: self.size,
            modified: self.modified,
            content_hash,
            loaded_at: self.landed_at.unwrap_or(now),
            details: self.details.clone(),
        }
    }
}

/// What the file system says of a file: its size, its time of change, and what else tells that it is another one.
fn seen(meta: &fs::Metadata) -> (u64, i64, FileDetails) {
    #[cfg(unix)]
    let (changed, inode) = {
        use std::os::unix::fs::MetadataExt;
        let micros = meta.ctime().saturating_mul(1_000_000).saturating_add(meta.ctime_nsec() / 1000);
        (Some(micros), Some(meta.ino()))
    };
    #[cfg(not(unix))]
    let (changed, inode) = (None, None);
    (meta.len(), meta.modified().map_or(0, micros), FileDetails { changed, inode, ..FileDetails::default() })
}

/// A file as it is on disk now. Without a format its ending tells it; `section` of the flow file could. `folder`: the one that is
/// read.
pub(crate) fn look_at(
    path: &Path,
    folder: Option<&Path>,
    format: Option<Format>,
    roots: &Roots,
    section: &str,
) -> std::io::Result<JobFile> {
    let meta = fs::metadata(path)?;
    if !meta.is_file() {
        return Err(std::io::Error::other("not a file"));
    }
    let real = path.canonicalize()?;
    let name = name_of(path, &real, &roots.project)?;
    let unknown = || std::io::Error::other(format!("its ending does not tell its format: set `format` in {section}"));
    let format = format.or_else(|| Format::of_file(&name)).ok_or_else(unknown)?;
    let below = match folder.and_then(|folder| path.strip_prefix(folder).ok()).filter(|below| !below.as_os_str().is_empty()) {
        Some(below) => text_of(below)?,
        None => name.rsplit('/').next().unwrap_or(&name).to_owned(),
    };
    let (size, modified, details) = seen(&meta);
    let source = SourceFile { path: path.to_owned(), name, format };
    Ok(JobFile { source, below, size, modified, details, content_hash: None, landed_at: None })
}

/// The file with its fingerprint, if its content is not what was read.
pub(crate) fn if_changed(file: &JobFile, known: &FileRecord) -> Result<Option<JobFile>, RunError> {
    if is_untouched(file, known) {
        return Ok(None);
    }
    let hash = content_of(file)?;
    Ok((hash != known.content_hash).then(|| JobFile { content_hash: Some(hash), ..file.clone() }))
}

pub(crate) fn content_of(file: &JobFile) -> Result<u128, RunError> {
    let read = qetl_ingest::fingerprint(&file.source.path);
    read.map(|(_, hash)| hash).map_err(|error| RunError::failed(format!("`{}` cannot be read: {error}", file.source.name)))
}

/// Whether a file is what it was when it was looked at; else its content decides.
pub(crate) fn is_as_it_was(file: &JobFile, content_hash: u128) -> bool {
    let Ok(meta) = fs::metadata(&file.source.path) else { return false };
    let (size, modified, details) = seen(&meta);
    let same =
        (size, modified) == (file.size, file.modified) && (details.changed, details.inode) == (file.details.changed, file.details.inode);
    same || (size == file.size && content_of(file).is_ok_and(|hash| hash == content_hash))
}

/// Trusted without reading it: the file system says of it what it said, and it was read well after it was changed.
fn is_untouched(file: &JobFile, known: &FileRecord) -> bool {
    const CLOCK_GRAIN: i64 = 2_000_000;
    // An older qetl has recorded size and modification alone.
    let same = |is: Option<u64>, was: Option<u64>| was.is_none() || is == was;
    let changed = |details: &FileDetails| details.changed.map(i64::cast_unsigned);
    let last = known.details.changed.unwrap_or(known.modified).max(known.modified);
    file.size == known.size
        && file.modified == known.modified
        && same(changed(&file.details), changed(&known.details))
        && same(file.details.inode, known.details.inode)
        && last + CLOCK_GRAIN < known.loaded_at
}

/// How records call a file: relative to the project if it stands there, with `/` between folders.
fn name_of(path: &Path, real: &Path, project: &Path) -> std::io::Result<String> {
    let inside = path.strip_prefix(project).ok().filter(|rest| rest.components().all(|part| matches!(part, Component::Normal(_))));
    let inside = inside.or_else(|| real.strip_prefix(project).ok()).unwrap_or(real);
    Ok(text_of(inside)?.replacen("//", "/", 1))
}

/// A path with `/` between its parts. Two names that are no UTF-8 could become one text, so that none of them does.
fn text_of(path: &Path) -> std::io::Result<String> {
    let part = |part: Component<'_>| part.as_os_str().to_str().map(str::to_owned);
    let parts: Option<Vec<String>> = path.components().map(part).collect();
    parts.map(|parts| parts.join("/")).ok_or_else(|| std::io::Error::other("its name is not UTF-8: rename it"))
}

/// A path for messages: what is no UTF-8 as its bytes.
pub(crate) fn shown(path: &Path, project: &Path) -> String {
    let path = path.strip_prefix(project).unwrap_or(path);
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// Microseconds since 1970.
pub fn micros(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
    }
}

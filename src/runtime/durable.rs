//! Files and folders whose names outlive a loss of power. A name is durable once its folder is synced.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// Makes a folder, and those above it that are not there, with durable names.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match folder.parent() {
            Some(parent) => {
                create_folder(parent)?;
                create_folder(folder)
            }
            None => Err(error),
        },
        // Whoever made it may not have synced its name yet.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_parent(folder),
    }
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes the name of a file or folder durable.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

/// Makes the names in a folder durable, and those of the folders above it up to `top`.
pub fn sync_up_to(folder: &Path, top: &Path) -> io::Result<()> {
    sync_folder(folder)?;
    for above in folder.ancestors().take_while(|above| *above != top) {
        sync_parent(above)?;
    }
    sync_parent(top)
}

/// Puts a file with this text in the place of one, which stands whole until then. Callers take turns.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    let mut file = File::create(beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    sync_parent(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_whole_and_files_replaced() {
        let folder = std::env::temp_dir().join(format!("qetl-durable-{}", uuid::Uuid::now_v7()));
        let deep = folder.join("a/b/c");
        create_folder(&deep).unwrap();
        create_folder(&deep).unwrap();
        sync_up_to(&deep, &folder).unwrap();
        let file = deep.join("marker.json");
        replace(&file, "one").unwrap();
        replace(&file, "two").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "two");
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 1, "nothing is left beside it");
        assert!(create_folder(&file.join("below")).is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}

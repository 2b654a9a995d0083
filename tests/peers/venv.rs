//! Pythons with packages, made once for all tests.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Command, Stdio},
};

/// The Python of the environment of that name, which runs these imports, its packages installed if need be; `None` where there is
/// no Python or no package index.
pub fn python(name: &str, packages: &[&str], imports: &str) -> Option<PathBuf> {
    let cache = PathBuf::from(std::env::var_os("HOME")?).join(".cache");
    fs::create_dir_all(&cache).ok()?;
    let lock = File::create(cache.join(format!("qetl-test-{name}.lock"))).ok()?;
    lock.lock().ok()?;
    let folder = cache.join(format!("qetl-test-{name}"));
    let python = folder.join("bin/python");
    let works = || succeeds(Command::new(&python).args(["-c", imports]));
    if works() {
        return Some(python);
    }
    let made = python.is_file() || succeeds(Command::new("python3").args(["-m", "venv"]).arg(&folder));
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "15"];
    (made && succeeds(Command::new(&python).args(pip).args(packages)) && works()).then_some(python)
}

/// The same; where there is none, a line says that the test is skipped.
#[cfg(test)]
pub(crate) fn python_or_say(name: &str, packages: &[&str], imports: &str) -> Option<PathBuf> {
    let found = python(name, packages, imports);
    if found.is_none() {
        println!("skipped: {} cannot be installed", packages.join(", "));
    }
    found
}

pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

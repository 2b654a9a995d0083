//! The databases of the tests: files, and servers that are started for them and stopped with them.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use qetl_core::project::EngineName;
use qetl_runtime::{Engine, Workspace};
use qetl_test_harness::{Place, TestProject, project::temporary};
use qetl_test_models::oracle::Value;
use tempfile::TempDir;

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    DuckDb,
    Sqlite,
    Postgres,
    MariaDb,
}

/// A server that runs for the tests of this process.
pub(crate) struct Server {
    kind: Kind,
    /// The address without a database; empty for files.
    url: String,
    databases: AtomicU32,
}

impl Kind {
    /// `None` where it is not installed.
    pub(crate) fn server(self) -> Option<&'static Server> {
        static DUCKDB: Server = Server { kind: Kind::DuckDb, url: String::new(), databases: AtomicU32::new(0) };
        static SQLITE: Server = Server { kind: Kind::Sqlite, url: String::new(), databases: AtomicU32::new(0) };
        static POSTGRES: OnceLock<Option<Server>> = OnceLock::new();
        static MARIADB: OnceLock<Option<Server>> = OnceLock::new();
        match self {
            Kind::DuckDb if qetl_engines::has(EngineName::Duckdb) => Some(&DUCKDB),
            Kind::DuckDb => {
                eprintln!("this is built without DuckDB: its tests are left out");
                None
            }
            Kind::Sqlite => Some(&SQLITE),
            Kind::Postgres => POSTGRES.get_or_init(postgres).as_ref(),
            Kind::MariaDb => MARIADB.get_or_init(mariadb).as_ref(),
        }
    }
}

impl Server {
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// A database that nobody else uses.
    pub(crate) fn place(&'static self) -> Place {
        match self.kind {
            Kind::DuckDb | Kind::Sqlite => {
                let folder = temporary();
                let path = folder.path().join("test.db").display().to_string();
                Place { database: Some(Arc::new(folder)), ..place(self.kind, &format!("path = \"{path}\"")) }
            }
            Kind::Postgres | Kind::MariaDb => {
                let url = self.address();
                let name = url.rsplit('/').next().unwrap_or_default().to_owned();
                Place { database: Some(Arc::new(Dropped { server: self, name })), ..self.place_at(&url) }
            }
        }
    }

    /// The address of a new database.
    pub(crate) fn address(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("", &format!("CREATE DATABASE {name}"));
        format!("{}/{name}", self.url)
    }

    pub(crate) fn place_at(&self, url: &str) -> Place {
        place(self.kind, &format!("url = \"{url}\""))
    }

    /// Runs a statement as a client of the database's own.
    pub(crate) fn sql(&self, database: &str, sql: &str) {
        let output = self.client(database, sql).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs the statements of a file in a database.
    pub(crate) fn run_file(&self, database: &str, path: &Path) {
        let mut client = self.client(database, "SELECT 1");
        let output = match self.kind {
            Kind::Postgres => client.arg("-f").arg(path).stdout(Stdio::null()).output(),
            Kind::DuckDb | Kind::Sqlite | Kind::MariaDb => self.client(database, &format!("source {}", path.display())).output(),
        };
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn client(&self, database: &str, sql: &str) -> Command {
        match self.kind {
            Kind::DuckDb | Kind::Sqlite => unreachable!("a file has no server"),
            Kind::Postgres => {
                let mut psql = Command::new(postgres_bin().unwrap().join("psql"));
                let database = if database.is_empty() { "postgres" } else { database };
                psql.args(["-qX", "-v", "ON_ERROR_STOP=1", "-d", &format!("{}/{database}", self.url), "-c", sql]);
                psql
            }
            Kind::MariaDb => {
                let port = self.url.rsplit(':').next().unwrap_or_default();
                let mut mariadb = Command::new("mariadb");
                mariadb.args(["--no-defaults", "-h", "127.0.0.1", "-P", port, "-u", "root", "-e", sql, database]);
                mariadb
            }
        }
    }
}

/// A database that is dropped: hundreds of histories fit into a server, one after another.
struct Dropped {
    server: &'static Server,
    name: String,
}

impl Drop for Dropped {
    fn drop(&mut self) {
        let force = if self.server.kind == Kind::Postgres { " WITH (FORCE)" } else { "" };
        // The server goes with the tests, and all that is left in it.
        let _ = self.server.client("", &format!("DROP DATABASE {}{force}", self.name)).output();
    }
}

/// What tests have to know of a kind of database.
fn place(kind: Kind, config: &str) -> Place {
    let (engine, name, quote, holds, refuses): (_, _, _, fn(&Value) -> bool, &'static [&'static str]) = match kind {
        Kind::DuckDb => ("duckdb", "duckdb", '"', |_| true, &[]),
        Kind::Sqlite => (
            "sqlite",
            "sqlite",
            '"',
            |value| !matches!(value, Value::Float(value) if value.is_nan()),
            &["cannot say a column called", "it is read as a value there"],
        ),
        Kind::Postgres => ("postgres", "postgres", '"', |_| true, &[]),
        Kind::MariaDb => (
            "mariadb",
            "mysql",
            '`',
            |value| !matches!(value, Value::Float(value) if !value.is_finite()),
            &[
                "cannot say the date of an instant in the time zone",
                "cannot say the canonical text of a float",
                "letters beyond the first 65,536",
            ],
        ),
    };
    Place {
        engine,
        // As many as a run of all tests has time for.
        cases: match kind {
            Kind::Sqlite => 100,
            Kind::Postgres => 40,
            Kind::MariaDb => 30,
            Kind::DuckDb => 20,
        },
        settings: format!("[engine]\nname = \"{name}\"\nthreads = 1\n[engine.config]\n{config}\n"),
        database: None,
        open: Arc::new(open),
        quote,
        holds,
        refuses,
        look: |_: &TestProject| (),
    }
}

pub(crate) fn open(workspace: &Workspace) -> Arc<dyn Engine> {
    qetl_engines::open(&workspace.project.engine, &workspace.root).unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A process that is stopped, and its folder removed, when the tests' own process ends.
fn with_the_tests(child: Child, folder: TempDir) {
    // Nothing runs after the tests but what watches them: a shell that waits for the process to go.
    let script = format!(
        "while kill -0 {0} 2>/dev/null; do sleep 0.2; done; kill -TERM {1} 2>/dev/null; sleep 1; kill -KILL {1} 2>/dev/null; rm -rf {2}",
        std::process::id(),
        child.id(),
        folder.keep().display()
    );
    let watcher = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut watcher = watcher.unwrap();
    std::thread::spawn(move || watcher.wait());
}

/// The newest PostgreSQL among those that are installed.
fn postgres_bin() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    let mut found: Vec<PathBuf> = versions.filter(|bin| bin.join("initdb").is_file()).collect();
    found.sort();
    found.pop().or_else(|| Some(PathBuf::from("/usr/bin")).filter(|bin| bin.join("initdb").is_file()))
}

/// The server refuses to be root's.
fn as_nobody(program: &Path) -> Command {
    if fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0) {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        return command;
    }
    Command::new(program)
}

fn postgres() -> Option<Server> {
    let Some(bin) = postgres_bin() else {
        eprintln!("PostgreSQL is not installed: its tests are left out");
        return None;
    };
    let folder = temporary();
    Command::new("chmod").arg("777").arg(folder.path()).status().unwrap();
    let data = folder.path().join("data");
    let made = as_nobody(&bin.join("initdb"))
        .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
        .arg(&data)
        .output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = free_port();
    let log = fs::File::create(folder.path().join("log")).unwrap();
    let child = as_nobody(&bin.join("postgres"))
        .arg("-D")
        .arg(&data)
        .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", "", "-c", "fsync=off", "-c", "max_connections=200"])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let server = Server { kind: Kind::Postgres, url: format!("postgres://postgres@127.0.0.1:{port}"), databases: AtomicU32::new(0) };
    with_the_tests(child, folder);
    let until = Instant::now() + Duration::from_secs(60);
    while !Command::new(bin.join("pg_isready")).args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]).status().unwrap().success() {
        assert!(Instant::now() < until, "PostgreSQL does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(server)
}

fn mariadb() -> Option<Server> {
    let program = ["/usr/sbin/mariadbd", "/usr/local/sbin/mariadbd"].into_iter().find(|program| Path::new(program).is_file());
    let Some(program) = program else {
        eprintln!("MariaDB is not installed: its tests are left out");
        return None;
    };
    let folder = temporary();
    let data = format!("--datadir={}", folder.path().join("data").display());
    let made = Command::new("mariadb-install-db")
        .args(["--no-defaults", "--user=root", "--auth-root-authentication-method=normal", "--skip-test-db", &data])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = free_port();
    let log = fs::File::create(folder.path().join("log")).unwrap();
    let child = Command::new(program)
        .args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1", "--skip-name-resolve", &data, &format!("--port={port}")])
        .args(["--innodb-flush-log-at-trx-commit=0", "--max-connections=300", "--innodb-log-file-size=32M"])
        .arg(format!("--socket={}", folder.path().join("socket").display()))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let server = Server { kind: Kind::MariaDb, url: format!("mysql://root@127.0.0.1:{port}"), databases: AtomicU32::new(0) };
    with_the_tests(child, folder);
    let until = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "MariaDB does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(server)
}

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

use qetl_runtime::RunReport;
use qetl_test_models::{histories::Arrival, oracle::Value};
use tempfile::TempDir;

use crate::project::temporary;

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
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
        static SQLITE: Server = Server { kind: Kind::Sqlite, url: String::new(), databases: AtomicU32::new(0) };
        static POSTGRES: OnceLock<Option<Server>> = OnceLock::new();
        static MARIADB: OnceLock<Option<Server>> = OnceLock::new();
        match self {
            Kind::Sqlite => Some(&SQLITE),
            Kind::Postgres => POSTGRES.get_or_init(postgres).as_ref(),
            Kind::MariaDb => MARIADB.get_or_init(mariadb).as_ref(),
        }
    }
}

impl Kind {
    /// The rows of a batch with what the database cannot hold replaced by what it can.
    pub(crate) fn holdable(self, arrival: &Arrival) -> Arrival {
        let holds = |value: &Value| match (self, value) {
            (Kind::Sqlite, Value::Float(value)) => !value.is_nan(),
            (Kind::MariaDb, Value::Float(value)) => value.is_finite(),
            (Kind::Sqlite | Kind::Postgres | Kind::MariaDb, _) => true,
        };
        let value = |value: &Value| if holds(value) { value.clone() } else { Value::Float(0.5) };
        Arrival { rows: arrival.rows.iter().map(|row| row.iter().map(value).collect()).collect(), ..arrival.clone() }
    }
}

impl Server {
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// A database that nobody else uses.
    pub(crate) fn place(&self) -> Place {
        match self.kind {
            Kind::Sqlite => Place { kind: self.kind, url: String::new(), folder: Some(Arc::new(temporary())) },
            Kind::Postgres | Kind::MariaDb => {
                let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
                self.sql("", &format!("CREATE DATABASE {name}"));
                Place { kind: self.kind, url: format!("{}/{name}", self.url), folder: None }
            }
        }
    }

    /// Runs a statement as a client of the database's own.
    pub(crate) fn sql(&self, database: &str, sql: &str) {
        let mut client = match self.kind {
            Kind::Sqlite => unreachable!("a file has no server"),
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
        };
        let output = client.output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A database that nobody else uses.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) url: String,
    folder: Option<Arc<TempDir>>,
}

impl Place {
    /// The project file that names it.
    pub(crate) fn settings(&self) -> String {
        let (name, config) = match self.kind {
            Kind::Sqlite => {
                let folder = self.folder.as_ref().map(|folder| folder.path().display().to_string()).unwrap_or_default();
                ("sqlite", format!("path = \"{folder}/test.db\""))
            }
            Kind::Postgres => ("postgres", format!("url = \"{}\"", self.url)),
            Kind::MariaDb => ("mysql", format!("url = \"{}\"", self.url)),
        };
        format!("[engine]\nname = \"{name}\"\n[engine.config]\n{config}\n")
    }

    /// A name as the database's SQL has it.
    pub(crate) fn quoted(&self, name: &str) -> String {
        let quote = if self.kind == Kind::MariaDb { "`" } else { "\"" };
        format!("{quote}{}{quote}", name.replace(quote, &quote.repeat(2)))
    }

    /// Whether the run says that the database cannot say what the flow needs, and may say so.
    pub(crate) fn says_no(&self, report: &RunReport) -> bool {
        let errors = report.flows.iter().flat_map(|flow| flow.batches.iter().filter_map(|batch| batch.error.as_ref()).chain(&flow.error));
        let says = |what: &str| errors.clone().any(|error| error.message.contains(what));
        match self.kind {
            Kind::Sqlite => says("cannot say the date of an instant in the time zone"),
            Kind::MariaDb => says("cannot say the date of an instant in the time zone") || says("cannot say the canonical text of a float"),
            Kind::Postgres => false,
        }
    }
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

//! `qetl.toml`: where a project's data stands and how flows are run.

use std::{fmt, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    decode::{self, Sp},
    problem::{Problem, Problems, SourceText, Span},
    suggest,
};

/// A project file, with a profile laid over it. Every key has a default.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Project {
    /// About the project.
    #[serde(default)]
    pub project: About,
    /// Where tables are stored.
    #[serde(default)]
    pub storage: Storage,
    /// What runs the flows.
    #[serde(default)]
    pub engine: EngineChoice,
    /// What runs the scripts of standard flows.
    #[serde(default)]
    pub python: Python,
}

/// `[python]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Python {
    /// The interpreter of `custom_script` tasks: a program's name, or a path relative to the project. It needs pandas and
    /// pyarrow.
    #[schemars(length(min = 1))]
    pub interpreter: String,
}

impl Default for Python {
    fn default() -> Self {
        Self { interpreter: "python3".to_owned() }
    }
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct About {
    /// The project's name, for people.
    pub name: Option<String>,
    /// Folders outside the project that its flows may read.
    #[serde(default)]
    pub allowed_paths: Vec<String>,
}

/// `[storage]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Storage {
    /// The folder of the warehouse's data files.
    pub location: Sp<String>,
    /// The catalog's file; `catalog.sqlite` in `location` without it.
    pub catalog: Option<Sp<String>>,
}

impl Default for Storage {
    fn default() -> Self {
        Self { location: Sp { value: "warehouse".to_owned(), span: Span::default() }, catalog: None }
    }
}

/// `[engine]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct EngineChoice {
    /// The engine that runs the flows.
    pub name: Sp<EngineName>,
    /// The memory that a run may use, such as `2GB` (10⁹ bytes) or `2GiB` (2³⁰).
    pub memory_limit: Sp<String>,
    /// Threads; 0 for one a core.
    #[schemars(range(min = 0, max = 1024))]
    pub threads: u32,
    /// The database, for engines that are one.
    pub config: EngineConfig,
}

impl Default for EngineChoice {
    fn default() -> Self {
        Self {
            name: Sp { value: EngineName::Datafusion, span: Span::default() },
            memory_limit: Sp { value: "2GB".to_owned(), span: Span::default() },
            threads: 0,
            config: EngineConfig::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EngineName {
    /// The embedded engine, over a warehouse of Parquet files.
    Datafusion,
    /// DuckDB, in a file.
    Duckdb,
    /// SQLite, in a file.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
    /// A MySQL or MariaDB server.
    Mysql,
}

impl EngineChoice {
    /// The memory that a run may use, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        parse_bytes(&self.memory_limit).unwrap_or(2_000_000_000)
    }
}

impl EngineName {
    /// As it stands in `qetl.toml`.
    pub fn name(self) -> &'static str {
        match self {
            EngineName::Datafusion => "datafusion",
            EngineName::Duckdb => "duckdb",
            EngineName::Sqlite => "sqlite",
            EngineName::Postgres => "postgres",
            EngineName::Mysql => "mysql",
        }
    }
}

/// `[engine.config]`: where a database is, and how long it may take.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct EngineConfig {
    /// DuckDB, SQLite: the database's file.
    pub path: Option<Sp<String>>,
    /// PostgreSQL, MySQL: the server and the database, such as `postgres://user@host/shop`. A password may stand in it as
    /// `${NAME}`.
    pub url: Option<Sp<Secret>>,
    /// The environment variable that has the `url`.
    pub url_env: Option<Sp<String>>,
    /// How long a statement waits for what others hold; 60 without it.
    #[schemars(range(min = 1, max = 86400))]
    pub lock_timeout_seconds: Option<Sp<u32>>,
    /// How long a statement may take; without it as long as it needs.
    #[schemars(range(min = 1, max = 604_800))]
    pub statement_timeout_seconds: Option<Sp<u32>>,
}

impl EngineConfig {
    pub fn lock_timeout(&self) -> Duration {
        Duration::from_secs(self.lock_timeout_seconds.as_ref().map_or(60, |seconds| u64::from(seconds.value)))
    }

    pub fn statement_timeout(&self) -> Option<Duration> {
        self.statement_timeout_seconds.as_ref().map(|seconds| Duration::from_secs(u64::from(seconds.value)))
    }

    /// What is missing, or has no meaning for the engine; reads the variable that `url_env` names.
    fn settle(&mut self, engine: EngineName, name: Span, env: &dyn Fn(&str) -> Option<String>, problems: &mut Problems) {
        let (takes_path, takes_url) = match engine {
            EngineName::Datafusion => (false, false),
            EngineName::Duckdb | EngineName::Sqlite => (true, false),
            EngineName::Postgres | EngineName::Mysql => (false, true),
        };
        let is_database = takes_path || takes_url;
        let keys = [
            ("path", self.path.as_ref().map(|value| value.span), takes_path),
            ("url", self.url.as_ref().map(|value| value.span), takes_url),
            ("url_env", self.url_env.as_ref().map(|value| value.span), takes_url),
            ("lock_timeout_seconds", self.lock_timeout_seconds.as_ref().map(|value| value.span), is_database),
            ("statement_timeout_seconds", self.statement_timeout_seconds.as_ref().map(|value| value.span), is_database),
        ];
        for (key, span, taken) in keys {
            if let (Some(span), false) = (span, taken) {
                let what = format!("`{key}` means nothing to the engine `{}`", engine.name());
                problems.push(Problem::new("qetl::project::engine_config", span, what).label("not read").help("take it out"));
            }
        }
        let missing =
            |message: String, help: &str| Problem::new("qetl::project::engine_config", name, message).label("this engine").help(help);
        match (takes_path, takes_url) {
            (true, _) if self.path.is_none() => {
                let message = format!("the engine `{}` needs the file of its database", engine.name());
                problems.push(missing(message, "add `[engine.config]` with `path = \"shop.db\"`"));
            }
            (_, true) => match (&self.url, &self.url_env) {
                (None, None) => {
                    let message = format!("the engine `{}` needs the address of its server", engine.name());
                    problems.push(missing(message, "add `[engine.config]` with `url_env = \"NAME\"`, the variable that has it"));
                }
                (Some(_), Some(url_env)) => {
                    let what = "`url` and `url_env` both give the address of the server";
                    problems.push(Problem::new("qetl::project::engine_config", url_env.span, what).label("here again").help("keep one"));
                }
                (None, Some(url_env)) => match env(url_env) {
                    Some(url) => self.url = Some(Sp { value: Secret(url), span: url_env.span }),
                    None => {
                        let what = format!("the environment variable `{}` is not set", url_env.value);
                        let problem = Problem::new("qetl::project::environment", url_env.span, what).label("needs it");
                        problems.push(problem.help(format!("set it, as in `{}=… qetl …`", url_env.value)));
                    }
                },
                (Some(_), None) => (),
            },
            _ => (),
        }
        if let Some(url) = self.url.as_ref().filter(|url| url.value.0.matches('@').count() > 1) {
            let problem = Problem::new("qetl::project::engine_config", url.span, "the address of the server has more than one `@`");
            problems.push(problem.label("this address").help("in a user's name or password, write `@` as `%40` and `/` as `%2F`"));
        }
    }
}

/// The text for people: what may be a password, between `://` and `@`, is made stars, as many as it has bytes.
fn without_secrets(text: &str) -> String {
    let line = |line: &str| {
        let hidden = line.find("://").and_then(|begin| Some((begin + 3, line.rfind('@')?))).filter(|(begin, end)| begin < end);
        hidden.map_or_else(|| line.to_owned(), |(begin, end)| format!("{}{}{}", &line[..begin], "*".repeat(end - begin), &line[end..]))
    };
    text.split_inclusive('\n').map(line).collect()
}

/// A text that may hold a password: it is never printed.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Project {
    /// Reads `qetl.toml`. `env` gives the value of an environment variable.
    pub fn parse(name: &str, text: &str, profile: Option<&str>, env: &dyn Fn(&str) -> Option<String>) -> Result<Project, Problems> {
        let source = SourceText::new(name, &without_secrets(text));
        Self::decode(text, profile, env).map_err(|problems| problems.in_source(&source))
    }

    fn decode(text: &str, profile: Option<&str>, env: &dyn Fn(&str) -> Option<String>) -> Result<Project, Problems> {
        let table = decode::parse(text)?;
        let whole = 0..text.find('\n').unwrap_or(text.len());
        let mut problems = Problems::default();
        let mut root = table.into_inner();
        lay_profile(&mut root, profile, &mut problems);
        let mut root = Spanned::new(whole, DeValue::Table(root));
        let mut filled = Vec::new();
        fill_in(&mut root, env, &mut filled, &mut problems);
        decode::validate("", &root, &decode::schema_of::<Project>(), &mut problems);
        for problem in &mut problems.0 {
            problem.message = problem.message.replace("a flow file", "`qetl.toml`");
        }
        hide(&mut problems, &filled);
        problems.or(())?;
        let mut project: Project = decode::decode(root)?;
        let mut problems = Problems::default();
        let engine = &mut project.engine;
        engine.config.settle(engine.name.value, engine.name.span, env, &mut problems);
        let limit = &project.engine.memory_limit;
        if let Err(why) = parse_bytes(limit) {
            problems.push(Problem::new("qetl::project::bytes", limit.span, why).help("such as `500MB`, `2GB` or `2GiB`"));
        }
        for place in [Some(&project.storage.location), project.storage.catalog.as_ref()].into_iter().flatten() {
            if place.contains("://") {
                problems.push(
                    Problem::new("qetl::project::storage", place.span, "only local folders and files can be storage")
                        .label("not a path")
                        .help("name a folder, such as `location = \"warehouse\"`"),
                );
            }
        }
        hide(&mut problems, &filled);
        problems.or(project)
    }
}

/// Lays `[profiles.<name>]` over the other tables, key by key, and takes all profiles away.
fn lay_profile(root: &mut DeTable<'_>, profile: Option<&str>, problems: &mut Problems) {
    let key = root.iter().map(|(key, _)| key.clone()).find(|key| key.get_ref().as_ref() == "profiles");
    let profiles = key.and_then(|key| root.remove(&key)).map(Spanned::into_inner);
    let Some(profile) = profile else { return };
    let mut known = Vec::new();
    if let Some(DeValue::Table(profiles)) = profiles {
        for (name, value) in profiles {
            known.push(name.get_ref().to_string());
            if let (true, DeValue::Table(over)) = (name.get_ref().as_ref() == profile, value.into_inner()) {
                return lay_over(root, over);
            }
        }
    }
    let help = if known.is_empty() { "there are no profiles".to_owned() } else { suggest::help(profile, known.iter().map(String::as_str)) };
    problems.push(Problem::new("qetl::project::unknown_profile", Span::default(), format!("there is no profile `{profile}`")).help(help));
}

fn lay_over<'a>(base: &mut DeTable<'a>, over: DeTable<'a>) {
    for (key, value) in over {
        if let (Some(base), DeValue::Table(_)) = (base.get_mut(&key), value.get_ref())
            && let DeValue::Table(base) = base.get_mut()
        {
            let DeValue::Table(over) = value.into_inner() else { unreachable!("it was a table a line ago") };
            lay_over(base, over);
            continue;
        }
        base.insert(key, value);
    }
}

/// What came from the environment may be a secret: problems with it do not repeat it.
fn hide(problems: &mut Problems, filled: &[Span]) {
    for problem in problems.0.iter_mut().filter(|problem| filled.contains(&problem.span)) {
        if problem.code != "qetl::project::environment" {
            problem.message = "what the environment gives here cannot stand here".to_owned();
        }
    }
}

/// Replaces every `${NAME}` in a text by the environment's value, and notes where.
fn fill_in(value: &mut Spanned<DeValue<'_>>, env: &dyn Fn(&str) -> Option<String>, places: &mut Vec<Span>, problems: &mut Problems) {
    let span = Span::from(value.span());
    match value.get_mut() {
        DeValue::String(text) if text.contains("${") => {
            places.push(span);
            let mut filled = String::new();
            let mut rest: &str = text;
            while let Some(at) = rest.find("${") {
                filled.push_str(&rest[..at]);
                let Some(end) = rest[at..].find('}') else {
                    problems.push(Problem::new("qetl::project::environment", span, "`${` has no `}`").help("write `${NAME}`"));
                    return;
                };
                let name = &rest[at + 2..at + end];
                match env(name) {
                    Some(value) => filled.push_str(&value),
                    None => problems.push(
                        Problem::new("qetl::project::environment", span, format!("the environment variable `{name}` is not set"))
                            .label("needs it")
                            .help(format!("set it, as in `{name}=… qetl …`")),
                    ),
                }
                rest = &rest[at + end + 1..];
            }
            filled.push_str(rest);
            *text = filled.into();
        }
        DeValue::Table(table) => table.iter_mut().for_each(|(_, value)| fill_in(value, env, places, problems)),
        DeValue::Array(items) => items.iter_mut().for_each(|value| fill_in(value, env, places, problems)),
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => (),
    }
}

/// Bytes of a text such as `2GB` (10⁹) or `2GiB` (2³⁰); at least 64 MB.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim().find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.trim().len());
    let (number, unit) = text.trim().split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("`{text}` is not an amount of memory")),
    };
    let bytes = number.parse::<f64>().map_err(|_| format!("`{text}` is not an amount of memory"))? * factor;
    if bytes < 64e6 {
        return Err(format!("`{text}` is less than qetl can work with; give it at least 64MB"));
    }
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, profile: Option<&str>) -> Result<Project, String> {
        let env = |name: &str| (name == "HOME_OF_DATA").then(|| "/data".to_owned());
        Project::parse("qetl.toml", text, profile, &env).map_err(|problems| problems.to_string())
    }

    #[test]
    fn everything_has_a_default() {
        let project = parse("", None).unwrap();
        assert_eq!(project.storage.location.value, "warehouse");
        assert_eq!(project.engine.memory_bytes(), 2_000_000_000);
    }

    #[test]
    fn a_profile_lies_over_the_defaults_and_the_environment_is_filled_in() {
        let text =
            "[storage]\nlocation = \"a\"\n[engine]\nmemory_limit = \"2GiB\"\n[profiles.prod.storage]\nlocation = \"${HOME_OF_DATA}/w\"\n";
        assert_eq!(parse(text, None).unwrap().storage.location.value, "a");
        let prod = parse(text, Some("prod")).unwrap();
        assert_eq!((prod.storage.location.as_str(), prod.engine.memory_bytes()), ("/data/w", 1 << 31));
        assert_eq!(parse(text, Some("prd")).unwrap_err(), "qetl.toml:1:1: there is no profile `prd`");
    }

    #[test]
    fn an_engine_takes_what_it_needs() {
        let told = |text: &str| parse(text, None).unwrap_err();
        let sqlite = parse("[engine]\nname = \"sqlite\"\n[engine.config]\npath = \"shop.db\"\n", None).unwrap();
        assert_eq!((sqlite.engine.name.value, sqlite.engine.config.lock_timeout().as_secs()), (EngineName::Sqlite, 60));
        let postgres = parse("[engine]\nname = \"postgres\"\n[engine.config]\nurl_env = \"HOME_OF_DATA\"\n", None).unwrap();
        assert_eq!(postgres.engine.config.url.as_ref().map(|url| url.value.0.as_str()), Some("/data"));
        assert!(!format!("{postgres:?}").contains("/data"), "what may be a secret is not printed");
        let two = "[engine]\nname = \"postgres\"\n[engine.config]\nurl = \"postgres://shop:s3c@ret@db/shop\"\n";
        insta::assert_snapshot!(told(two), @"qetl.toml:4:7: the address of the server has more than one `@`");
        insta::assert_snapshot!(without_secrets(two), @r#"
        [engine]
        name = "postgres"
        [engine.config]
        url = "postgres://************@db/shop"
        "#);
        insta::assert_snapshot!(told("[engine]\nname = \"sqlite\"\n[engine.config]\nurl = \"sqlite://\"\n"), @r"
        qetl.toml:2:8: the engine `sqlite` needs the file of its database
        qetl.toml:4:7: `url` means nothing to the engine `sqlite`
        ");
        insta::assert_snapshot!(told("[engine]\nname = \"mysql\"\n"), @"qetl.toml:2:8: the engine `mysql` needs the address of its server");
        insta::assert_snapshot!(told("[engine]\nname = \"postgres\"\n[engine.config]\nurl_env = \"NOWHERE\"\n"), @"qetl.toml:4:11: the environment variable `NOWHERE` is not set");
        insta::assert_snapshot!(told("[engine.config]\npath = \"x\"\n"), @"qetl.toml:2:8: `path` means nothing to the engine `datafusion`");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let told = parse("[engine]\nname = \"spark\"\nthread = 1\n[storage]\nlocation = \"${NOWHERE}\"\n", None).unwrap_err();
        insta::assert_snapshot!(told, @r"
        qetl.toml:2:8: `spark` is not a value of `name` of `engine`
        qetl.toml:3:1: `thread` is not a key of `engine`
        qetl.toml:5:12: the environment variable `NOWHERE` is not set
        ");
        assert_eq!(parse("[engine]\nmemory_limit = \"lots\"", None).unwrap_err(), "qetl.toml:2:16: `lots` is not an amount of memory");
    }
}

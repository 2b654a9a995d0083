//! The skeletons of generated files. They are filled with finished SQL and quoted names; no expression is put together in
//! them. A template puts another one into itself by `part(NAME, VALUE)`, where the value is called `it`: minijinja's own
//! `include` and `macro` are features that would be on for the templates of flows too, which have them not.

use minijinja::{Environment, UndefinedBehavior, Value, context, syntax::SyntaxConfig};

/// Name and text of each template.
const TEMPLATES: &[(&str, &str)] = &[
    ("sql/head", include_str!("templates/sql/head.sql")),
    ("sql/duckdb/tables", include_str!("templates/sql/duckdb.tables.sql")),
    ("sql/duckdb/batch", include_str!("templates/sql/duckdb.batch.sql")),
    ("sql/duckdb/judge", include_str!("templates/sql/duckdb.judge.sql")),
    ("sql/mysql/tables", include_str!("templates/sql/mysql.tables.sql")),
    ("sql/mysql/batch", include_str!("templates/sql/mysql.batch.sql")),
    ("sql/mysql/judge", include_str!("templates/sql/mysql.judge.sql")),
    ("sql/mysql/refuse_if", include_str!("templates/sql/mysql.refuse_if.sql")),
    ("sql/postgres/tables", include_str!("templates/sql/postgres.tables.sql")),
    ("sql/postgres/batch", include_str!("templates/sql/postgres.batch.sql")),
    ("sql/postgres/judge", include_str!("templates/sql/postgres.judge.sql")),
    ("sql/sqlite/tables", include_str!("templates/sql/sqlite.tables.sql")),
    ("sql/sqlite/batch", include_str!("templates/sql/sqlite.batch.sql")),
    ("sql/sqlite/judge", include_str!("templates/sql/sqlite.judge.sql")),
    ("sql/sqlite/refuse_if", include_str!("templates/sql/sqlite.refuse_if.sql")),
    ("sql/sqlite/read", include_str!("templates/sql/sqlite.read.sql")),
    ("dbt/dbt_project.yml", include_str!("templates/dbt/dbt_project.yml")),
    ("dbt/profiles/duckdb", include_str!("templates/dbt/profiles.duckdb.yml")),
    ("dbt/profiles/postgres", include_str!("templates/dbt/profiles.postgres.yml")),
    ("dbt/macros.sql", include_str!("templates/dbt/macros.sql")),
    ("dbt/unique_together.sql", include_str!("templates/dbt/unique_together.sql")),
    ("dbt/batches.sql", include_str!("templates/dbt/batches.sql")),
    ("dbt/files.sql", include_str!("templates/dbt/files.sql")),
    ("dbt/schema.yml", include_str!("templates/dbt/schema.yml")),
    ("dbt/landing.sql", include_str!("templates/dbt/landing.sql")),
    ("dbt/model.sql", include_str!("templates/dbt/model.sql")),
    ("dbt/test.sql", include_str!("templates/dbt/test.sql")),
    ("airflow/dags.py", include_str!("templates/airflow/dags.py")),
];

/// Fills in a template of ours.
pub(crate) fn fill(name: &str, values: Value) -> String {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
    environment.set_syntax(syntax.unwrap_or_else(|error| unreachable!("the syntax is the usual one: {error}")));
    environment.add_filter("literal", |text: &str| format!("'{}'", text.replace('\'', "''")));
    environment.add_filter("string", |text: &str| serde_json::Value::from(text).to_string());
    environment.add_filter("comment", |text: &str| text.replace(['\n', '\r'], " "));
    environment.add_filter("tag", dollar_tag);
    environment.add_function("part", |name: &str, it: Value| fill(name, context! { it }));
    let added = TEMPLATES.iter().try_for_each(|(name, text)| environment.add_template(name, text));
    let filled = added.and_then(|()| environment.get_template(name)).and_then(|template| template.render(values));
    filled.unwrap_or_else(|error| unreachable!("the template `{name}` is ours, and tested: {error:?}"))
}

/// A word between two `$` that the text does not hold.
fn dollar_tag(text: &str) -> String {
    let numbered = (2..).map(|number| format!("$qetl{number}$"));
    std::iter::once("$qetl$".to_owned()).chain(numbered).find(|tag| !text.contains(tag)).unwrap_or_default()
}

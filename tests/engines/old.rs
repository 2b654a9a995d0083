//! Databases that an older qetl has written to.

use std::fs;

use qetl_test_harness::{old, project::temporary};

use crate::server::{Kind, Server};

async fn lives_on(kind: Kind, load: impl FnOnce(&'static Server, &str)) {
    let Some(server) = kind.server() else { return };
    let place = match kind {
        Kind::DuckDb | Kind::Sqlite => {
            let place = server.place();
            let path = place.settings.split("path = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
            load(server, &path);
            place
        }
        Kind::Postgres | Kind::MariaDb => {
            let url = server.address();
            load(server, url.rsplit('/').next().unwrap());
            server.place_at(&url)
        }
    };
    old::lives_on(&old::project(place, &|_| ()), &old::project(server.place(), &|_| ())).await;
}

async fn file(kind: Kind, name: &str) {
    lives_on(kind, |_, path| fs::write(path, old::unpacked(name)).unwrap()).await;
}

async fn dump(kind: Kind, name: &str) {
    let text = temporary();
    let path = text.path().join("dump.sql");
    fs::write(&path, old::unpacked(name)).unwrap();
    lives_on(kind, |server, database| server.run_file(database, &path)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_duckdb_lives_on() {
    file(Kind::DuckDb, "duckdb.db").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_sqlite_lives_on() {
    file(Kind::Sqlite, "sqlite.db").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_postgres_lives_on() {
    dump(Kind::Postgres, "postgres.sql").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_mariadb_lives_on() {
    dump(Kind::MariaDb, "mariadb.sql").await;
}

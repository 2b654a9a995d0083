//! A warehouse that an older qetl made.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use qetl_test_harness::old;

use crate::project::place;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_warehouse_lives_on() {
    let unpack = |folder: &Path| {
        let mut tar = Command::new("tar").arg("-xC").arg(folder).stdin(Stdio::piped()).spawn().unwrap();
        tar.stdin.take().unwrap().write_all(&old::unpacked("datafusion.tar")).unwrap();
        assert!(tar.wait().unwrap().success());
    };
    old::lives_on(&old::project(place(1, 0), &unpack), &old::project(place(1, 0), &|_| ())).await;
}

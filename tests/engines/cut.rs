//! Connections that are cut at COMMIT: whatever became of it, the batch is there once or not at all, and the run says which.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use qetl_runtime::{report::Status, waiting::Request};

use qetl_test_harness::TestProject;

use crate::server::Kind;

#[test]
fn postgres_publishes_once() {
    cut_at_commit(Kind::Postgres);
}

#[test]
fn mariadb_publishes_once() {
    cut_at_commit(Kind::MariaDb);
}

/// Stands between the client and the server, and cuts the connection that says COMMIT when it is armed.
struct Proxy {
    port: u16,
    /// How the next COMMIT is cut; 0 for not at all.
    armed: Arc<AtomicU32>,
}

impl Proxy {
    fn to(address: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, armed) = (listener.local_addr().unwrap().port(), Arc::new(AtomicU32::new(0)));
        let shared = armed.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(&address).unwrap();
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (from_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || pass(from_server, to_client, |_| After::Go));
                let armed = shared.clone();
                let mut seen = None;
                let watch = move |bytes: &[u8]| {
                    if bytes.windows(6).any(|word| word == b"COMMIT") && seen.is_none() {
                        seen = Some(armed.swap(0, Ordering::SeqCst)).filter(|how| *how > 0);
                    } else if let Some(how) = &mut seen {
                        *how = how.saturating_sub(4);
                    }
                    // Some cut before the server hears of it, others when it has, a little later or in the next message.
                    match seen {
                        None => After::Go,
                        Some(0 | 1) => After::CutBefore,
                        Some(2) => After::Cut(Duration::ZERO),
                        Some(3) => After::Cut(Duration::from_millis(2)),
                        Some(4) => After::Cut(Duration::from_millis(30)),
                        Some(_) => After::Go,
                    }
                };
                std::thread::spawn(move || pass(client, server, watch));
            }
        });
        Self { port, armed }
    }
}

enum After {
    Go,
    CutBefore,
    Cut(Duration),
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut watch: impl FnMut(&[u8]) -> After) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let after = watch(&buffer[..count]);
        if matches!(after, After::CutBefore) || to.write_all(&buffer[..count]).is_err() {
            break;
        }
        if let After::Cut(wait) = after {
            std::thread::sleep(wait);
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn cut_at_commit(kind: Kind) {
    let Some(server) = kind.server() else { return };
    let cuts: i64 = std::env::var("QETL_CUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let url = server.address();
    let (start, rest) = url.rsplit_once('@').unwrap();
    let (address, database) = rest.split_once('/').unwrap();
    let proxy = Proxy::to(address.to_owned());
    let place = server.place_at(&format!("{start}@127.0.0.1:{}/{database}", proxy.port));
    let flow = "id = \"h_change_feed\"\nflow_type = \"change_feed\"\n[input]\nprimary_key = [\"id\"]\ncolumns = [\"id\", \"v\"]\n\
                [properties.load]\nsource_path = \"data\"\nformat = \"csv\"\n";
    let project = TestProject::new(place, flow);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut told_published, mut told_lost) = (0, 0);
    runtime.block_on(async {
        for batch in 1..=cuts {
            let inputs = project.write(&format!("b{batch}"), &[format!("id,v\n1,{batch}\n2,x\n")]);
            let request = Request { batch_id: Some(batch), inputs, ..Request::default() };
            proxy.armed.store(1 + (batch as u32 * 7) % 8, Ordering::SeqCst);
            let report = project.execute(&request).await.unwrap();
            proxy.armed.store(0, Ordering::SeqCst);
            let landed = project.ordered(&format!("SELECT count(*) AS n FROM h_landing WHERE xt_batch_id = {batch}")).await[0][0].clone();
            let feed = project.ordered(&format!("SELECT count(*) AS n FROM h_change_feed WHERE xt_batch_id = {batch}")).await[0][0].clone();
            let is_there = project.engine.records("h_change_feed").await.unwrap().batch(batch).is_some();
            let rows = Some(if is_there { "2" } else { "0" }.to_owned());
            assert_eq!((landed, feed), (rows.clone(), rows), "batch {batch}");
            if report.flows[0].batches[0].status == Status::Succeeded {
                assert!(is_there, "batch {batch} was told to be published");
                told_published += 1;
            } else {
                let error = report.flows[0].batches[0].error.clone().unwrap();
                assert!(!is_there, "batch {batch}: {error:?}");
                assert!(error.message.contains("lost"), "{error:?}");
                told_lost += 1;
                let again = project.execute(&request).await.unwrap();
                assert_eq!(again.flows[0].batches[0].status, Status::Succeeded, "{again:?}");
            }
        }
        let all = project.ordered("SELECT count(*) AS n FROM h_landing").await[0][0].clone();
        assert_eq!(all, Some((2 * cuts).to_string()));
    });
    assert!(told_published > 0 && told_lost > 0, "{told_published} published, {told_lost} lost: both have to be seen");
}

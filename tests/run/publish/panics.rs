//! Data files in which bits have changed: an error that names the file, or rows; never a panic.

use std::{collections::BTreeMap, fs};

use super::{assert_told, data_paths};
use crate::{cli::Cli, crash::copy_of};

/// How many bits are flipped in all.
fn flips() -> usize {
    std::env::var("QETL_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

#[test]
fn a_changed_bit_is_no_panic() {
    let base = Cli::sample();
    base.ok(&["execute"]);
    let cli = copy_of(&base);
    let (mut tally, mut random) = (BTreeMap::<(i32, bool), usize>::new(), 7_u64);
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for path in data_paths(&cli).iter().cycle().take(flips()) {
        let whole = fs::read(path).unwrap();
        let (byte, bit) = (next(whole.len() as u64) as usize, next(8));
        let mut changed = whole.clone();
        changed[byte] ^= 1 << bit;
        fs::write(path, &changed).unwrap();
        let table = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let what = format!("{table}, bit {bit} of byte {byte} of {}", whole.len());
        let sql = format!("SELECT * FROM {table}");
        for command in [&["query", &sql, "--format", "csv"][..], &["verify"]] {
            let output = cli.run(command);
            if output.code != 0 {
                let named = output.stderr.contains(path.file_name().unwrap().to_str().unwrap());
                // A promise that is broken is told by its rows.
                if !output.stdout.contains(" broken\n") {
                    assert_told(&output, &what);
                    assert!(named, "{what}: {output:?}");
                }
                *tally.entry((output.code, named)).or_default() += 1;
            } else {
                *tally.entry((0, false)).or_default() += 1;
            }
        }
        fs::write(path, &whole).unwrap();
    }
    println!("exit codes, and whether the file is named: {tally:?}");
    cli.ok(&["verify"]);
}

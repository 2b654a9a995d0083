//! The flow types that come with qetl: one file each, built from the IR alone.

mod change_feed;
mod delta_publishing;
mod events;
mod growth_accounting;
mod keyed;
mod scd2;
mod sessionization;
mod standard;

use qetl_core::Registry;

/// The registry of every flow type that the binary links. Calling it is what links this crate.
pub fn registry() -> Registry {
    Registry::linked().unwrap_or_else(|why| unreachable!("a test of this crate refuses it: {why}"))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    /// A forgotten `mod` line or registration would make a flow type vanish in silence.
    #[test]
    fn every_file_is_a_registered_flow_type() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files: BTreeSet<String> = fs::read_dir(here)
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".rs").map(str::to_owned))
            .filter(|name| !["lib", "events", "keyed"].contains(&name.as_str()))
            .collect();
        let registered: BTreeSet<String> = super::registry().names().map(str::to_owned).collect();
        assert_eq!(files, registered);
    }
}

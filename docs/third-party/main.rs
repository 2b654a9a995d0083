//! A qetl with one flow type more: this file, and `first_seen.rs`.

mod first_seen;

fn main() -> std::process::ExitCode {
    // Every flow type that is linked is in the registry: those of qetl's own, and ours.
    qetl::main(&qetl_plugins::registry())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_flow_type_is_there_beside_the_others() {
        let names: Vec<&str> = qetl_plugins::registry().names().collect();
        assert!(["change_feed", "first_seen"].iter().all(|name| names.contains(name)), "{names:?}");
    }
}

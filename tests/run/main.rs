//! The program, built with the tests that start it.

fn main() -> std::process::ExitCode {
    qetl::main(&qetl_plugins::registry())
}

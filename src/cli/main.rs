fn main() -> std::process::ExitCode {
    qetl::main(&qetl_plugins::registry())
}

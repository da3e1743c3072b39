//! The `sealpost` program: see `cli` for the commands and `daemon` for the server.

fn main() -> std::process::ExitCode {
    sealpost::cli::run(sealpost::daemon::run)
}

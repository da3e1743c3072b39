//! The `sealpost` program: hands over to `serve`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve"] => sealpost::daemon::run(None),
        ["serve", "--config", file] => sealpost::daemon::run(Some(Path::new(file))),
        _ => {
            eprintln!("usage: sealpost serve [--config FILE]");
            ExitCode::FAILURE
        }
    }
}

//! The command line: options in, exit code out.

use std::io::Write;
use std::process::ExitCode;

use memcarp::config::{self, Invocation};
use memcarp::server;

fn main() -> ExitCode {
    match config::read(std::env::args_os().skip(1)) {
        Ok(Invocation::Serve(config, warnings)) => {
            for warning in warnings {
                say(&format!("warning: {warning}"));
            }
            match server::run(*config) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    say(&error.to_string());
                    // A status has eight bits; what does not fit is a failure all the same.
                    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
                }
            }
        }
        Ok(Invocation::Print(text)) => {
            // Whoever reads may stop early, as head does.
            let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&error.to_string());
            ExitCode::from(error.exit())
        }
    }
}

fn say(what: &str) {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "memcarp: {what}");
}

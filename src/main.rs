//! The command line: options in, exit code out.

use std::fmt::Arguments;
use std::io::Write;
use std::process::ExitCode;

use memcarp::config::{self, Invocation};
use memcarp::server;

fn main() -> ExitCode {
    match config::read(std::env::args_os().skip(1)) {
        Ok(Invocation::Serve(config, warnings)) => {
            for warning in warnings {
                say(format_args!("warning: {warning}"));
            }
            match server::run(*config) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    say(format_args!("memcarp: {error}"));
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
            say(format_args!("memcarp: {error}"));
            ExitCode::from(error.exit())
        }
    }
}

fn say(what: Arguments<'_>) {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "{what}");
}

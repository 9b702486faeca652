//! The command line: arguments in, exit code out.

use std::fmt::Arguments;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

use memcarp::config::{Invocation, LogFormat, NamedFiles, Sources, USAGE, Warning};
use memcarp::{hash_password, health, route, server};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    // Only the first argument, and only exactly: memcached ignores arguments that are no options.
    if args.next_if(|first| first == route::NAME).is_some() {
        let mut out = BufWriter::new(std::io::stdout().lock());
        return answer(route::run(args, std::io::stdin().lock(), &mut out));
    }
    if args.next_if(|first| first == health::NAME).is_some() {
        return match health::run(args, &mut std::io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(health::Refusal { exit, message }) => {
                say(format_args!("memcarp health: {message}"));
                ExitCode::from(exit)
            }
        };
    }
    if args.next_if(|first| first == hash_password::NAME).is_some() {
        return match hash_password::run(args, std::io::stdin().lock(), &mut std::io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(hash_password::Refusal { exit, message }) => {
                say(format_args!("memcarp hash-password: {message}"));
                ExitCode::from(exit)
            }
        };
    }
    let sources = Sources::new(args, std::env::vars_os());
    match sources.read() {
        Ok(Invocation::Serve(config, warnings, files)) => {
            server::log_as(&config);
            for warning in &warnings {
                tracing::warn!("{warning}");
            }
            let format = config.log_format;
            match (server::run(*config, sources), format) {
                (Err(error), LogFormat::Json) => {
                    tracing::error!("{}", told(&error, &files));
                    exit(&error)
                }
                (result, _) => end(result, &files),
            }
        }
        Ok(Invocation::Check(config, warnings, files)) => {
            for warning in &warnings {
                say(format_args!("warning: {warning}"));
            }
            match server::check(&config) {
                Ok(()) if warnings.iter().any(|warning| matches!(warning, Warning::Mistake(_))) => {
                    say(format_args!(
                        "memcarp: correct what the warnings name, or leave it out: a server would start, but not do all \
                         that is written"
                    ));
                    ExitCode::from(USAGE)
                }
                Ok(()) => {
                    print("the configuration is good");
                    ExitCode::SUCCESS
                }
                failed => end(failed, &files),
            }
        }
        Ok(Invocation::Print(text)) => {
            print(text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(format_args!("memcarp: {error}"));
            ExitCode::from(error.exit())
        }
    }
}

fn end(result: Result<(), server::Error>, files: &NamedFiles) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("memcarp: {}", told(&error, files)));
            exit(&error)
        }
    }
}

/// What is wrong; of a file with the place that names it.
fn told(error: &server::Error, files: &NamedFiles) -> String {
    match error.file() {
        Some(file) => files.tell(file, error.to_string()),
        None => error.to_string(),
    }
}

fn exit(error: &server::Error) -> ExitCode {
    // A status has eight bits; what does not fit is a failure all the same.
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
}

fn answer(result: Result<(), route::Refusal>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            say(format_args!("memcarp route: {}", refusal.message));
            ExitCode::from(refusal.exit)
        }
    }
}

fn print(text: &str) {
    // Whoever reads may stop early, as head does.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn say(what: Arguments<'_>) {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "{what}");
}

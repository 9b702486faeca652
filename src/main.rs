//! The command line: options in, exit code out.

fn main() {
    if let Err(error) = memcarp::server::run(memcarp::config::Config::default()) {
        eprintln!("memcarp: {error}");
        std::process::exit(error.exit_code());
    }
}

//! The file of users: any bytes are users or an error that says what to write instead, and nobody comes in without a
//! line of the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memcarp::command::auth::Users;
use std::path::PathBuf;
use std::sync::LazyLock;

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("memcarp-fuzz-users-{}", std::process::id())));

fuzz_target!(|data: &[u8]| {
    std::fs::write(&*FILE, data).expect("a file for temporary use");
    match Users::read(&FILE) {
        Ok(_) => assert!(data.contains(&b':')),
        Err(error) => assert!(error.to_string().len() > 20, "{error}"),
    }
});

//! Files that the configuration names: one that cannot be used is told with the place it is named at.

use super::started::{command, output};
use super::tls::Authority;

#[test]
fn a_file_that_cannot_be_used_is_told_with_its_place() {
    let (mut server, directory) = command(&["--config", "memcarp.toml"]);
    let (mut check, unused) = command(&["--config", "memcarp.toml", "--check-config"]);
    std::fs::remove_dir(unused).unwrap();
    check.current_dir(&directory);
    Authority::new().issue(&directory);
    let tls = "[tls]\ncertificate = \"chain\"\n\nkey = \"key\"\n";
    let metrics = "metrics-ssl-chain-cert = \"chain\"\nmetrics-ssl-key = \"key\"\n";
    for (text, exit, place) in [
        (tls.replace("chain", "none"), 64, "line 2: TLS: none: No such file"),
        (tls.replace("\"key\"", "\"none\""), 64, "line 4: TLS: none: No such file"),
        (tls.replace("key = \"key\"", ""), 64, "line 2: TLS: chain: there is no private key in it"),
        (tls.replace("key = \"key\"", "key = \"chain\""), 64, "line 2 and memcarp.toml line 4: TLS: chain: "),
        (
            format!("{tls}client-certificates = \"required\"\nclient-authorities = \"key\"\n"),
            64,
            "line 4 and memcarp.toml line 6: TLS: key: there is no certificate in it",
        ),
        (metrics.replace("chain\"", "none\""), 64, "line 1: TLS: none: No such file"),
        (metrics.replace("\"key\"", "\"none\""), 64, "line 2: TLS: none: No such file"),
        ("\nauth-file = \"none\"\n".to_owned(), 1, "line 2: -Y none: No such file"),
        ("[auth]\nfile = \"key\"\n".to_owned(), 1, "line 2: -Y key: "),
        ("[metrics]\nauth-file = \"none\"\n".to_owned(), 1, "line 2: --metrics-auth-file none: No such file"),
        ("memory-file = \"none/items\"\n".to_owned(), 1, "line 1: -e "),
    ] {
        std::fs::write(directory.join("memcarp.toml"), &text).unwrap();
        for command in [&mut check, &mut server] {
            let output = output(command);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(exit), "{text}{said}");
            assert!(said.contains(&format!("memcarp: memcarp.toml {place}")), "{text}{said}");
        }
    }

    std::fs::write(directory.join("memcarp.toml"), "auth-file = \"none\"\n").unwrap();
    let said = |command: &mut std::process::Command| String::from_utf8(output(command).stderr).unwrap();
    let long = said(&mut check);
    assert!(long.ends_with(" (-Y is auth-file)\n"), "{long}");
    let by_variable = said(check.env("MEMCARP_AUTH_FILE", "other"));
    assert!(by_variable.starts_with("memcarp: MEMCARP_AUTH_FILE: -Y other: No such file"), "{by_variable}");
    let by_hand = said(check.args(["-Y", "third"]));
    assert!(by_hand.starts_with("memcarp: -Y third: No such file"), "{by_hand}");
    std::fs::remove_dir_all(directory).unwrap();
}

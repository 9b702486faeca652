//! Debian's `/etc/memcached.conf`: memcached's options, one a line. Knows none of them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::error::{Error, FAILURE};

/// The lines that hold options, each with its number and its words.
///
/// They are read as Debian's wrapper reads them: a line that does not begin with `-` speaks to the wrapper, and one
/// that begins with `-d` or `-h` is left out, because a service is neither detached nor asked for help.
pub fn lines(text: &[u8]) -> Result<Vec<(usize, Vec<OsString>)>, Error> {
    let lines = text.split(|&byte| byte == b'\n').enumerate();
    let options = lines
        .filter(|(_, line)| line.starts_with(b"-") && !line.starts_with(b"-d") && !line.starts_with(b"-h"));
    options
        .map(|(at, line)| match words(line) {
            Some(words) => Ok((at + 1, words)),
            None => Err(Error::new(FAILURE, format!("line {}: close the quotation", at + 1))),
        })
        .collect()
}

/// The words of a line as a shell would split it, up to a comment. None if a quotation is left open.
fn words(line: &[u8]) -> Option<Vec<OsString>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut inside = false;
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'#' => break,
            _ if byte.is_ascii_whitespace() => {
                inside = false;
                continue;
            }
            _ => {}
        }
        if !std::mem::replace(&mut inside, true) {
            words.push(Vec::new());
        }
        let word = words.last_mut()?;
        match byte {
            b'\\' => word.extend(bytes.next()),
            b'\'' => quoted(&mut bytes, b'\'', word)?,
            b'"' => quoted(&mut bytes, b'"', word)?,
            _ => word.push(byte),
        }
    }
    Some(words.into_iter().map(OsString::from_vec).collect())
}

fn quoted(bytes: &mut impl Iterator<Item = u8>, quote: u8, word: &mut Vec<u8>) -> Option<()> {
    loop {
        match bytes.next()? {
            byte if byte == quote => return Some(()),
            b'\\' if quote == b'"' => match bytes.next()? {
                byte @ (b'"' | b'\\' | b'$' | b'`') => word.push(byte),
                byte => word.extend([b'\\', byte]),
            },
            byte => word.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<(usize, String)> {
        let joined = |words: Vec<OsString>| {
            words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join("|")
        };
        lines(text.as_bytes()).unwrap().into_iter().map(|(line, words)| (line, joined(words))).collect()
    }

    #[test]
    fn the_file_debian_ships() {
        let text = "# memcached default config file\n\n-d\nlogfile /var/log/memcached.log\n# -v\n-m 64\n-p 11211\n-u memcache\n-l 127.0.0.1\n";
        assert_eq!(
            read(text),
            [
                (6, "-m|64".into()),
                (7, "-p|11211".into()),
                (8, "-u|memcache".into()),
                (9, "-l|127.0.0.1".into())
            ]
        );
    }

    #[test]
    fn comments_quotations_and_blanks() {
        assert_eq!(read("-m 64 # as much"), [(1, "-m|64".into())]);
        assert_eq!(read("-D \\#"), [(1, "-D|#".into())]);
        assert_eq!(read("-s '/a b'  -a\t700\r"), [(1, "-s|/a b|-a|700".into())]);
        assert_eq!(read(r#"-s "/a \"b\n""#), [(1, r#"-s|/a "b\n"#.into())]);
        assert_eq!(read("-D ''"), [(1, "-D|".into())]);
        assert_eq!(read(" -m 64\n-help\n-daemon"), []);
        assert_eq!(lines(b"-m 1\n-s 'open").unwrap_err().to_string(), "line 2: close the quotation");
    }

    proptest! {
        #[test]
        fn no_text_panics(text: Vec<u8>) {
            let _ = lines(&text);
        }
    }
}

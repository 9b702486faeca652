//! Items kept over a restart (`-e`): written to a file when the server stops, read and forgotten when it starts.
//!
//! Beside FILE there is FILE.meta, written last and removed before anybody is served again: items without it are of a
//! server that did not stop in order, and may be older than what their clients have been told since. Items that name
//! sources are left out.

mod record;

use super::error::Error;
use super::log;
use crate::config::Config;
use crate::store::{Cursor, Now, Store};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{AccessFlags, access};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::warn;

use record::MAGIC;

/// Bytes read or written at once.
const BLOCK: usize = 1 << 20;

/// Items looked at under one lock.
const SLICE: usize = 64;

/// Enough of a file to tell whose it is.
const LONGEST_BEGINNING: usize = 32;

/// The file and what has to be the same for its items to be taken over.
#[derive(Clone, Debug)]
pub(super) struct MemoryFile {
    /// As it was asked for, for messages.
    named: PathBuf,
    /// Where it is, links followed.
    path: PathBuf,
    settings: Settings,
}

/// The file of a server that is running: no other takes its items, or writes over them.
#[derive(Debug)]
pub(super) struct Held {
    file: MemoryFile,
    _lock: Option<Flock<File>>,
}

/// Settings under which items may mean something else; memcached compares these too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Settings {
    memory_limit: u64,
    item_max: u64,
    cas: u64,
}

/// What FILE.meta says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meta {
    settings: Settings,
    items: u64,
    cas_ceiling: u64,
}

impl MemoryFile {
    /// The one the configuration asks for.
    pub(super) fn of(config: &Config) -> Option<MemoryFile> {
        let named = std::path::absolute(config.memory_file.as_ref()?).ok()?;
        let path = followed(&named);
        let settings = Settings {
            memory_limit: config.memory_limit as u64,
            item_max: config.item_max as u64,
            cas: u64::from(config.cas),
        };
        Some(MemoryFile { named, path, settings })
    }

    /// Puts the items of a server that stopped in order into an empty store, and makes sure that they can be written
    /// again. A FILE that never held items, or a FILE.meta that cannot be understood, is an error, because it may be
    /// somebody else's.
    pub(super) fn load(&self, store: &Store, now: Now) -> Result<Held, Error> {
        let held = self.hold().and_then(|lock| {
            self.load_items(store, now)?;
            Ok(Held { file: self.clone(), _lock: lock })
        });
        held.map_err(|source| self.error(source))
    }

    /// Whether it could be loaded and saved by whoever this process runs as, as far as can be told without taking it: a
    /// server that uses it may have ended by then.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.check_access().and_then(|()| self.check_own()).map(drop).map_err(|source| self.error(source))
    }

    /// Keeps other servers from FILE, which is made if it is not there, for as long as what is returned lives. None on a
    /// file system without locks.
    fn hold(&self) -> io::Result<Option<Flock<File>>> {
        self.check_access()?;
        self.check_own()?;
        let file = create(&self.path)?;
        let in_use = || {
            let message = "another server uses it; end that one, or give -e another file";
            Err(io::Error::new(ErrorKind::WouldBlock, message))
        };
        let opened = file.metadata()?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                // A server that ends puts another file in its place.
                let found = std::fs::metadata(&self.path)?;
                let is_same = (found.dev(), found.ino()) == (opened.dev(), opened.ino());
                if is_same { Ok(Some(lock)) } else { in_use() }
            }
            Err((_, Errno::EWOULDBLOCK)) => in_use(),
            Err((_, error)) => {
                warn!(
                    "-e: {} cannot be locked ({error}): start no other server with it",
                    self.path.display()
                );
                Ok(None)
            }
        }
    }

    /// Refuses files that would be emptied or replaced and are not the server's own, and answers what FILE.meta says.
    fn check_own(&self) -> io::Result<Option<Meta>> {
        check_own(&self.beside(".tmp"), &[MAGIC, Meta::NAMES[0].as_bytes()])?;
        check_own(&self.path, &[MAGIC])?;
        let path = self.beside(".meta");
        check_own(&path, &[Meta::NAMES[0].as_bytes()])?;
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let meta = Meta::parse(&text).ok_or_else(|| {
            let message = format!("{} is not what was written there; remove it", path.display());
            io::Error::new(ErrorKind::InvalidData, message)
        })?;
        Ok(Some(meta))
    }

    /// Refuses a file that could not be written, also one that could not be replaced when there are items to be lost.
    fn check_access(&self) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(&self.path);
        let allowed = access(directory, AccessFlags::W_OK | AccessFlags::X_OK).and_then(|()| {
            match access(&self.path, AccessFlags::R_OK | AccessFlags::W_OK) {
                Err(Errno::ENOENT) => Ok(()),
                found => found,
            }
        });
        allowed.map_err(io::Error::from).map_err(|error| {
            let message = format!("{error}; give -e a file in a directory that is there and can be written");
            io::Error::new(error.kind(), message)
        })
    }

    fn load_items(&self, store: &Store, now: Now) -> io::Result<()> {
        // Now, rather than when there are items to be lost.
        if let Some(meta) = self.check_own()? {
            std::fs::remove_file(self.beside(".meta"))?;
            if meta.settings == self.settings {
                self.load_described(store, now, meta);
            } else {
                warn!("-e: -m, -I or -C have changed: starting without items");
            }
        }
        create(&self.path)?.set_len(0)
    }

    /// Damage loses the items behind it, and nothing else: those before it have shown to be whole.
    fn load_described(&self, store: &Store, now: Now, meta: Meta) {
        store.raise_cas(meta.cas_ceiling);
        let mut loaded = 0;
        let result = File::open(&self.path).and_then(|file| {
            let mut file = BufReader::with_capacity(BLOCK, file);
            let mut magic = [0; MAGIC.len()];
            file.read_exact(&mut magic)?;
            if magic != *MAGIC {
                return Err(ErrorKind::InvalidData.into());
            }
            while loaded < meta.items {
                record::load(&mut file, store, now)?;
                loaded += 1;
            }
            Ok(())
        });
        match result {
            Ok(()) if loaded == 1 => log(format_args!("-e: 1 item is back")),
            Ok(()) => log(format_args!("-e: {loaded} items are back")),
            Err(error) => warn!("-e: only {loaded} of {} items are back: {error}", meta.items),
        }
    }

    fn save_items(&self, store: &Store, now: Now, cancel: &AtomicBool) -> io::Result<bool> {
        self.check_own()?;
        let beside = self.beside(".tmp");
        let file = create_anew(&beside)?;
        // FILE's own lock does not hold what is moved there, and whoever starts before it is described would empty it.
        let _lock = Flock::lock(file.try_clone()?, FlockArg::LockExclusiveNonblock).ok();
        let mut file = BufWriter::with_capacity(BLOCK, file);
        file.write_all(MAGIC)?;
        let (mut items, mut result) = (0, Ok(()));
        let mut cursor = Cursor::default();
        loop {
            let more = store.scan(&mut cursor, SLICE, now, |item| {
                // What an item was derived from is not in the file, so it could outlive a change of its source.
                if result.is_ok() && item.source_count() == 0 {
                    result = record::save(&mut file, item, now);
                    items += 1;
                }
            });
            std::mem::replace(&mut result, Ok(()))?;
            if cancel.load(Ordering::Relaxed) {
                std::fs::remove_file(&beside)?;
                return Ok(false);
            }
            if !more {
                break;
            }
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&beside, &self.path)?;
        let meta = Meta { settings: self.settings, items, cas_ceiling: store.cas_ceiling() };
        create_anew(&beside)?.write_all(meta.text().as_bytes())?;
        std::fs::rename(&beside, self.beside(".meta"))?;
        Ok(true)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.as_os_str().to_owned();
        path.push(suffix);
        path.into()
    }

    fn error(&self, source: io::Error) -> Error {
        Error::MemoryFile { path: self.named.display().to_string(), source }
    }
}

impl Held {
    /// Writes the items of a server that has stopped. False if `cancel` became true before that was done.
    pub(super) fn save(&self, store: &Store, now: Now, cancel: &AtomicBool) -> Result<bool, Error> {
        self.file.save_items(store, now, cancel).map_err(|source| self.file.error(source))
    }
}

impl Meta {
    const NAMES: [&str; 5] = ["memory_limit", "item_max", "cas", "items", "cas_ceiling"];

    fn text(&self) -> String {
        let Settings { memory_limit, item_max, cas } = self.settings;
        let numbers = [memory_limit, item_max, cas, self.items, self.cas_ceiling];
        Meta::NAMES.iter().zip(numbers).map(|(name, number)| format!("{name} {number}\n")).collect()
    }

    fn parse(text: &str) -> Option<Meta> {
        let mut lines = text.lines();
        let mut numbers = [0; Meta::NAMES.len()];
        for (name, number) in Meta::NAMES.iter().zip(&mut numbers) {
            *number = lines.next()?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()?;
        }
        let [memory_limit, item_max, cas, items, cas_ceiling] = numbers;
        Some(Meta { settings: Settings { memory_limit, item_max, cas }, items, cas_ceiling })
    }
}

/// The file that a link leads to, whether it is there or not: what is written beside and over it would take the place of
/// the link.
fn followed(path: &Path) -> PathBuf {
    match (std::fs::read_link(path), path.parent()) {
        (Ok(target), Some(directory)) => {
            std::fs::canonicalize(path).unwrap_or_else(|_| directory.join(target))
        }
        _ => path.to_owned(),
    }
}

/// Refuses a file that is about to be emptied or replaced, and is none or does not begin as what is written there.
fn check_own(path: &Path, beginnings: &[&[u8]]) -> io::Result<()> {
    let refuse = |why: &str| {
        let message = format!("{} {why}; give -e another file, or remove it", path.display());
        Err(io::Error::new(ErrorKind::InvalidData, message))
    };
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return refuse("is no regular file"),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let mut beginning = Vec::new();
    File::open(path)?.take(LONGEST_BEGINNING as u64).read_to_end(&mut beginning)?;
    match beginning.is_empty() || beginnings.iter().any(|own| beginning.starts_with(own)) {
        true => Ok(()),
        false => refuse("holds something else than memcarp's items"),
    }
}

/// A file that is new, whatever stood there: a link is not followed, and nobody has it open.
fn create_anew(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// A file to be written, which only its user may read if it is new: everybody's items are to be in it.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{CasChange, Change, Expiry, Key, NewItem, NewValue, Options, Origin};
    use std::os::unix::fs::PermissionsExt;

    const OPTIONS: Options = Options {
        limit: 64 << 20,
        item_limit: 8 << 20,
        no_evictions: false,
        workers: 1,
        eviction: crate::store::Eviction::Ranked,
    };

    fn now() -> Now {
        Now::new(Now::EARLIEST + 500, 1_700_000_000)
    }

    /// A memory file in a directory of its own, removed at the end.
    struct Place(PathBuf, MemoryFile);

    impl Place {
        fn new(name: &str) -> Place {
            let directory =
                std::env::temp_dir().join(format!("memcarp-restart-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&directory).expect("a directory for the test");
            let config = Config { memory_file: Some(directory.join("items")), ..Config::default() };
            Place(directory, MemoryFile::of(&config).expect("a memory file was asked for"))
        }

        fn save(&self, store: &Store, now: Now) {
            let saved = self.1.save_items(store, now, &AtomicBool::new(false));
            assert!(saved.expect("the file can be written"));
        }

        fn load(&self, now: Now) -> Store {
            let store = Store::new(&OPTIONS);
            self.1.load(&store, now).expect("the file can be read");
            store
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn key(bytes: &[u8]) -> Key<'_> {
        Key::new(bytes).expect("a good key")
    }

    fn put(store: &Store, name: &str, value: &[u8], change: impl FnOnce(&mut NewItem<'_>)) {
        let value = match value.len() <= store.inline_limit() {
            true => NewValue::Bytes(value),
            false => {
                let mut incoming = store.incoming(value.len());
                let mut at = 0;
                while incoming.missing() > 0 {
                    let space = incoming.space().expect("there is memory");
                    let count = space.len();
                    space.copy_from_slice(&value[at..at + count]);
                    at += count;
                    incoming.filled(count);
                }
                NewValue::Received(incoming)
            }
        };
        let mut item = NewItem::plain(value, 0, Expiry::NEVER);
        change(&mut item);
        assert!(!store.update(key(name.as_bytes()), now(), |_| (Change::Put(item), ())).refused);
    }

    fn value(store: &Store, name: &str, now: Now) -> Option<Vec<u8>> {
        store.read(key(name.as_bytes()), now, |found| {
            found.ok().map(|item| item.value().slices().flatten().copied().collect())
        })
    }

    #[test]
    fn items_come_back_with_all_that_is_said_of_them() {
        let place = Place::new("whole");
        let store = Store::new(&OPTIONS);
        let long: Vec<u8> = (0..3_000_000u32).map(|index| (index % 251) as u8).collect();
        put(&store, "long", &long, |_| {});
        put(&store, "empty", b"", |item| item.client_flags = u32::MAX);
        put(&store, "marked", b"v", |item| {
            item.expiry = Expiry::after(100, now());
            item.cas = CasChange::Set(77);
            (item.binary_key, item.stale, item.lease_granted) = (true, true, true);
        });
        put(&store, "short-lived", b"v", |item| item.expiry = Expiry::after(5, now()));
        let shown = store.read(key(b"empty"), now(), |found| found.ok().map(|item| item.cas()));
        place.save(&store, now());

        // Ten seconds later by the wall clock, on a clock of its own.
        let later = Now::new(Now::EARLIEST + 7, 1_700_000_010);
        let back = place.load(later);
        assert_eq!(value(&back, "long", later), Some(long));
        assert_eq!(value(&back, "short-lived", later), None);
        back.read(key(b"marked"), later, |found| {
            let item = found.expect("it was stored");
            assert_eq!(item.cas(), 77);
            assert!(item.binary_key() && item.stale() && item.lease_granted());
            let deadline = item.expiry().deadline().expect("it has an expiry");
            assert_eq!(later.unix_at(deadline.get()), 1_700_000_101, "the first whole second after 100.5");
        });
        back.read(key(b"empty"), later, |found| {
            let item = found.expect("it was stored");
            assert_eq!((item.client_flags(), Some(item.cas())), (u32::MAX, shown));
        });
        // A CAS value is not given out twice.
        put(&back, "new", b"v", |_| {});
        let fresh = back.read(key(b"new"), later, |found| found.ok().map(|item| item.cas()));
        assert!(fresh > Some(store.cas_ceiling()), "{fresh:?}");
    }

    #[test]
    fn nobody_else_may_read_the_items() {
        let place = Place::new("mode");
        let mode = || std::fs::metadata(&place.1.path).expect("it is there").permissions().mode() & 0o777;
        let store = place.load(now());
        assert_eq!(mode(), 0o600, "when the server starts");
        place.save(&store, now());
        assert_eq!(mode(), 0o600, "when it has stopped");
    }

    #[test]
    fn what_was_derived_from_other_items_is_left_out() {
        let place = Place::new("derived");
        let store = Store::new(&OPTIONS);
        put(&store, "source", b"v", |_| {});
        let mut derivation = store.derivation();
        assert!(store.name_source(&mut derivation, key(b"source"), None, now()));
        put(&store, "derived", b"v", |item| item.origin = Origin::Derived(derivation));
        assert!(value(&store, "derived", now()).is_some());
        place.save(&store, now());
        let back = place.load(now());
        assert!(value(&back, "source", now()).is_some());
        assert_eq!(value(&back, "derived", now()), None);
    }

    #[test]
    fn items_are_taken_once_and_only_after_a_stop_in_order() {
        let place = Place::new("once");
        let store = Store::new(&OPTIONS);
        put(&store, "k", b"v", |_| {});
        place.save(&store, now());
        assert_eq!(value(&place.load(now()), "k", now()), Some(b"v".to_vec()));
        assert_eq!(value(&place.load(now()), "k", now()), None);

        place.save(&store, now());
        std::fs::remove_file(place.1.beside(".meta")).expect("it was written");
        assert_eq!(value(&place.load(now()), "k", now()), None);
    }

    #[test]
    fn other_settings_start_empty_and_a_strange_meta_file_does_not_start() {
        let place = Place::new("settings");
        let store = Store::new(&OPTIONS);
        put(&store, "k", b"v", |_| {});
        place.save(&store, now());
        let mut other = place.1.clone();
        other.settings.item_max += 1;
        let empty = Store::new(&OPTIONS);
        other.load(&empty, now()).expect("other settings are no error");
        assert_eq!(value(&empty, "k", now()), None);

        std::fs::write(place.1.beside(".meta"), "").expect("the directory is there");
        let error = place.1.load(&empty, now()).expect_err("it is empty");
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn two_servers_do_not_share_a_file() {
        let place = Place::new("locked");
        let store = Store::new(&OPTIONS);
        put(&store, "k", b"v", |_| {});
        let held = place.1.load(&store, now()).expect("nobody has it");
        let error = place.1.load(&Store::new(&OPTIONS), now()).expect_err("it is held");
        assert_eq!(error.exit_code(), 1);
        let message = error.to_string();
        assert!(
            message.ends_with("another server uses it; end that one, or give -e another file"),
            "{message}"
        );
        assert!(held.save(&store, now(), &AtomicBool::new(false)).expect("the file can be written"));
        drop(held);
        assert!(value(&place.load(now()), "k", now()).is_some());
    }

    /// A file that took the place of the items: what is said of those does not make it ours.
    #[test]
    fn a_file_of_somebody_else_in_place_of_the_items_is_not_emptied() {
        let place = Place::new("foreign-items");
        let store = Store::new(&OPTIONS);
        let mut other = place.1.clone();
        other.settings.item_max += 1;
        place.save(&store, now());
        std::fs::write(&place.1.path, "to be kept").expect("the directory is there");
        let told = [
            place.1.load(&store, now()).expect_err("it is not one of ours"),
            other.load(&store, now()).expect_err("it is not one of ours"),
        ];
        for error in told {
            assert!(error.to_string().contains("items holds something else"), "{error}");
        }
        // It came while the server was running.
        let refused = place.1.save_items(&store, now(), &AtomicBool::new(false));
        assert!(
            refused.expect_err("it is not one of ours").to_string().contains("items holds something else")
        );
        assert_eq!(std::fs::read(&place.1.path).expect("it is there"), b"to be kept");
    }

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_written() {
        let place = Place::new("link");
        let store = Store::new(&OPTIONS);
        put(&store, "k", b"v", |_| {});
        let (link, target) = (place.0.join("link"), place.0.join("target"));
        std::os::unix::fs::symlink("target", &link).expect("the directory is there");
        // At first the link leads nowhere.
        for _ in 0..2 {
            let config = Config { memory_file: Some(link.clone()), ..Config::default() };
            let file = MemoryFile::of(&config).expect("a memory file was asked for");
            let held = file.load(&Store::new(&OPTIONS), now()).expect("nobody has it");
            assert!(held.save(&store, now(), &AtomicBool::new(false)).expect("the file can be written"));
            drop(held);
            assert!(std::fs::symlink_metadata(&link).expect("it is there").is_symlink());
            let back = Store::new(&OPTIONS);
            let direct = Config { memory_file: Some(target.clone()), ..Config::default() };
            let held = MemoryFile::of(&direct).expect("a memory file was asked for").load(&back, now());
            let held = held.expect("nobody has it");
            assert!(value(&back, "k", now()).is_some());
            assert!(held.save(&store, now(), &AtomicBool::new(false)).expect("the file can be written"));
        }
    }

    #[test]
    fn a_file_of_somebody_else_is_not_emptied() {
        let place = Place::new("foreign");
        for foreign in [&b"to be kept"[..], b"x", &MAGIC[..MAGIC.len() - 1], b"memory_limit 64"] {
            std::fs::write(&place.1.path, foreign).expect("the directory is there");
            let error = place.1.load(&Store::new(&OPTIONS), now()).expect_err("it is not one of ours");
            assert!(error.to_string().contains("give -e another file, or remove it"), "{error}");
            assert_eq!(std::fs::read(&place.1.path).expect("it is there"), foreign);
        }
        // Items of a server that did not stop in order, and a file that was made for them.
        for own in [&[][..], &[&MAGIC[..], b"half an item"].concat()] {
            std::fs::write(&place.1.path, own).expect("the directory is there");
            place.load(now());
            assert_eq!(std::fs::read(&place.1.path).expect("it is there"), b"");
        }
    }

    /// What stands where the items are written before they take the file's place.
    #[test]
    fn a_file_of_somebody_else_beside_it_is_not_emptied() {
        let place = Place::new("foreign-beside");
        let beside = place.1.beside(".tmp");
        let store = Store::new(&OPTIONS);
        put(&store, "k", b"v", |_| {});
        std::fs::write(&beside, "to be kept").expect("the directory is there");
        let told = [
            place.1.load_items(&store, now()).expect_err("it is not one of ours"),
            place.1.save_items(&store, now(), &AtomicBool::new(false)).expect_err("it is not one of ours"),
        ];
        for error in told {
            assert!(error.to_string().contains("items.tmp holds something else"), "{error}");
        }
        assert_eq!(std::fs::read(&beside).expect("it is there"), b"to be kept");
        std::fs::remove_file(&beside).expect("it is there");

        // What cannot be read to its end is not waited for.
        std::fs::create_dir(&beside).expect("the directory is there");
        let error = place.1.load(&store, now()).expect_err("it is a directory");
        assert!(error.to_string().contains("items.tmp is no regular file"), "{error}");
        std::fs::remove_dir(&beside).expect("it is there");

        // Of a server that was killed while it wrote; readable by others, which what is written now is not.
        for own in [&[][..], &[&MAGIC[..], b"half an item"].concat(), b"memory_limit 6"] {
            std::fs::write(&beside, own).expect("the directory is there");
            std::fs::set_permissions(&beside, PermissionsExt::from_mode(0o644)).expect("it is ours");
            place.save(&store, now());
            let mode = std::fs::metadata(&place.1.path).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(value(&place.load(now()), "k", now()).is_some());
        }
        // A link is taken away, and where it leads to stays.
        let target = place.0.join("target");
        std::fs::write(&target, "").expect("the directory is there");
        std::os::unix::fs::symlink(&target, &beside).expect("the directory is there");
        place.save(&store, now());
        assert_eq!(std::fs::read(&target).expect("it is there"), b"");
    }

    #[test]
    fn damage_loses_what_is_behind_it_only() {
        let place = Place::new("damage");
        let store = Store::new(&OPTIONS);
        for name in ["a", "b", "c"] {
            put(&store, name, &[b'v'; 1000], |_| {});
        }
        place.save(&store, now());
        let mut bytes = std::fs::read(&place.1.path).expect("it was written");
        let last = bytes.len() - 100;
        bytes[last] ^= 1;
        std::fs::write(&place.1.path, &bytes).expect("it can be written");
        let back = place.load(now());
        let found = ["a", "b", "c"].iter().filter(|name| value(&back, name, now()).is_some()).count();
        assert_eq!(found, 2);
    }
}

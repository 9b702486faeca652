//! In place of `src/store/sync.rs`: the same names, by loom.

pub use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use loom::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

const FIRST_PANIC: &str = "a model ends at its first panic";

#[derive(Debug)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub fn new(value: T) -> Mutex<T> {
        Mutex(loom::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect(FIRST_PANIC)
    }
}

#[derive(Debug)]
pub struct RwLock<T>(loom::sync::RwLock<T>);

impl<T: Default> Default for RwLock<T> {
    fn default() -> RwLock<T> {
        RwLock(loom::sync::RwLock::new(T::default()))
    }
}

impl<T> RwLock<T> {
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().expect(FIRST_PANIC)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().expect(FIRST_PANIC)
    }
}

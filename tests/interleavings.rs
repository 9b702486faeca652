//! The store's budget (`src/store/pool.rs`) in every order in which two threads may meet, and with every value that a
//! relaxed load may then see, by loom.

/// The directory of the store, of which this compiles one file.
#[path = "../src/store"]
mod store {
    /// In place of `src/store/sync.rs`: the same names, by loom.
    mod sync {
        use loom::sync::MutexGuard;
        pub use loom::sync::atomic::{AtomicUsize, Ordering};

        #[derive(Debug)]
        pub struct Mutex<T>(loom::sync::Mutex<T>);

        impl<T> Mutex<T> {
            pub fn new(value: T) -> Mutex<T> {
                Mutex(loom::sync::Mutex::new(value))
            }

            pub fn lock(&self) -> MutexGuard<'_, T> {
                self.0.lock().expect("a model ends at its first panic")
            }
        }
    }

    #[allow(dead_code, unused_imports, reason = "models need a part of it")]
    mod pool;

    /// What threads may do with the budget at the same time.
    pub mod models {
        use super::pool::{Block, Piece, Pool};
        use loom::thread;
        use std::sync::Arc;

        /// Two units make up a block.
        const UNIT: usize = 4096;
        const BLOCK: usize = 2 * UNIT;

        /// A budget of so many blocks, of which one is in use.
        fn pool(blocks: usize) -> (Arc<Pool>, Block) {
            let pool = Arc::new(Pool::new(blocks * BLOCK, BLOCK, 1));
            let block = pool.try_block().expect("an empty budget has room");
            (pool, block)
        }

        /// Does two things at once.
        fn both<T: 'static, U>(
            pool: &Arc<Pool>,
            one: impl FnOnce(&Pool) -> T + 'static,
            other: impl FnOnce(&Pool) -> U,
        ) -> (T, U) {
            let shared = pool.clone();
            let thread = thread::spawn(move || one(&shared));
            let other = other(pool);
            (thread.join().expect("a model ends at its first panic"), other)
        }

        /// What is charged is known, and what is kept besides fits the limit.
        fn check(pool: &Pool, charged: usize) {
            assert_eq!(pool.used(), charged);
            let (kept, limit) = (pool.kept_bytes(), pool.limit());
            assert!(kept == 0 || charged + kept <= limit, "{charged} charged, {kept} kept, {limit} allowed");
        }

        pub fn a_block_given_back_makes_way_for_a_charge_at_the_same_time() {
            let (pool, block) = pool(1);
            both(&pool, |pool| pool.charge(BLOCK), |pool| pool.give_back(block));
            check(&pool, BLOCK);
        }

        pub fn a_block_given_back_makes_way_for_a_lower_limit_at_the_same_time() {
            let (pool, block) = pool(1);
            both(&pool, |pool| pool.set_limit(UNIT), |pool| pool.give_back(block));
            check(&pool, 0);
        }

        pub fn a_block_given_back_makes_way_for_a_unit_at_the_same_time() {
            let (pool, block) = pool(1);
            let (piece, ()) = both(&pool, |pool| pool.try_piece(UNIT), |pool| pool.give_back(block));
            check(&pool, if piece.is_some() { BLOCK } else { 0 });
        }

        pub fn a_kept_block_is_taken_once_and_the_limit_holds() {
            let (pool, block) = pool(2);
            pool.give_back(block);
            check(&pool, 0);
            let take = |pool: &Pool| {
                let block = pool.try_block();
                assert!(!pool.is_over());
                block
            };
            let (one, other) = both(&pool, take, take);
            assert!(one.is_some() && other.is_some(), "there is room for both");
            assert!(pool.try_block().is_none());
            check(&pool, 2 * BLOCK);
        }

        pub fn the_last_block_goes_to_one() {
            let (pool, block) = pool(2);
            let (one, other) = both(&pool, Pool::try_block, Pool::try_block);
            assert!(one.is_some() != other.is_some());
            check(&pool, 2 * BLOCK);
            one.into_iter().chain(other).chain([block]).for_each(|block| pool.give_back(block));
            check(&pool, 0);
        }

        pub fn blocks_given_back_at_the_same_time_are_both_given_back() {
            let (pool, block) = pool(2);
            let second = pool.try_block().expect("there is room for two");
            both(&pool, |pool| pool.give_back(second), |pool| pool.give_back(block));
            check(&pool, 0);
        }

        pub fn units_taken_and_given_back_at_the_same_time_are_all_counted() {
            let pool = Arc::new(Pool::new(BLOCK, BLOCK, 1));
            let turn = |pool: &Pool| {
                let piece: Piece = pool.try_piece(UNIT).expect("a group has two units");
                assert!(!pool.is_over());
                pool.give_back_piece(piece);
            };
            both(&pool, turn, turn);
            check(&pool, pool.check_units());
        }
    }
}

/// The names of models, and the models.
macro_rules! models {
    ($($name:ident)*) => { [$((stringify!($name), store::models::$name as fn())),*] };
}

/// Tries the models that have a word in their names, or all; says how many as other tests do.
fn main() {
    let models = models![
        a_block_given_back_makes_way_for_a_charge_at_the_same_time
        a_block_given_back_makes_way_for_a_lower_limit_at_the_same_time
        a_block_given_back_makes_way_for_a_unit_at_the_same_time
        a_kept_block_is_taken_once_and_the_limit_holds
        the_last_block_goes_to_one
        blocks_given_back_at_the_same_time_are_both_given_back
        units_taken_and_given_back_at_the_same_time_are_all_counted
    ];
    let word = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let mut passed = 0;
    for (name, model) in models.into_iter().filter(|(name, _)| name.contains(&word)) {
        println!("test {name} ...");
        loom::model(model);
        passed += 1;
    }
    println!("\ntest result: ok. {passed} passed; 0 failed");
}

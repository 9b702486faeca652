//! The store's budget (`src/store/pool.rs`) and its table of sources (`src/store/sources.rs`) in every order in which two
//! threads may meet, and with every value that a relaxed load may then see, by loom.

/// The directory of the store, of which this compiles two files.
#[path = "../../src/store"]
mod store {
    #[allow(dead_code, unused_imports, reason = "models need a part of it")]
    mod pool;
    #[allow(dead_code, reason = "models need a part of it")]
    mod sources;
    #[path = "../../tests/interleavings/sync.rs"]
    mod sync;

    #[path = "../../tests/interleavings/budget.rs"]
    pub mod budget;
    #[path = "../../tests/interleavings/sources.rs"]
    pub mod derived;

    /// Does two things at once.
    fn both<W: 'static, T: 'static, U>(
        world: &std::sync::Arc<W>,
        one: impl FnOnce(&W) -> T + 'static,
        other: impl FnOnce(&W) -> U,
    ) -> (T, U) {
        let shared = world.clone();
        let thread = loom::thread::spawn(move || one(&shared));
        let other = other(world);
        (thread.join().expect("a model ends at its first panic"), other)
    }
}

/// The names of models, and the models.
macro_rules! models {
    ($($file:ident: $($name:ident)*;)*) => { [$($((stringify!($name), store::$file::$name as fn())),*),*] };
}

/// Tries the models that have a word in their names, or all; says how many as other tests do.
fn main() {
    let models = models! {
        budget:
            a_block_given_back_makes_way_for_a_charge_at_the_same_time
            a_block_given_back_makes_way_for_a_lower_limit_at_the_same_time
            a_block_given_back_makes_way_for_a_unit_at_the_same_time
            a_kept_block_is_taken_once_and_the_limit_holds
            the_last_block_goes_to_one
            blocks_given_back_at_the_same_time_are_both_given_back
            units_taken_and_given_back_at_the_same_time_are_all_counted;
        derived:
            an_item_made_from_what_is_updated_meanwhile_is_outdated
            the_first_to_name_what_is_updated_meanwhile_is_outdated
            an_item_made_from_an_item_is_outdated_with_it
            an_item_that_begins_to_depend_on_everything_is_outdated
            an_item_made_from_one_that_depends_on_everything_is_outdated_with_it
            a_source_named_and_let_go_at_the_same_time_is_known_by_who_names_it;
    };
    let word = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let mut passed = 0;
    for (name, model) in models.into_iter().filter(|(name, _)| name.contains(&word)) {
        println!("test {name} ...");
        loom::model(model);
        passed += 1;
    }
    println!("\ntest result: ok. {passed} passed; 0 failed");
}

//! What threads may do with the store's budget at the same time.

use super::both;
use super::pool::{Block, Piece, Pool};
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

//! Listing the store.

use super::output::Output;
use super::session::Context;

/// A listing under way.
pub(super) struct Dump;

impl Dump {
    pub(super) fn advance(&mut self, _output: &mut Output, _context: &Context<'_>) -> bool {
        true
    }
}

//! The members in use at one time, each with its node, and which of them may answer for a key.
//! A fleet never changes; a new member list makes a new one that shares the nodes both have.

use crate::error::Error;
use crate::health::HealthPolicy;
use crate::node::Node;
use crate::route::Carp;
use std::sync::Arc;

/// Fewer members than this never fail open: one of two may well be down.
const FAIL_OPEN_MEMBERS: usize = 3;

pub(crate) struct Fleet {
    pub(crate) epoch: u64,
    pub(crate) carp: Carp,
    /// In the order of the member list.
    pub(crate) nodes: Vec<Arc<Node>>,
}

impl Fleet {
    /// Keeps the nodes of `before` whose member has neither moved nor changed its name.
    pub(crate) fn new(
        carp: Carp,
        before: Option<&Fleet>,
        make: impl Fn(&crate::Member) -> Result<Arc<Node>, Error>,
    ) -> Result<Fleet, Error> {
        let nodes = carp
            .members()
            .iter()
            .map(|member| {
                let same = |node: &&Arc<Node>| {
                    node.member().name() == member.name() && node.member().address() == member.address()
                };
                match before.and_then(|fleet| fleet.nodes.iter().find(same)) {
                    Some(node) => Ok(node.clone()),
                    None => make(member),
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Fleet { epoch: before.map_or(1, |fleet| fleet.epoch + 1), carp, nodes })
    }

    pub(crate) fn owner(&self, key: &[u8]) -> &Arc<Node> {
        &self.nodes[self.carp.owner_index(key)]
    }

    /// The place of the best member in the key's ranking after the owner, if it is up.
    pub(crate) fn stand_in(&self, key: &[u8]) -> Option<usize> {
        let second = self.carp.rank(key).get(1)?.index;
        (!self.nodes[second].is_down()).then_some(second)
    }

    /// Whether to send requests to `node`: it is up, or so many look down that the fault must be here.
    pub(crate) fn admits(&self, node: &Node, policy: &HealthPolicy) -> bool {
        if !node.is_down() {
            return true;
        }
        let down = self.nodes.iter().filter(|node| node.is_down()).count();
        self.nodes.len() >= FAIL_OPEN_MEMBERS
            && down as f64 > self.nodes.len() as f64 * policy.fail_open_above
    }
}

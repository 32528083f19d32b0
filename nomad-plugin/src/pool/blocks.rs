//! The target blocks of a pool's policies as last seen, by the name of their demand.

use fleet::{Discord, Knobs, NodeFilter, Policies};

use super::record::Targets;
use crate::host::Config;
use crate::target::block::Block;

/// The blocks, and what they are together.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    policies: Policies,
    raw: Targets,
    /// Which policy called last: a pool's birth is in its name.
    caller: Option<String>,
}

impl Blocks {
    /// Takes a policy's block. Tells whether it says something new.
    pub(super) fn take(&mut self, block: &Block, raw: &Config) -> Result<bool, Discord> {
        let is_new = self.policies.take(&block.voice, block.terms.clone())?;
        self.caller = Some(block.voice.clone());
        if is_new || !self.raw.contains_key(&block.voice) {
            let own = raw.iter().filter(|(key, _)| !key.starts_with('_'));
            let own = own.map(|(key, value)| (key.clone(), value.clone())).collect();
            self.raw.insert(block.voice.clone(), own);
        }
        Ok(is_new)
    }

    /// Takes the blocks of a record for those policies that have not called in this process yet.
    pub(super) fn inherit(&mut self, targets: &Targets, asks: impl Fn(&str) -> bool) {
        for (voice, raw) in targets {
            if self.policies.knows(voice) || !asks(voice) {
                continue;
            }
            // One that can not be read any more is another version's: its policy will call and tell.
            if let Ok(block) = Block::read(raw, &mut Vec::new())
                && self.policies.take(voice, block.terms).is_ok()
            {
                self.raw.insert(voice.clone(), raw.clone());
            }
        }
    }

    /// Forgets the policy of a demand that has lapsed.
    pub(super) fn forget(&mut self, voice: &str) {
        self.policies.forget(voice);
        self.raw.remove(voice);
    }

    /// Who called last; none before anybody has.
    pub(super) fn caller(&self) -> Option<&str> {
        self.caller.as_deref()
    }

    /// The knobs of the pool.
    pub(super) fn knobs(&self) -> Knobs {
        self.policies.knobs()
    }

    /// The filters that a node must pass.
    pub(super) fn filters(&self) -> Vec<NodeFilter> {
        self.policies.filters()
    }

    /// Why no policy is obeyed now.
    pub(super) fn discord(&self) -> Option<Discord> {
        self.policies.discord()
    }

    /// As they stand in the record.
    pub(super) const fn raw(&self) -> &Targets {
        &self.raw
    }
}

//! What agents of an earlier generation left running is ended before a turn begins here, on a thread of its own: it may take
//! seconds, and the loop has others to serve. Owns the effects that wait for it; whom it ends is not known here.

use super::Driver;
use super::runs::Done;
use crate::environment::BoxFuture;
use evergate_core::effect::Effect;
use evergate_core::id::TurnId;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// How far it is.
pub(super) enum Reclaim {
    /// Nobody needed it so far.
    Due(BoxFuture<()>),
    /// These wait for it.
    UnderWay(Vec<Effect>),
    /// Nothing of an earlier generation is alive.
    Done,
}

impl Reclaim {
    /// Whether somebody waits for it.
    pub(super) const fn is_under_way(&self) -> bool {
        matches!(self, Self::UnderWay(_))
    }
}

impl Driver {
    /// Gives back an effect that may be done now; otherwise it is kept until that is so.
    pub(super) fn once_reclaimed(&mut self, effect: Effect) -> Option<Effect> {
        match &mut self.reclaim {
            Reclaim::Done => return Some(effect),
            Reclaim::UnderWay(waiting) => {
                waiting.push(effect);
                return None;
            }
            Reclaim::Due(_) => {}
        }
        if let Reclaim::Due(reclaim) = std::mem::replace(&mut self.reclaim, Reclaim::UnderWay(vec![effect])) {
            self.begin_to_reclaim(reclaim);
        }
        None
    }

    fn begin_to_reclaim(&mut self, reclaim: BoxFuture<()>) {
        let reclaim = Arc::new(Mutex::new(Some(reclaim)));
        let take = |reclaim: &Mutex<Option<_>>| reclaim.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (done, is_done) = oneshot::channel();
        let there = Arc::clone(&reclaim);
        let task = async move {
            if let Some(reclaim) = take(&there) {
                reclaim.await;
            }
            let _gone_already = done.send(());
        };
        let here = match self.environment.isolate("reclaim", Box::new(move || Box::pin(task))) {
            Ok(()) => None,
            Err(error) => {
                tracing::warn!(%error, "no thread can be had; the loop itself ends what was left running");
                take(&reclaim)
            }
        };
        self.runs.spawn(async move {
            if let Some(reclaim) = here {
                reclaim.await;
            }
            let _either_way = is_done.await;
            Done::Reclaimed
        });
    }

    /// Nothing of an earlier generation is alive any more: what waited for that is done.
    pub(super) fn reclaimed(&mut self) {
        if let Reclaim::UnderWay(waiting) = std::mem::replace(&mut self.reclaim, Reclaim::Done) {
            for effect in waiting {
                // Neither a start nor this is an end.
                let _none = self.act(effect);
            }
        }
    }

    /// A turn whose start may be waiting is to end: then it does not begin.
    pub(super) fn forget_start(&mut self, ended: TurnId) {
        if let Reclaim::UnderWay(waiting) = &mut self.reclaim {
            waiting.retain(|effect| !matches!(effect, Effect::Start { turn, .. } if *turn == ended));
        }
    }
}

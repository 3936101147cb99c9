//! The rules held against a whole run, when nothing happens in it any more: what each generation was told and wanted, woven into
//! the history in its journal, as `evergate audit` does with the files of a production machine. It sees the inside of the
//! gateway, where the judges of the chats see the outside.

use super::disk::{Alive, OpenDisk};
use super::world::World;
use evergate::audit::{Audit, Owner, Since};
use evergate::journal::store::Store;
use evergate::journal::{Journal, JournalError};
use evergate_core::invariant::Invariant;
use std::sync::Arc;

/// Looks at all of it, and notes in the logbook what is broken and which rules were looked at.
pub fn audit(world: &World) {
    // The generation that lives has the journal open; to open it once more takes as long as a tenth of a run.
    let looked = match world.open_journal().filter(|_| world.process().ended.is_none()) {
        Some(journal) => look(world, &*journal),
        None => open(world).and_then(|store| look(world, &store)),
    };
    if let Err(error) = looked {
        world.logbook.broken(Invariant::Ack.name(), format!("when all is over the journal cannot be read: {error}"));
    }
}

fn open(world: &World) -> Result<Store, JournalError> {
    let owner = Alive::new(true.into());
    world.platter().take_over(&owner);
    Store::open(Box::new(OpenDisk { platter: Arc::clone(&world.platter), owner }))
}

fn look(world: &World, journal: &dyn Journal) -> Result<(), JournalError> {
    let mut audit = Audit::new(|after| journal.history(after, 1000), Owner::Nobody, Since::Ever);
    for (line, entry) in (1..).zip(std::mem::take(&mut *world.flights())) {
        audit.entry(line, entry)?;
    }
    let report = audit.finish()?;
    for story in &report.stories {
        world.logbook.broken(story.rule, format!("{}, in {}", story.what, story.generation));
    }
    let looked = Invariant::ALL.iter().filter(|rule| report.looked.at(**rule) > 0);
    world.logbook.looked_at(looked.fold(0, |bits, rule| bits | 1 << *rule as u32));
    Ok(())
}

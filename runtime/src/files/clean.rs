//! Old files are removed. A file is old when nothing has touched it for `files.age`, and it stays all the same while something
//! unfinished needs it: an unanswered message, an open turn, a reply that its chat has not got yet.

use super::outbox::OUTBOX;
use crate::driver::Platforms;
use crate::environment::Environment;
use crate::journal::{FILES, Journal, JournalError, attachments};
use crate::watched::Watcher;
use evergate_core::id::TurnId;
use evergate_core::outbox::Content;
use evergate_core::record::Record;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How often old files are looked for.
const EVERY: Duration = Duration::from_secs(6 * 3600);

/// What unfinished business needs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needed {
    files: BTreeSet<PathBuf>,
    /// Turns whose runs may have a folder.
    turns: BTreeSet<TurnId>,
}

/// Removes old files from the start on, until the platforms close.
pub async fn keep_clean(
    journal: Arc<dyn Journal>,
    environment: Arc<dyn Environment>,
    mut closing: Watcher<Platforms>,
    state_dir: PathBuf,
    age: Duration,
) {
    while closing.now() == Platforms::Open {
        if ["files", OUTBOX].iter().any(|folder| state_dir.join(folder).is_dir()) {
            let (journal, state_dir) = (Arc::clone(&journal), state_dir.clone());
            let cleaned = tokio::task::spawn_blocking(move || clean(&*journal, &state_dir, age));
            if let Ok(Err(error)) = cleaned.await {
                tracing::warn!(%error, "old files are not removed, since it cannot be read which of them are needed");
            }
        }
        let next = environment.sleep_until(environment.now() + EVERY);
        tokio::select! {
            biased;
            changed = closing.changed() => if changed.is_none() { return },
            () = next => {}
        }
    }
}

/// Removes what is older than `age` and not needed. What comes to be needed meanwhile has just been written.
fn clean(journal: &dyn Journal, state_dir: &Path, age: Duration) -> Result<(), JournalError> {
    let needed = needed(journal)?;
    for folder in entries(&state_dir.join("files")) {
        for file in entries(&folder) {
            if is_old(&file, age) && !needed.files.contains(&file) {
                removed(&file, std::fs::remove_file(&file));
            }
        }
    }
    for folder in entries(&state_dir.join(OUTBOX)) {
        let turn = folder.file_name().and_then(|name| name.to_str()?.parse().ok()).map(TurnId);
        if is_old(&folder, age) && turn.is_none_or(|turn| !needed.turns.contains(&turn)) {
            removed(&folder, std::fs::remove_dir_all(&folder));
        }
    }
    Ok(())
}

fn needed(journal: &dyn Journal) -> Result<Needed, JournalError> {
    let mut needed = Needed::default();
    let mut messages = BTreeSet::new();
    for record in journal.unfinished()?.rows.into_values() {
        match record {
            Record::MessageAccepted { message, .. } => drop(messages.insert(message)),
            Record::TurnOpened { turn, messages: of, .. } => {
                needed.turns.insert(turn);
                messages.extend(of);
            }
            Record::DeliveryOwed { content: Content::Reply { turn, .. }, .. } => {
                let files = attachments(journal.row(FILES, &turn.0.to_string())?.as_deref());
                needed.files.extend(files.into_iter().map(|file| file.path));
            }
            _ => {}
        }
    }
    for message in messages {
        let stored = journal.message(message)?;
        needed.files.extend(stored.into_iter().flat_map(|stored| stored.attachments).map(|file| file.path));
    }
    Ok(needed)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn is_old(path: &Path, age: Duration) -> bool {
    let modified = path.symlink_metadata().and_then(|found| found.modified());
    modified.is_ok_and(|modified| SystemTime::now().duration_since(modified).is_ok_and(|since| since > age))
}

fn removed(path: &Path, result: std::io::Result<()>) {
    match result {
        Ok(()) => tracing::debug!(path = %path.display(), "an old file is removed"),
        Err(error) => tracing::warn!(path = %path.display(), %error, "an old file cannot be removed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{REPLIES, folder};
    use crate::journal::store::Store;
    use crate::journal::{Batch, Body, MessageBody, Parcel, Write};
    use crate::native::journal_disk;
    use crate::platform::Attachment;
    use evergate_core::effect::Place;
    use evergate_core::id::{DeliveryId, MessageId, RequestId, SessionId};
    use evergate_core::input::{Asked, Standing};
    use evergate_core::outbox::Fate;
    use evergate_core::turn::Conclusion;

    const AGE: Duration = Duration::from_secs(50);

    /// A file of a state directory that nothing has touched for twice [`AGE`].
    fn old(state: &Path, of: &str, name: &str) -> Attachment {
        let path = folder(state, of).join(name);
        std::fs::create_dir_all(folder(state, of)).unwrap();
        std::fs::write(&path, name).unwrap();
        let then = SystemTime::now() - 2 * AGE;
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        Attachment { path, media_type: "text/plain".into(), name: None }
    }

    fn commit(store: &Store, record: Record, body: Body) {
        let writes = vec![Write { record, body }];
        store.commit(&Batch { writes, ..Batch::default() }).unwrap();
    }

    #[test]
    fn an_old_file_goes_when_nothing_unfinished_needs_it_and_not_before() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::open(journal_disk(state.path())).unwrap();
        let (turn, session, message, delivery) = (TurnId(1), SessionId(1), MessageId(1), DeliveryId(1));
        let [stray, asked, sent] = [("somewhere", "stray"), ("somewhere", "asked"), (REPLIES, "sent")]
            .map(|(of, name)| old(state.path(), of, name));
        let there = || [&stray, &asked, &sent].map(|file| file.path.exists());
        let native = Some("n".to_owned());
        let attachments = vec![asked.clone()];
        let body = MessageBody { session: "main".into(), native, text: "see".into(), from: "me".into(), attachments };
        let (standing, place) = (Standing::Operator, Place::Queued);
        let accepted =
            Record::MessageAccepted { message, session, asked: Asked::Prompt, standing, request: RequestId(0), place };
        commit(&store, accepted, Body::Message(Arc::new(body)));
        let reply = Parcel { text: "here".into(), files: vec![sent.clone()].into() };
        let content = Content::Reply { turn, messages: vec![message] };
        commit(&store, Record::DeliveryOwed { delivery, session, content }, Body::Owed(reply));
        clean(&store, state.path(), AGE).unwrap();
        assert_eq!(there(), [false, true, true]);

        let opened = Record::TurnOpened { turn, session, messages: vec![message], conversation: 0 };
        commit(&store, opened, Body::None);
        clean(&store, state.path(), AGE).unwrap();
        assert_eq!(there(), [false, true, true], "its turn is open");

        commit(&store, Record::DeliverySettled { delivery, fate: Fate::Sent }, Body::None);
        let (messages, conclusion) = (vec![message], Conclusion::Answered);
        commit(&store, Record::TurnEnded { turn, session, messages, attempt: 1, conclusion }, Body::None);
        clean(&store, state.path(), 3 * AGE).unwrap();
        assert_eq!(there(), [false, true, true], "they are young");
        clean(&store, state.path(), AGE).unwrap();
        assert_eq!(there(), [false; 3]);
    }

    #[test]
    fn the_folder_of_a_run_that_nobody_runs_any_more_goes_by_age() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::open(journal_disk(state.path())).unwrap();
        let folder = |turn: &str| state.path().join(OUTBOX).join(turn);
        for turn in ["7", "8", "stray"] {
            std::fs::create_dir_all(folder(turn)).unwrap();
            let opened = std::fs::File::open(folder(turn)).unwrap();
            opened.set_modified(SystemTime::now() - 2 * AGE).unwrap();
        }
        let opened = Record::TurnOpened { turn: TurnId(7), session: SessionId(1), messages: vec![], conversation: 0 };
        commit(&store, opened, Body::None);
        clean(&store, state.path(), AGE).unwrap();
        assert_eq!(["7", "8", "stray"].map(|turn| folder(turn).exists()), [true, false, false]);
    }
}

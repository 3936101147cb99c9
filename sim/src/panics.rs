//! Panics of one run, kept instead of printed: what panics in a simulated life is a finding like a broken rule, and a task
//! that broke may have nobody who notices it. What the journal answers with an error is not among them.

use evergate::journal::store::panics_are_answered;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

thread_local! {
    static CAUGHT: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Runs `body` and gives the panics of this thread meanwhile, its own included.
pub fn catch(body: impl FnOnce()) -> Vec<String> {
    let (_, caught) = kept(body);
    caught
}

/// Runs `body` and gives what it gives, or what it said when it panicked. Whatever it was about to change may be half changed.
pub fn caught<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    let (given, caught) = kept(body);
    given.ok_or_else(|| caught.into_iter().next_back().unwrap_or_default())
}

fn kept<T>(body: impl FnOnce() -> T) -> (Option<T>, Vec<String>) {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let kept = CAUGHT.with_borrow_mut(|caught| match caught {
                Some(caught) => {
                    if !panics_are_answered() {
                        caught.push(said(info));
                    }
                    true
                }
                None => false,
            });
            if !kept {
                before(info);
            }
        }));
    });
    CAUGHT.set(Some(Vec::new()));
    // What it left behind is given up.
    let given = panic::catch_unwind(AssertUnwindSafe(body)).ok();
    (given, CAUGHT.take().unwrap_or_default())
}

/// What a panic said, and where.
fn said(info: &PanicHookInfo<'_>) -> String {
    let what = info.payload_as_str().unwrap_or("something that is no text");
    info.location().map_or_else(|| what.to_owned(), |at| format!("{what} ({}:{})", at.file(), at.line()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_with_its_words_and_its_place_and_what_is_given_otherwise_comes_through() {
        assert_eq!(caught(|| 7), Ok(7));
        let what = caught(|| panic!("turn {} has no session", 3)).unwrap_err();
        assert!(what.starts_with("turn 3 has no session (") && what.contains("panics.rs:"), "{what}");
        assert_eq!(caught(|| 8), Ok(8));
    }
}

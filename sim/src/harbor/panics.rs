//! Panics of one run, kept instead of printed: a task that broke may have nobody who notices it. What the journal answers with
//! an error is not among them.

use evergate::journal::store::panics_are_answered;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static CAUGHT: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Runs `body` and gives the panics of this thread meanwhile, its own included.
pub fn catch(body: impl FnOnce()) -> Vec<String> {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let kept = CAUGHT.with_borrow_mut(|caught| match caught {
                Some(caught) => {
                    if !panics_are_answered() {
                        caught.push(info.to_string());
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
    // The panic is in the list; what it left behind is given up.
    let _panicked = panic::catch_unwind(AssertUnwindSafe(body));
    CAUGHT.take().unwrap_or_default()
}

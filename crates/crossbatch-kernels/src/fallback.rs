//! What of [`crate::pair_rows`] a device has no kernel for runs as the reference body. Nobody should have to find out by
//! the clock: the log (crate `log`, level `warn`) has it once in the process for each reason.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

static TOLD: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// Tells that the reference body runs, because of `reason`.
pub(crate) fn tell(reason: &'static str) {
    // A thread that panicked here left a set as good as any.
    let first = TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(reason);
    if first {
        log::warn!(
            "pair_rows: {reason}; ordinary tensor operations do it, over matrices of anchors x references"
        );
    }
}

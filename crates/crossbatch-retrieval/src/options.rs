//! What a caller may want of a long computation: news, a way out, and a limit.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Error;

/// Progress, cancellation and memory of a search or an evaluation. The default has none of the three.
///
/// # Example
///
/// ```
/// use std::sync::atomic::AtomicBool;
/// use crossbatch_retrieval::Options;
///
/// let stop = AtomicBool::new(false); // set from a Ctrl-C handler
/// let report = |done, total| { let _ = (done, total); };
/// let options = Options::default().with_progress(&report).with_cancel(&stop).with_memory(256 << 20);
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    progress: Option<&'a (dyn Fn(usize, usize) + Sync)>,
    cancel: Option<&'a AtomicBool>,
    memory: Option<usize>,
    /// What of the caller's budget is taken already.
    reserved: usize,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("progress", &self.progress.map(|_| ".."))
            .field("cancel", &self.cancel)
            .field("memory", &self.memory)
            .finish()
    }
}

impl<'a> Options<'a> {
    /// Calls `report` with the work done and its total (in queries), one thread at a time, ascending, the total at the
    /// end.
    pub fn with_progress(self, report: &'a (dyn Fn(usize, usize) + Sync)) -> Self {
        Self { progress: Some(report), ..self }
    }

    /// Gives up with [`Error::Cancelled`] soon after `flag` becomes true.
    pub fn with_cancel(self, flag: &'a AtomicBool) -> Self {
        Self { cancel: Some(flag), ..self }
    }

    /// Keeps memory below `bytes`: everything but the vectors and labels that the caller holds, and the answer of a search;
    /// the ranks of all positives count. Where the smallest possible blocks need more, the answer is [`Error::Memory`] with what would do. Without a budget
    /// blocks are as large as is fast.
    pub fn with_memory(self, bytes: usize) -> Self {
        Self { memory: Some(bytes), ..self }
    }

    /// The same with `bytes` of the budget taken for something that is held meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::Memory`] if the budget has no `bytes` left.
    pub fn less(self, bytes: usize) -> Result<Self, Error> {
        match self.memory {
            None => Ok(self),
            Some(budget) if bytes > budget => Err(self.too_small(bytes)),
            Some(budget) => {
                let reserved = self.reserved.saturating_add(bytes);
                Ok(Self { memory: Some(budget - bytes), reserved, ..self })
            }
        }
    }

    /// The error that work needs `needed` bytes besides what is taken.
    pub(crate) fn too_small(&self, needed: usize) -> Error {
        Error::Memory {
            needed: needed.saturating_add(self.reserved),
            budget: self.memory().saturating_add(self.reserved),
        }
    }

    /// An error of work that ran with the half of this budget that `rest` is: the whole would have to be twice as large.
    pub(crate) fn halved(&self, rest: &Options<'_>, error: Error) -> Error {
        match error {
            Error::Memory { needed, .. } => {
                self.too_small(needed.saturating_sub(rest.reserved).saturating_mul(2))
            }
            other => other,
        }
    }

    /// The budget in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory.unwrap_or(usize::MAX)
    }

    /// An error once the caller wants no more.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.cancel {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }

    /// Counts work of which there is `work` in all, and reports it as a share of `total`.
    pub(crate) fn tally(&self, work: u64, total: usize) -> Tally<'a> {
        Tally { done: Mutex::new((0, 0)), work: work.max(1), total, report: self.progress }
    }
}

/// Counts finished work across threads, so that the caller sees a number that only grows.
pub(crate) struct Tally<'a> {
    /// Work done, and what was last reported.
    done: Mutex<(u64, usize)>,
    work: u64,
    total: usize,
    report: Option<&'a (dyn Fn(usize, usize) + Sync)>,
}

impl Tally<'_> {
    /// Counts `work` more as done.
    pub(crate) fn add(&self, work: u64) {
        let Some(report) = self.report else {
            return;
        };
        // A panic in another thread's report leaves the count itself intact.
        let mut done = self.done.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        done.0 = done.0.saturating_add(work);
        let share = u128::from(done.0) * self.total as u128 / u128::from(self.work);
        let share = usize::try_from(share).unwrap_or(self.total).min(self.total);
        if share > done.1 {
            done.1 = share;
            report(share, self.total);
        }
    }

    /// Everything is done.
    pub(crate) fn finish(&self) {
        self.add(self.work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_reports_shares_that_grow_to_the_total() {
        let calls = Mutex::new(Vec::new());
        let report = |done, total| calls.lock().unwrap().push((done, total));
        let options = Options::default().with_progress(&report);
        let tally = options.tally(1000, 10);
        for _ in 0..20 {
            tally.add(50);
        }
        let expected: Vec<_> = (1..=10).map(|done| (done, 10)).collect();
        assert_eq!(*calls.lock().unwrap(), expected);
    }

    #[test]
    fn a_raised_flag_is_an_error() {
        let flag = AtomicBool::new(false);
        let options = Options::default().with_cancel(&flag);
        assert_eq!(options.check(), Ok(()));
        flag.store(true, Ordering::Relaxed);
        assert_eq!(options.check(), Err(Error::Cancelled));
    }
}

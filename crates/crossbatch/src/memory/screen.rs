//! The codes beside the bank, kept up to date with it.

use std::sync::Arc;

use crossbatch_kernels::Screen;

use super::bank::{Bank, CHUNK, numbers};

/// Takes in rows that were written: what `slots` held `before` and hold `now`, `[slots, D]` each. Slots below `filled`
/// held something before.
pub(super) fn update(
    screen: &mut Arc<Screen>,
    slots: &[u32],
    before: &[f32],
    now: &[f32],
    filled: usize,
) {
    if slots.is_empty() {
        return;
    }
    // Copied where somebody still holds that of an earlier step, as the bank is.
    let screen = Arc::make_mut(screen);
    let dim = now.len() / slots.len();
    let rows = now.chunks_exact(dim).zip(before.chunks_exact(dim));
    for (&slot, (now, before)) in slots.iter().zip(rows) {
        let slot = slot as usize;
        screen.write(slot, now, (slot < filled).then_some(before));
    }
}

/// Starts anew from the first `filled` slots of the bank.
pub(super) fn rebuild(screen: &mut Arc<Screen>, bank: &Bank, filled: usize) {
    let screen = Arc::make_mut(screen);
    screen.clear();
    for start in (0..filled).step_by(CHUNK) {
        let chunk = start..filled.min(start + CHUNK);
        let rows = numbers(bank.embeddings.clone().slice(chunk.clone()));
        let dim = rows.len() / chunk.len();
        for (slot, row) in chunk.zip(rows.chunks_exact(dim)) {
            screen.write(slot, row, None);
        }
    }
}

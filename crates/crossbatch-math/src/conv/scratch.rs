//! Buffers that a thread keeps between calls, because fresh pages cost more than the copies into them.

use std::cell::Cell;

/// What a buffer is for; each use of a thread has its own.
#[derive(Clone, Copy)]
pub(super) enum Use {
    /// Images laid out for the taps.
    Planes,
    /// A dense result on its way to a strided place.
    Result,
    /// Images of a group of the weight gradient.
    Group,
    /// Sums that go on: those of the weight gradient, and of strips that wait for more channels.
    Sums,
    /// Pixels of tiles, in the order in which a product reads them.
    Panels,
}

thread_local! {
    static BUFFERS: [Cell<Vec<f32>>; 5] = const { [const { Cell::new(Vec::new()) }; 5] };
}

/// Runs `body` with a buffer of `len` elements, whose content is whatever an earlier call left.
///
/// The buffer is taken out of its place meanwhile: a nested call of the same use (rayon may run one
/// while it waits) gets a fresh one.
pub(super) fn with<R>(purpose: Use, len: usize, body: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = BUFFERS.with(|buffers| buffers[purpose as usize].take());
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    let result = body(&mut buffer[..len]);
    BUFFERS.with(|buffers| buffers[purpose as usize].set(buffer));
    result
}

//! What can go wrong with a memory.

/// Why rows could not be enqueued or a state not restored. The memory is unchanged then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// More rows than slots: some would be overwritten within the same step.
    #[error(
        "a batch of {batch} does not fit a memory of {capacity}; make the memory at least as large as the batch (`memory.size`)"
    )]
    BatchTooLarge {
        /// Rows in the batch; in a keyed memory different images.
        batch: usize,
        /// Slots in the memory.
        capacity: usize,
    },
    /// A saved state is of another size.
    #[error("the saved memory does not fit: {what} is {found}, expected {expected}")]
    State {
        /// Which part is off.
        what: &'static str,
        /// The saved value.
        found: usize,
        /// The value that fits.
        expected: usize,
    },
    /// A saved state was made with other options.
    #[error(
        "the saved memory does not fit: it was saved with {what} {found}, this one has {expected}"
    )]
    Option {
        /// Which option.
        what: &'static str,
        /// The saved one.
        found: String,
        /// This memory's.
        expected: String,
    },
    /// The order of a saved state's slots is damaged.
    #[error("the saved memory's order of slots is damaged: {what}")]
    Order {
        /// In what way.
        what: &'static str,
    },
}

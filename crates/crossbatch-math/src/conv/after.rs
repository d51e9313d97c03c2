//! What becomes of a convolution's sums before they leave the cache.

use crate::batch_norm::Normalisation;

/// Every path adds the bias itself; the rest is done to what it has just written.
#[derive(Clone, Copy, Default)]
pub(super) struct After<'a> {
    /// Added to each filter's sums.
    pub(super) bias: Option<&'a [f32]>,
    pub(super) normalisation: Option<&'a Normalisation<'a>>,
}

impl<'a> After<'a> {
    pub(super) fn bias(bias: Option<&'a [f32]>) -> Self {
        Self { bias, normalisation: None }
    }

    /// Finishes written elements of the output, the first of which is element `first` of all.
    pub(super) fn finish(&self, first: usize, values: &mut [f32]) {
        if let Some(normalisation) = self.normalisation {
            normalisation.apply(first, values);
        }
    }
}

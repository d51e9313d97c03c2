//! A tensor's images and channels, shared by tasks.

use super::BatchNormShape;
use std::mem::MaybeUninit;

/// The elements of a tensor by image and channel, shared by tasks of which each has its own channels
/// (or its own images and channels).
#[derive(Clone, Copy)]
pub(super) struct Segments {
    shape: BatchNormShape,
    values: *mut f32,
}

// SAFETY: every user gives each (image, channel) to one task.
#[allow(unsafe_code)]
unsafe impl Send for Segments {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Segments {}

#[allow(unsafe_code)]
impl Segments {
    /// The capacity of an empty vector.
    pub(super) fn new(shape: &BatchNormShape, output: &mut Vec<f32>) -> Self {
        assert!(output.capacity() >= shape.len());
        Self { shape: *shape, values: output.as_mut_ptr() }
    }

    /// A buffer that is initialised.
    pub(super) fn of(shape: &BatchNormShape, values: &mut [f32]) -> Self {
        assert_eq!(values.len(), shape.len());
        Self { shape: *shape, values: values.as_mut_ptr() }
    }

    /// Lets `fill` write a segment of an empty vector, every element of it.
    pub(super) fn fill(
        &self,
        image: usize,
        channel: usize,
        fill: impl FnOnce(&mut [MaybeUninit<f32>]),
    ) {
        let range = self.shape.range(image, channel);
        // SAFETY: the range lies in the buffer, this task alone uses it, and nothing is assumed of its contents.
        fill(unsafe {
            std::slice::from_raw_parts_mut(self.values.add(range.start).cast(), range.len())
        });
    }

    /// Copies `from` into its place and lets `change` work on the copy.
    pub(super) fn write(
        &self,
        image: usize,
        channel: usize,
        from: &[f32],
        change: impl FnOnce(&mut [f32]),
    ) {
        let range = self.shape.range(image, channel);
        assert_eq!(from.len(), range.len());
        // SAFETY: the range lies in the buffer, this task alone uses it, and the copy makes it
        // initialised before a slice of it exists.
        unsafe {
            let to = self.values.add(range.start);
            std::ptr::copy_nonoverlapping(from.as_ptr(), to, range.len());
            change(std::slice::from_raw_parts_mut(to, range.len()));
        }
    }

    /// A segment that is initialised.
    pub(super) fn read<'a>(&self, image: usize, channel: usize) -> &'a [f32] {
        let range = self.shape.range(image, channel);
        // SAFETY: only `backward_in_place` and `backward_with_residual` read, from a slice of the shape's length that
        // outlives the call, and drop the segment before `change` gets it.
        unsafe { std::slice::from_raw_parts(self.values.add(range.start), range.len()) }
    }

    /// Lets `change` work on an initialised segment.
    pub(super) fn change(&self, image: usize, channel: usize, change: &dyn Fn(&mut [f32])) {
        let range = self.shape.range(image, channel);
        // SAFETY: as for `read`; this task alone has the channel.
        change(unsafe {
            std::slice::from_raw_parts_mut(self.values.add(range.start), range.len())
        });
    }

    /// Takes the vector whose capacity was written.
    pub(super) fn finish(&self, mut output: Vec<f32>) -> Vec<f32> {
        assert_eq!(output.as_mut_ptr(), self.values);
        // SAFETY: all images and channels were written, which is the whole length.
        unsafe { output.set_len(self.shape.len()) };
        output
    }
}

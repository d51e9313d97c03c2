//! Sizes of a convolution.

use std::ops::Range;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Input channels, a multiple of `groups`.
    pub channels: usize,
    /// Output channels, a multiple of `groups`.
    pub filters: usize,
    /// Rows and columns of an input image.
    pub input: [usize; 2],
    /// Rows and columns of a kernel.
    pub kernel: [usize; 2],
    /// Steps between outputs.
    pub stride: [usize; 2],
    /// Zero rows and columns added at every side.
    pub padding: [usize; 2],
    /// Steps between the taps of a kernel.
    pub dilation: [usize; 2],
    /// Equal parts of channels and filters; a filter sees its own part of the channels only.
    pub groups: usize,
}

impl ConvShape {
    /// Rows and columns of an output image.
    ///
    /// # Panics
    ///
    /// If a stride, a dilation or a kernel side is zero, the kernel's extent `(kernel − 1) · dilation + 1` is larger
    /// than the padded input, or `groups` does not divide channels and filters.
    #[must_use]
    pub fn output(&self) -> [usize; 2] {
        assert!(
            self.groups > 0
                && self.channels.is_multiple_of(self.groups)
                && self.filters.is_multiple_of(self.groups),
            "{} groups must divide {} channels and {} filters",
            self.groups,
            self.channels,
            self.filters
        );
        [0, 1].map(|axis| {
            let padded = self.input[axis] + 2 * self.padding[axis];
            let (stride, kernel, dilation) =
                (self.stride[axis], self.kernel[axis], self.dilation[axis]);
            assert!(
                stride > 0 && kernel > 0 && dilation > 0,
                "stride {stride}, kernel {kernel} and dilation {dilation} must not be zero"
            );
            let extent = (kernel - 1) * dilation + 1;
            assert!(
                padded >= extent,
                "kernel of {extent} is larger than the padded input of {padded}"
            );
            (padded - extent) / stride + 1
        })
    }

    /// Elements of the input.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.batch * self.channels * self.input[0] * self.input[1]
    }

    /// Elements of the weights.
    ///
    /// # Panics
    ///
    /// If `groups` is zero.
    #[must_use]
    pub fn weight_len(&self) -> usize {
        self.filters * self.group_channels() * self.kernel[0] * self.kernel[1]
    }

    /// Elements of the output.
    ///
    /// # Panics
    ///
    /// As [`ConvShape::output`].
    #[must_use]
    pub fn output_len(&self) -> usize {
        let output = self.output();
        self.batch * self.filters * output[0] * output[1]
    }

    /// Channels of one group.
    pub(super) fn group_channels(&self) -> usize {
        self.channels / self.groups
    }

    /// Filters of one group.
    pub(super) fn group_filters(&self) -> usize {
        self.filters / self.groups
    }

    /// The weights of one group.
    pub(super) fn group_weights(&self, group: usize) -> Range<usize> {
        let len = self.weight_len() / self.groups;
        group * len..(group + 1) * len
    }

    /// The classes of input pixels with the same residue `(y + padding) mod stride`, which meet the same taps.
    pub(super) fn residues(&self) -> Vec<Residue> {
        let mut found = Vec::with_capacity(self.stride[0] * self.stride[1]);
        for row in 0..self.stride[0] {
            for column in 0..self.stride[1] {
                let residue = [row, column];
                let first_output = [0, 1].map(|axis| {
                    self.padding[axis].saturating_sub(residue[axis]).div_ceil(self.stride[axis])
                });
                let first = [0, 1].map(|axis| {
                    first_output[axis] * self.stride[axis] + residue[axis] - self.padding[axis]
                });
                let grid = [0, 1].map(|axis| {
                    self.input[axis].saturating_sub(first[axis]).div_ceil(self.stride[axis])
                });
                if grid[0] > 0 && grid[1] > 0 {
                    found.push(Residue { residue, first_output, first, grid });
                }
            }
        }
        found
    }

    /// Whether each channel has a kernel of its own.
    pub(super) fn depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.channels && self.groups == self.filters
    }
}

/// Input pixels that meet the same taps: `first + (y, x) · stride` for `(y, x)` in `grid`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Residue {
    /// Row and column, each `(pixel + padding) mod stride`.
    pub(super) residue: [usize; 2],
    /// The output that belongs to the first pixel.
    pub(super) first_output: [usize; 2],
    /// The first pixel.
    pub(super) first: [usize; 2],
    /// How many there are.
    pub(super) grid: [usize; 2],
}

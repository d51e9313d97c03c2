//! How an image is laid out so that every tap of a convolution is one pointer offset away.
//!
//! An image is copied with its padding into planes. Position `(y, x)` of the output grid is the flat
//! index `y * width + x` of a plane, and each tap reads at a fixed distance from it, so that no patch
//! matrix is built. A stride splits the image into one plane a residue, so that it costs no more than
//! stride 1.

use super::every;
use super::shape::ConvShape;
use crate::lanes::Level;

/// Which source pixels a plane takes: row `r` is source row `r * step + origin`.
#[derive(Clone, Copy, Debug)]
struct Sampling {
    origin: [isize; 2],
    step: [usize; 2],
}

/// The planes of one channel and where each tap reads in them.
#[derive(Clone, Debug)]
pub(super) struct Planes {
    samplings: Vec<Sampling>,
    source: [usize; 2],
    plane: [usize; 2],
    /// Rows and columns of the output grid.
    pub(super) output: [usize; 2],
    /// A tap's distance from the output position, inside a channel.
    pub(super) taps: Vec<usize>,
    /// A tap's index in the kernel, row by row.
    pub(super) kernel_taps: Vec<usize>,
}

impl Planes {
    /// The planes of a convolution's input.
    pub(super) fn of_input(shape: &ConvShape) -> Self {
        let output = shape.output();
        let ConvShape { kernel, stride, padding, dilation, .. } = *shape;
        let reach = [0, 1].map(|axis| (kernel[axis] - 1) * dilation[axis]);
        let phases = [stride[0].min(reach[0] + 1), stride[1].min(reach[1] + 1)];
        let plane = [output[0] + reach[0] / stride[0], output[1] + reach[1] / stride[1]];
        let mut samplings = Vec::with_capacity(phases[0] * phases[1]);
        for row in 0..phases[0] {
            for column in 0..phases[1] {
                samplings.push(Sampling {
                    origin: [
                        row as isize - padding[0] as isize,
                        column as isize - padding[1] as isize,
                    ],
                    step: stride,
                });
            }
        }
        let mut taps = Vec::with_capacity(kernel[0] * kernel[1]);
        for row in (0..kernel[0]).map(|row| row * dilation[0]) {
            for column in (0..kernel[1]).map(|column| column * dilation[1]) {
                let phase = row % stride[0] * phases[1] + column % stride[1];
                taps.push((phase * plane[0] + row / stride[0]) * plane[1] + column / stride[1]);
            }
        }
        let kernel_taps = (0..taps.len()).collect();
        Self { samplings, source: shape.input, plane, output, kernel_taps, taps }
    }

    /// The planes of an output's gradient, for the input pixels of one residue of the stride.
    ///
    /// `grid` is the grid of those input pixels and `first` the output position that belongs to its corner. Without
    /// any tap for this residue there is nothing to read.
    pub(super) fn of_gradient(
        shape: &ConvShape,
        grid: [usize; 2],
        first: [usize; 2],
        residue: [usize; 2],
    ) -> Self {
        let source = shape.output();
        // The kernel's rows (columns) that meet this residue, each with how many outputs it lies back.
        let met = [0, 1].map(|axis| {
            let (stride, dilation) = (shape.stride[axis], shape.dilation[axis]);
            (0..shape.kernel[axis])
                .filter(|tap| tap * dilation % stride == residue[axis])
                .map(|tap| (tap, tap * dilation / stride))
                .collect::<Vec<_>>()
        });
        let [Some(rows_back), Some(columns_back)] =
            [0, 1].map(|axis| met[axis].last().map(|(_, back)| *back))
        else {
            return Self {
                samplings: Vec::new(),
                source,
                plane: grid,
                output: grid,
                taps: Vec::new(),
                kernel_taps: Vec::new(),
            };
        };
        let plane = [grid[0] + rows_back, grid[1] + columns_back];
        let mut taps = Vec::with_capacity(met[0].len() * met[1].len());
        let mut kernel_taps = Vec::with_capacity(taps.capacity());
        // In the order of memory, which the hardware reads ahead best.
        for (row, row_back) in met[0].iter().rev() {
            for (column, column_back) in met[1].iter().rev() {
                taps.push((rows_back - row_back) * plane[1] + columns_back - column_back);
                kernel_taps.push(row * shape.kernel[1] + column);
            }
        }
        let origin =
            [first[0] as isize - rows_back as isize, first[1] as isize - columns_back as isize];
        Self {
            samplings: vec![Sampling { origin, step: [1, 1] }],
            source,
            plane,
            output: grid,
            taps,
            kernel_taps,
        }
    }

    /// Elements of one plane.
    pub(super) fn plane_len(&self) -> usize {
        self.plane[0] * self.plane[1]
    }

    /// Elements of one channel: an odd number of cache lines, because channels that lie a power of
    /// two apart would share few sets of the nearest cache.
    pub(super) fn channel_len(&self) -> usize {
        const LINE: usize = 16;
        let used = self.samplings.len() * self.plane[0] * self.plane[1];
        if used < 4 * LINE {
            return used;
        }
        (used.div_ceil(LINE) | 1) * LINE
    }

    /// Columns of a plane.
    pub(super) fn width(&self) -> usize {
        self.plane[1]
    }

    /// Offsets of every tap of `channels` channels, channel by channel.
    pub(super) fn offsets(&self, channels: usize) -> Vec<usize> {
        let channel_len = self.channel_len();
        (0..channels)
            .flat_map(|channel| self.taps.iter().map(move |tap| channel * channel_len + tap))
            .collect()
    }

    /// The taps that read pixels, not padding, for at least one output of row `y`; all others lie before or behind.
    pub(super) fn taps_inside(&self, y: usize) -> std::ops::Range<usize> {
        let inside = |tap: &usize| {
            let (sampling, row) = (tap / self.plane_len(), tap % self.plane_len() / self.plane[1]);
            let Sampling { origin, step } = self.samplings[sampling];
            let from = ((y + row) * step[0]) as isize + origin[0];
            0 <= from && from < self.source[0] as isize
        };
        let first = self.taps.iter().position(inside).unwrap_or(0);
        let end = self.taps.iter().rposition(inside).map_or(first, |last| last + 1);
        first..end
    }

    /// Lays out one image: `source` holds whole channels, `planes` gets as many.
    pub(super) fn fill(&self, level: Level, source: &[f32], planes: &mut [f32]) {
        let [height, width] = self.source;
        let [rows, columns] = self.plane;
        let channel_len = self.channel_len();
        if channel_len == 0 {
            return;
        }
        for (channel, planes) in planes.chunks_exact_mut(channel_len).enumerate() {
            let source = &source[channel * height * width..][..height * width];
            let (planes, unused) = planes.split_at_mut(self.samplings.len() * rows * columns);
            unused.fill(0.0);
            for (sampling, plane) in
                self.samplings.iter().zip(planes.chunks_exact_mut(rows * columns))
            {
                let inside = sampled(sampling.origin[1], sampling.step[1], columns, width);
                for (row, line) in plane.chunks_exact_mut(columns).enumerate() {
                    let from = (row * sampling.step[0]) as isize + sampling.origin[0];
                    if from < 0 || from >= height as isize || inside.start >= inside.end {
                        line.fill(0.0);
                        continue;
                    }
                    let source = &source[from as usize * width..][..width];
                    let first =
                        ((inside.start * sampling.step[1]) as isize + sampling.origin[1]) as usize;
                    line[..inside.start].fill(0.0);
                    line[inside.end..].fill(0.0);
                    let line = &mut line[inside.clone()];
                    every::take(level, &source[first..], sampling.step[1], line);
                }
            }
        }
    }
}

/// The plane positions whose source position `p * step + origin` lies in `0..limit`.
fn sampled(origin: isize, step: usize, count: usize, limit: usize) -> std::ops::Range<usize> {
    let before = origin.min(0).unsigned_abs().div_ceil(step);
    let room = limit as isize - origin;
    let end = if room <= 0 { 0 } else { (room as usize).div_ceil(step).min(count) };
    before.min(end)..end
}

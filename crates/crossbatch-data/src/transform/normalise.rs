//! From bytes to the network's numbers.

use super::Rectangle;
use crate::error::Error;

/// `(pixel * scale / 255 - mean) / std`, a mean and a deviation for each channel in the order in which
/// the network sees them. [`Normalise::default`] gives `pixel / 255`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalise {
    /// Mean of each channel, in units of `scale`. One-channel networks take the first.
    pub mean: [f32; 3],
    /// Deviation of each channel.
    pub std: [f32; 3],
    /// Whether the network sees blue, green, red.
    pub bgr: bool,
    /// White: 1 or 255.
    pub scale: f32,
}

impl Default for Normalise {
    fn default() -> Self {
        Self::PLAIN
    }
}

impl Normalise {
    /// `pixel / 255`, RGB.
    pub const PLAIN: Self = Self { mean: [0.0; 3], std: [1.0; 3], bgr: false, scale: 1.0 };
    /// What torchvision's and timm's networks trained on ImageNet expect: RGB, 0 to 1.
    pub const IMAGENET: Self =
        Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], bgr: false, scale: 1.0 };
    /// What BN-Inception converted from Caffe expects: BGR, 0 to 255, means 104, 117, 128.
    pub const INCEPTION_BGR: Self =
        Self { mean: [104.0, 117.0, 128.0], std: [1.0; 3], bgr: true, scale: 255.0 };

    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |key, value: String, expected: &str| {
            Err(Error::Setting { key, value, expected: expected.to_owned() })
        };
        if !self.mean.iter().all(|mean| mean.is_finite()) {
            return refuse("images.mean", format!("{:?}", self.mean), "three numbers");
        }
        if !self.std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return refuse("images.std", format!("{:?}", self.std), "three numbers above 0");
        }
        if self.scale != 1.0 && self.scale != 255.0 {
            return refuse("images.white", self.scale.to_string(), "1 or 255");
        }
        Ok(())
    }

    /// What each byte of a channel becomes; `inverted` takes black for white.
    fn table(&self, channel: usize, inverted: bool) -> [f32; 256] {
        let (mean, std) = (self.mean[channel], self.std[channel]);
        std::array::from_fn(|pixel| {
            let share = pixel as f32 / 255.0;
            let share = if inverted { 1.0 - share } else { share };
            (share * self.scale - mean) / std
        })
    }

    /// `[channels, size, size]` numbers back to pixels, interleaved as RGB.
    pub(crate) fn undo(&self, values: &[f32], channels: usize, inverted: bool) -> Vec<u8> {
        let plane = values.len() / channels;
        let mut pixels = vec![0; values.len()];
        for channel in 0..channels {
            let target = if self.bgr { channels - 1 - channel } else { channel };
            for (at, &value) in values[channel * plane..][..plane].iter().enumerate() {
                let share = (value * self.std[channel] + self.mean[channel]) / self.scale;
                let share = if inverted { 1.0 - share } else { share };
                pixels[at * channels + target] = (share * 255.0).round() as u8;
            }
        }
        pixels
    }

    /// All channels' tables.
    pub(crate) fn tables(&self, channels: usize, inverted: bool) -> Vec<[f32; 256]> {
        (0..channels).map(|channel| self.table(channel, inverted)).collect()
    }

    /// `[channels, size, size]` bytes to numbers of the same shape, channels in the network's order.
    pub(crate) fn write(
        &self,
        tables: &[[f32; 256]],
        pixels: &[u8],
        erased: Option<Rectangle>,
        size: usize,
        out: &mut [f32],
    ) {
        let plane = size * size;
        let channels = tables.len();
        for (channel, (table, target)) in tables.iter().zip(out.chunks_exact_mut(plane)).enumerate()
        {
            let from = if self.bgr { channels - 1 - channel } else { channel };
            let source = &pixels[from * plane..(from + 1) * plane];
            target
                .iter_mut()
                .zip(source)
                .for_each(|(value, &pixel)| *value = table[usize::from(pixel)]);
            if let Some(Rectangle { left, top, width, height }) = erased {
                target
                    .chunks_exact_mut(size)
                    .skip(top)
                    .take(height)
                    .for_each(|row| row[left..left + width].fill(0.0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_change_places_and_the_default_is_a_255th() {
        let pixels = [10, 20, 30];
        let mut out = [0.0; 3];
        let bgr = Normalise::INCEPTION_BGR;
        bgr.write(&bgr.tables(3, false), &pixels, None, 1, &mut out);
        assert!(
            out.iter().zip([-74.0, -97.0, -118.0]).all(|(a, b)| (a - b).abs() < 1e-4),
            "{out:?}"
        );
        let plain = Normalise::default();
        plain.write(&plain.tables(3, true), &pixels, None, 1, &mut out);
        assert_eq!(out, [10.0f32, 20.0, 30.0].map(|pixel| 1.0 - pixel / 255.0));
        let erased = Rectangle { left: 0, top: 0, width: 1, height: 1 };
        plain.write(&plain.tables(3, true), &pixels, Some(erased), 1, &mut out);
        assert_eq!(out, [0.0; 3]);
        for normalise in [bgr, plain, Normalise::IMAGENET] {
            for inverted in [false, true] {
                let tables = normalise.tables(3, inverted);
                normalise.write(&tables, &pixels, None, 1, &mut out);
                assert_eq!(normalise.undo(&out, 3, inverted), pixels);
            }
        }
    }
}

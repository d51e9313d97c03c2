//! `[images]`: what happens between a file and the network.

use std::path::PathBuf;

use crossbatch_data::{
    Augment, Corrupt, DecodeOptions, DiskCache, Filter, Fit, LoaderConfig, Normalise, RandomCrop,
    Truncated,
};
use serde::{Deserialize, Serialize};

/// `[images]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ImagesRecipe {
    /// Length to which the short side is resized, before the middle square of `data.image-size` is cut out; 0 squashes
    /// the whole picture to the square. In training only where `crop = "none"`. Default 0.
    pub resize: usize,
    /// `"bilinear"` or `"bicubic"`, antialiased. Default `"bilinear"`.
    pub filter: Filter,
    /// Training crops: `"none"` (as in testing) or `"random-resized"`. Default `"none"`.
    pub crop: CropKind,
    /// Area of a random crop as a share of the picture, from and to. Default [0.2, 1].
    pub scale: [f64; 2],
    /// Aspect ratio of a random crop, from and to. Default [0.75, 1.3333333333333333].
    pub ratio: [f64; 2],
    /// Probability of a horizontal flip in training. Default 0.
    pub flip: f64,
    /// Brightness is multiplied by up to 1 plus or minus this. Default 0.
    pub brightness: f64,
    /// Contrast, likewise. Default 0.
    pub contrast: f64,
    /// Saturation, likewise. Default 0.
    pub saturation: f64,
    /// Hue is turned by up to this part of the circle. Default 0.
    pub hue: f64,
    /// Probability of turning grey. Default 0.
    pub grey: f64,
    /// Probability of erasing a rectangle. Default 0.
    pub erase: f64,
    /// `"none"` (0 to 1), `"imagenet"` or `"inception-bgr"`. Default `"none"`.
    pub preset: Preset,
    /// Mean of each channel, instead of the preset's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<[f32; 3]>,
    /// Deviation of each channel, instead of the preset's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<[f32; 3]>,
    /// Whether channels come as blue, green, red, instead of as the preset says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bgr: Option<bool>,
    /// What white is before mean and deviation, 1 or 255, instead of the preset's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub white: Option<f32>,
    /// Whether an EXIF orientation turns the picture. Default false.
    pub orientation: bool,
    /// JPEG files that end too early: `"refuse"` or `"accept"` (what is missing is grey). Default `"refuse"`.
    pub truncated: Truncated,
    /// Pictures that state more pixels are refused. Default 178956970, Pillow's limit.
    pub max_pixels: u64,
    /// An image that becomes unreadable in training: `"stop"`, or `"skip"` to take another of its class. Default
    /// `"stop"`.
    pub corrupt: Corrupt,
    /// Threads that read images ahead; 0 for as many as `threads`. Default 0.
    pub workers: usize,
    /// Batches that are read ahead. Default 4.
    pub ahead: usize,
    /// Whether training pictures in JPEG files are decoded at 1/2, 1/4 or 1/8 of their size where the crop still has as many
    /// pixels as it is resized to: faster, and a little different. Needs a program with the feature `turbojpeg`, and no
    /// cache. Default false.
    pub scaled_decoding: bool,
    /// Decoded training pictures are kept at their full size in memory, up to this many MiB, where they are augmented.
    /// Default 0.
    pub cache_mib: usize,
    /// Those that do not fit there are kept in a file, up to this many MiB. Default 0.
    pub disk_cache_mib: u64,
    /// The folder of that file. Default: the system's for temporary files.
    pub cache_dir: Option<PathBuf>,
}

/// How training pictures are cropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CropKind {
    /// As in testing.
    None,
    /// A random part, resized.
    RandomResized,
}

/// Named normalisations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// RGB from 0 to 1.
    None,
    /// Mean and deviation of ImageNet.
    Imagenet,
    /// BGR from 0 to 255, less 104, 117, 128.
    InceptionBgr,
}

impl Default for ImagesRecipe {
    fn default() -> Self {
        Self {
            resize: 0,
            filter: Filter::Bilinear,
            crop: CropKind::None,
            scale: [0.2, 1.0],
            ratio: [0.75, 4.0 / 3.0],
            flip: 0.0,
            brightness: 0.0,
            contrast: 0.0,
            saturation: 0.0,
            hue: 0.0,
            grey: 0.0,
            erase: 0.0,
            preset: Preset::None,
            mean: None,
            std: None,
            bgr: None,
            white: None,
            orientation: false,
            truncated: Truncated::Refuse,
            max_pixels: DecodeOptions::DEFAULT.max_pixels,
            corrupt: Corrupt::Stop,
            workers: 0,
            ahead: 4,
            scaled_decoding: false,
            cache_mib: 0,
            disk_cache_mib: 0,
            cache_dir: None,
        }
    }
}

impl ImagesRecipe {
    /// How testing pictures become square.
    pub fn fit(&self) -> Fit {
        if self.resize == 0 { Fit::Squash } else { Fit::CentreCrop { resize: self.resize } }
    }

    /// From bytes to the network's numbers.
    pub fn normalise(&self) -> Normalise {
        let preset = match self.preset {
            Preset::None => Normalise::PLAIN,
            Preset::Imagenet => Normalise::IMAGENET,
            Preset::InceptionBgr => Normalise::INCEPTION_BGR,
        };
        Normalise {
            mean: self.mean.unwrap_or(preset.mean),
            std: self.std.unwrap_or(preset.std),
            bgr: self.bgr.unwrap_or(preset.bgr),
            scale: self.white.unwrap_or(preset.scale),
        }
    }

    /// How files are decoded.
    pub fn decode(&self) -> DecodeOptions {
        DecodeOptions {
            max_pixels: self.max_pixels,
            orientation: self.orientation,
            truncated: self.truncated,
        }
    }

    /// What changes at random in training.
    pub fn augment(&self) -> Augment {
        Augment {
            crop: match self.crop {
                CropKind::None => None,
                CropKind::RandomResized => {
                    Some(RandomCrop { scale: self.scale, ratio: self.ratio })
                }
            },
            flip: self.flip,
            brightness: self.brightness,
            contrast: self.contrast,
            saturation: self.saturation,
            hue: self.hue,
            grey: self.grey,
            erase: self.erase,
        }
    }

    /// How batches are read ahead by a program with `threads` threads (0: every core).
    pub fn loader(&self, seed: u64, threads: usize) -> LoaderConfig {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads == 0 { cores() } else { threads };
        let workers = if self.workers == 0 { threads.min(1024) } else { self.workers };
        LoaderConfig {
            augment: self.augment(),
            seed,
            workers,
            ahead: self.ahead.max(workers),
            views: 1,
            corrupt: self.corrupt,
            cache_bytes: self.cache_mib.saturating_mul(1 << 20),
            scaled_decoding: self.scaled_decoding,
        }
    }

    /// Room for decoded pictures on a disk.
    pub fn disk_cache(&self) -> DiskCache {
        DiskCache {
            folder: self.cache_dir.clone().unwrap_or_else(std::env::temp_dir),
            bytes: self.disk_cache_mib.saturating_mul(1 << 20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_win_over_the_preset() {
        let mut images = ImagesRecipe { preset: Preset::InceptionBgr, ..Default::default() };
        assert_eq!(images.normalise(), Normalise::INCEPTION_BGR);
        images.bgr = Some(false);
        images.std = Some([2.0; 3]);
        let expected = Normalise { bgr: false, std: [2.0; 3], ..Normalise::INCEPTION_BGR };
        assert_eq!(images.normalise(), expected);
    }

    #[test]
    fn the_default_changes_nothing() {
        let images = ImagesRecipe::default();
        assert!(!images.augment().is_on());
        assert_eq!((images.fit(), images.normalise()), (Fit::Squash, Normalise::PLAIN));
        assert_eq!(images.loader(3, 5).workers, 5);
        assert_eq!(ImagesRecipe { workers: 9, ..images }.loader(3, 5).ahead, 9);
    }
}

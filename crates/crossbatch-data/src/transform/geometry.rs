//! Which part of a picture is taken: torchvision's rules, rounding halves to even as Python does.

use rand::{Rng, RngExt};

use super::RandomCrop;
use super::resample::Region;

/// Attempts before a random rectangle is given up.
const TRIES: usize = 10;

/// A rectangle of whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rectangle {
    /// Left edge.
    pub left: usize,
    /// Upper edge.
    pub top: usize,
    /// Width, at least 1.
    pub width: usize,
    /// Height, at least 1.
    pub height: usize,
}

pub(super) fn uniform(rng: &mut impl Rng, from: f64, to: f64) -> f64 {
    from + (to - from) * rng.random::<f64>()
}

/// `RandomResizedCrop`: ten attempts, then the largest middle part of an allowed aspect ratio.
pub(super) fn random_crop(
    rng: &mut impl Rng,
    crop: &RandomCrop,
    width: usize,
    height: usize,
) -> Rectangle {
    let [narrowest, widest] = crop.ratio;
    for _ in 0..TRIES {
        let area = (width * height) as f64 * uniform(rng, crop.scale[0], crop.scale[1]);
        let ratio = uniform(rng, narrowest.ln(), widest.ln()).exp();
        let w = (area * ratio).sqrt().round_ties_even() as usize;
        let h = (area / ratio).sqrt().round_ties_even() as usize;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let top = rng.random_range(0..=height - h);
            let left = rng.random_range(0..=width - w);
            return Rectangle { left, top, width: w, height: h };
        }
    }
    fallback(crop.ratio, width, height)
}

fn fallback([narrowest, widest]: [f64; 2], width: usize, height: usize) -> Rectangle {
    let ratio = width as f64 / height as f64;
    let rounded = |length: f64, most: usize| (length.round_ties_even() as usize).clamp(1, most);
    let (w, h) = if ratio < narrowest {
        (width, rounded(width as f64 / narrowest, height))
    } else if ratio > widest {
        (rounded(height as f64 * widest, width), height)
    } else {
        (width, height)
    };
    Rectangle { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h }
}

/// `RandomErasing` with torchvision's area and aspect ratio, for a square of `size`; rarely none fits.
pub(super) fn erased(rng: &mut impl Rng, size: usize) -> Option<Rectangle> {
    for _ in 0..TRIES {
        let area = (size * size) as f64 * uniform(rng, 0.02, 0.33);
        let ratio = uniform(rng, 0.3f64.ln(), 3.3f64.ln()).exp();
        let height = (area * ratio).sqrt().round_ties_even() as usize;
        let width = (area / ratio).sqrt().round_ties_even() as usize;
        if (1..size).contains(&height) && (1..size).contains(&width) {
            let top = rng.random_range(0..=size - height);
            let left = rng.random_range(0..=size - width);
            return Some(Rectangle { left, top, width, height });
        }
    }
    None
}

/// `Resize(resize)` of the short side, then `CenterCrop(size)`, as the region of the source that the
/// crop covers: only that much is resized, with the whole picture's scale.
pub(super) fn centre_crop(width: usize, height: usize, resize: usize, size: usize) -> Region {
    let (w, h) = if width <= height {
        (resize, resize * height / width)
    } else {
        (resize * width / height, resize)
    };
    let start = |length: usize| ((length - size) as f64 / 2.0).round_ties_even();
    let (across, down) = (width as f64 / w as f64, height as f64 / h as f64);
    let side = size as f64;
    Region::Seen {
        left: start(w) * across,
        top: start(h) * down,
        width: side * across,
        height: side * down,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::generator;

    #[test]
    fn crops_lie_inside_and_keep_to_area_and_ratio() {
        let crop = RandomCrop { scale: [0.2, 1.0], ratio: [0.75, 4.0 / 3.0] };
        let mut rng = generator(&[1]);
        let mut area = 0.0;
        for _ in 0..2000 {
            let part = random_crop(&mut rng, &crop, 300, 200);
            assert!(part.left + part.width <= 300 && part.top + part.height <= 200);
            let ratio = part.width as f64 / part.height as f64;
            assert!((0.74..1.35).contains(&ratio), "{part:?}");
            let share = (part.width * part.height) as f64 / 60_000.0;
            assert!((0.19..=1.0).contains(&share), "{part:?}");
            area += share / 2000.0;
        }
        // A share s fits into 3:2 where the ratio is at least 1.5 s: always up to 0.5, never from 8/9 on, and
        // ln(8 / (9 s)) / ln(16 / 9) of the time between. The mean of that is 0.451.
        assert!((0.44..0.462).contains(&area), "{area}");
    }

    #[test]
    fn what_never_fits_falls_back_to_the_middle() {
        let crop = RandomCrop { scale: [1.0, 1.0], ratio: [0.75, 4.0 / 3.0] };
        let part = random_crop(&mut generator(&[2]), &crop, 400, 100);
        assert_eq!(part, Rectangle { left: 133, top: 0, width: 133, height: 100 });
        let part = random_crop(&mut generator(&[2]), &crop, 100, 400);
        assert_eq!(part, Rectangle { left: 0, top: 133, width: 100, height: 133 });
        let part = random_crop(&mut generator(&[2]), &crop, 1, 1);
        assert_eq!(part, Rectangle { left: 0, top: 0, width: 1, height: 1 });
    }

    #[test]
    fn erased_rectangles_lie_inside() {
        let mut rng = generator(&[3]);
        for _ in 0..500 {
            let part = erased(&mut rng, 32).unwrap();
            assert!(part.left + part.width <= 32 && part.top + part.height <= 32);
        }
        assert_eq!(erased(&mut rng, 1), None);
    }
}

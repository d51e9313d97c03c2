//! Colour jitter on interleaved pixels, with Pillow's rounding.

use super::ColourStep;
use crate::decode::luma;

/// Changes the colours of grey (`channels` 1) or RGB pixels, step by step. Saturation, hue and grey leave grey
/// pictures as they are.
pub(super) fn apply(pixels: &mut [u8], channels: usize, steps: &[ColourStep]) {
    for &step in steps {
        match step {
            ColourStep::Brightness(factor) => {
                pixels.iter_mut().for_each(|pixel| *pixel = blend(0, *pixel, factor));
            }
            ColourStep::Contrast(factor) => {
                let mean = mean_grey(pixels, channels);
                pixels.iter_mut().for_each(|pixel| *pixel = blend(mean, *pixel, factor));
            }
            _ if channels == 1 => {}
            ColourStep::Saturation(factor) => each(pixels, |rgb| {
                let grey = luma(rgb);
                rgb.map(|shade| blend(grey, shade, factor))
            }),
            ColourStep::Hue(turn) => {
                // Pillow keeps the hue in a byte; it wraps around.
                let turn = (turn * 255.0) as i32 as u8;
                each(pixels, |rgb| turned(rgb, turn));
            }
            ColourStep::Grey => each(pixels, |rgb| [luma(rgb); 3]),
        }
    }
}

fn each(pixels: &mut [u8], change: impl Fn([u8; 3]) -> [u8; 3]) {
    pixels.as_chunks_mut::<3>().0.iter_mut().for_each(|rgb| *rgb = change(*rgb));
}

/// `from + factor * (to - from)` in f32, cut to whole numbers and to 0..=255.
fn blend(from: u8, to: u8, factor: f64) -> u8 {
    let (from, to) = (f32::from(from), f32::from(to));
    // `as` cuts off fractions and what lies beyond both ends.
    (from + factor as f32 * (to - from)) as u8
}

fn mean_grey(pixels: &[u8], channels: usize) -> u8 {
    let sum: u64 = if channels == 1 {
        pixels.iter().map(|&shade| u64::from(shade)).sum()
    } else {
        pixels.as_chunks::<3>().0.iter().map(|&rgb| u64::from(luma(rgb))).sum()
    };
    let count = (pixels.len() / channels).max(1);
    (sum as f64 / count as f64 + 0.5) as u8
}

/// Through hue, saturation, value of a byte each.
fn turned([red, green, blue]: [u8; 3], turn: u8) -> [u8; 3] {
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    if most == least {
        return [most; 3];
    }
    let range = f32::from(most - least);
    let [r, g, b] = [red, green, blue].map(|shade| f32::from(most - shade) / range);
    // Pillow's mixture of f32 and f64, so that the cut to a byte falls on the same side.
    let sector = if red == most {
        b - g
    } else if green == most {
        (2.0 + f64::from(r) - f64::from(b)) as f32
    } else {
        (4.0 + f64::from(g) - f64::from(r)) as f32
    };
    let hue = ((f64::from(sector) / 6.0 + 1.0) % 1.0) as f32;
    let hue = ((f64::from(hue) * 255.0) as u8).wrapping_add(turn);
    let saturation = (f64::from(range / f32::from(most)) * 255.0) as u8;

    let sixths = f64::from(hue) * 6.0 / 255.0;
    let sector = sixths.floor();
    let part = (sixths - sector) as f32;
    let strength = (f64::from(saturation) / 255.0) as f32;
    let value = f64::from(most);
    let shade = |share: f64| (value * (1.0 - share)).round().clamp(0.0, 255.0) as u8;
    let p = shade(f64::from(strength));
    let q = shade(f64::from(strength * part));
    let t = shade(f64::from(strength) * (1.0 - f64::from(part)));
    match sector as u8 % 6 {
        0 => [most, t, p],
        1 => [q, most, p],
        2 => [p, most, t],
        3 => [p, q, most],
        4 => [t, p, most],
        _ => [most, p, q],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_one_can_check() {
        let mut pixels = [100, 200, 50, 10, 10, 10];
        apply(&mut pixels, 3, &[ColourStep::Brightness(0.5)]);
        assert_eq!(pixels, [50, 100, 25, 5, 5, 5]);
        apply(&mut pixels, 3, &[ColourStep::Brightness(3.0)]);
        assert_eq!(pixels, [150, 255, 75, 15, 15, 15]);
        // Mean of 10 and 30 is 20: distances from it double.
        let mut grey = [10, 30];
        apply(&mut grey, 1, &[ColourStep::Contrast(2.0), ColourStep::Hue(0.3)]);
        assert_eq!(grey, [0, 40]);
        // A third of the circle takes red to green.
        let mut red = [255, 0, 0];
        apply(&mut red, 3, &[ColourStep::Hue(1.0 / 3.0)]);
        assert_eq!(red, [0, 255, 0]);
        apply(&mut red, 3, &[ColourStep::Saturation(0.0)]);
        assert_eq!(red, [150; 3]);
    }
}

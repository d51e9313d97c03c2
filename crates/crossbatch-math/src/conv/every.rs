//! Every so many pixels of a row.

use crate::lanes::{Level, Masked, for_lanes};

/// Copies `source[0]`, `source[step]`, `source[2 * step]`, … to all of `out`.
pub(super) fn take(level: Level, source: &[f32], step: usize, out: &mut [f32]) {
    match step {
        1 => out.copy_from_slice(&source[..out.len()]),
        2 => for_lanes!(level, second(source: &[f32], out: &mut [f32])),
        _ => {
            assert!(out.is_empty() || (out.len() - 1) * step < source.len());
            for (to, from) in out.iter_mut().zip(source.iter().step_by(step)) {
                *to = *from;
            }
        }
    }
}

#[inline(always)]
#[allow(unsafe_code)]
fn second<L: Masked>(source: &[f32], out: &mut [f32]) {
    assert!(out.is_empty() || 2 * (out.len() - 1) < source.len());
    let below = |count: usize| ((1u64 << count.min(L::LANES)) - 1) as u32;
    for first in (0..out.len()).step_by(L::LANES) {
        let left = out.len() - first;
        let pixels = 2 * left - 1;
        // SAFETY: masks end with the last pixel that is wanted, which lies inside as checked above, and with the last
        // element of `out`; the level was detected.
        unsafe {
            let from = source.as_ptr().add(2 * first);
            let near = L::load_masked(from, below(pixels));
            let behind = from.wrapping_add(L::LANES);
            let far = L::load_masked(behind, below(pixels.saturating_sub(L::LANES)));
            let to = out.as_mut_ptr().add(first);
            L::every_second(near, far, 0).store_masked(to, below(left));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_takes_the_pixels_it_names() {
        let source: Vec<f32> = (0..100).map(|value| value as f32).collect();
        for level in Level::supported() {
            for step in 1..4 {
                for len in 0..34 {
                    let mut out = vec![-1.0; len + 1];
                    let needed = if len == 0 { 0 } else { (len - 1) * step + 1 };
                    take(level, &source[..needed], step, &mut out[..len]);
                    let expected: Vec<f32> = (0..len).map(|at| (at * step) as f32).collect();
                    assert_eq!(out[..len], expected, "{level:?}, step {step}");
                    assert_eq!(out[len], -1.0, "{level:?}, step {step}: behind {len} pixels");
                }
            }
        }
    }
}

//! Every so many pixels of a row.

use crate::lanes::{Level, Masked, WIDEST, for_lanes};

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
    let take = |first: usize| {
        let from = &source[2 * first..];
        let behind = from.len().saturating_sub(L::LANES);
        // SAFETY: masks end with the last pixel of the source; the level was detected.
        unsafe {
            let near = L::load_masked(from.as_ptr(), below(from.len()));
            let far = L::load_masked(from.as_ptr().wrapping_add(L::LANES), below(behind));
            L::every_second(near, far, 0)
        }
    };
    if out.len() < L::LANES {
        if L::LANES < WIDEST {
            // Without AVX-512 a masked store costs more than these few pixels one by one.
            for (to, from) in out.iter_mut().zip(source.iter().step_by(2)) {
                *to = *from;
            }
        } else if !out.is_empty() {
            // SAFETY: the mask ends with the last element of `out`.
            unsafe { take(0).store_masked(out.as_mut_ptr(), below(out.len())) };
        }
        return;
    }
    // The last vector ends with the row: what it shares with its predecessor is written twice.
    let last = out.len() - L::LANES;
    for first in (0..out.len()).step_by(L::LANES) {
        let first = first.min(last);
        // SAFETY: a whole vector from `first` on lies inside.
        unsafe { take(first).store(out.as_mut_ptr().add(first)) };
    }
}

/// Adds all of `source` to `out[0]`, `out[step]`, `out[2 * step]`, …
pub(super) fn add(level: Level, source: &[f32], step: usize, out: &mut [f32]) {
    assert!(source.is_empty() || (source.len() - 1) * step < out.len());
    match step {
        1 => {
            for (to, from) in out.iter_mut().zip(source) {
                *to += from;
            }
        }
        2 => for_lanes!(level, add_second(source: &[f32], out: &mut [f32])),
        _ => {
            for (to, from) in out.iter_mut().step_by(step).zip(source) {
                *to += from;
            }
        }
    }
}

#[inline(always)]
#[allow(unsafe_code)]
fn add_second<L: Masked>(source: &[f32], out: &mut [f32]) {
    let whole = (source.len() / L::LANES).min(out.len() / (2 * L::LANES));
    for vector in 0..whole {
        let first = vector * L::LANES;
        // SAFETY: a whole vector of the source and two of `out` lie inside; the level was detected.
        unsafe {
            let values = L::load(source.as_ptr().add(first));
            let (near, far) = values.interleave(L::splat(0.0));
            let to = out.as_mut_ptr().add(2 * first);
            near.add(L::load(to)).store(to);
            let to = to.add(L::LANES);
            far.add(L::load(to)).store(to);
        }
    }
    let done = whole * L::LANES;
    for (to, from) in out[2 * done..].iter_mut().step_by(2).zip(&source[done..]) {
        *to += from;
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

    #[test]
    fn every_step_adds_to_the_pixels_it_names() {
        for level in Level::supported() {
            for step in 1..4 {
                for len in 0..34 {
                    for behind in [0, 1, 40] {
                        let needed = if len == 0 { 0 } else { (len - 1) * step + 1 };
                        let source: Vec<f32> = (0..len).map(|value| 1.0 + value as f32).collect();
                        let mut out = vec![0.5; needed + behind];
                        add(level, &source, step, &mut out);
                        for (at, value) in out.iter().enumerate() {
                            let met = at % step == 0 && at / step < len;
                            let expected = if met { 1.5 + (at / step) as f32 } else { 0.5 };
                            assert_eq!(*value, expected, "{level:?}, {len} of step {step} at {at}");
                        }
                    }
                }
            }
        }
    }
}

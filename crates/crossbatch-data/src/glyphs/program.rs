//! A class of glyphs: which strokes, and how siblings differ.

use rand::{Rng, RngExt};

use super::GlyphsConfig;
use crate::seed::generator;

/// A point on the paper, which reaches from -1 to 1 both ways.
pub(super) type Point = [f32; 2];

/// One cubic Bézier curve by its four control points.
pub(super) type Stroke = [Point; 4];

/// The strokes of a class, as a steady hand would draw them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Program {
    pub(super) strokes: Vec<Stroke>,
}

const BASE: u64 = 0x6261_7365;
const MEMBER: u64 = 0x6d65_6d62;

impl Program {
    /// Member 0 of a family is its base. Every other member replaces one stroke, round-robin; where
    /// several members replace the same stroke, each keeps away from all earlier versions of it.
    pub(super) fn new(config: &GlyphsConfig, half: u64, family: usize, member: usize) -> Self {
        let mut rng = generator(&[config.seed, BASE, half, family as u64]);
        let count = rng.random_range(2..=4);
        let mut strokes: Vec<Stroke> = Vec::with_capacity(count);
        for _ in 0..count {
            let next = apart(&mut rng, &strokes, 0.4);
            strokes.push(next);
        }
        if member > 0 {
            let changed = (member - 1) % count;
            let mut rng = generator(&[config.seed, MEMBER, half, family as u64, changed as u64]);
            let mut versions = vec![strokes[changed]];
            for _ in 0..=(member - 1) / count {
                let next = variant(&mut rng, &versions, config.difference);
                versions.push(next);
            }
            strokes[changed] = versions[versions.len() - 1];
        }
        Self { strokes }
    }
}

/// A new version of `versions[0]` that keeps one end, and keeps away from all versions so far.
fn variant(rng: &mut impl Rng, versions: &[Stroke], distance: f32) -> Stroke {
    best_of(rng, versions, distance, |rng| {
        let mut next = stroke(rng);
        let kept = if rng.random_bool(0.5) { 0 } else { 3 };
        next[kept] = versions[0][kept];
        next
    })
}

fn apart(rng: &mut impl Rng, others: &[Stroke], distance: f32) -> Stroke {
    best_of(rng, others, distance, stroke)
}

/// The first of a few candidates that lies far enough from all others, or else the farthest.
fn best_of<R: Rng>(
    rng: &mut R,
    others: &[Stroke],
    distance: f32,
    mut make: impl FnMut(&mut R) -> Stroke,
) -> Stroke {
    let mut best = make(rng);
    let mut best_gap = gap(&best, others);
    for _ in 0..40 {
        if best_gap >= distance {
            break;
        }
        let next = make(rng);
        let next_gap = gap(&next, others);
        if next_gap > best_gap {
            (best, best_gap) = (next, next_gap);
        }
    }
    best
}

/// Mean distance of the control points to the nearest other stroke, drawn in either direction.
fn gap(stroke: &Stroke, others: &[Stroke]) -> f32 {
    let mean = |other: [Point; 4]| (0..4).map(|i| length(stroke[i], other[i])).sum::<f32>() / 4.0;
    others
        .iter()
        .map(|&[a, b, c, d]| mean([a, b, c, d]).min(mean([d, c, b, a])))
        .fold(f32::INFINITY, f32::min)
}

fn stroke(rng: &mut impl Rng) -> Stroke {
    let mut ends = [[0.0; 2]; 2];
    for _ in 0..20 {
        ends = [point(rng, 0.75), point(rng, 0.75)];
        if (0.6..=1.5).contains(&length(ends[0], ends[1])) {
            break;
        }
    }
    let between = |rng: &mut _, share: f32| {
        let bend = point(rng, 0.55);
        [0, 1].map(|axis| {
            let straight = ends[0][axis] + share * (ends[1][axis] - ends[0][axis]);
            (straight + bend[axis]).clamp(-0.9, 0.9)
        })
    };
    let first = between(rng, 1.0 / 3.0);
    let second = between(rng, 2.0 / 3.0);
    [ends[0], first, second, ends[1]]
}

fn point(rng: &mut impl Rng, reach: f32) -> Point {
    [rng.random_range(-reach..=reach), rng.random_range(-reach..=reach)]
}

fn length(a: Point, b: Point) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_differ_in_one_stroke() {
        let config = GlyphsConfig::default();
        for family in 0..50 {
            let base = Program::new(&config, 0, family, 0);
            for member in 1..config.family {
                let sibling = Program::new(&config, 0, family, member);
                let changed =
                    base.strokes.iter().zip(&sibling.strokes).filter(|(a, b)| a != b).count();
                assert_eq!((changed, base.strokes.len()), (1, sibling.strokes.len()));
                let earlier = Program::new(&config, 0, family, member - 1);
                assert_ne!(earlier, sibling);
            }
        }
    }

    #[test]
    fn gap_ignores_the_direction_of_the_pen() {
        let line = [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]];
        let back = [line[3], line[2], line[1], line[0]];
        assert_eq!(gap(&line, &[back]), 0.0);
    }
}

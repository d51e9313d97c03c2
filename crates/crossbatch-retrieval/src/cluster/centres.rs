//! Which centre is nearest to each point, found anew only where it can have changed.
//!
//! A point `x` prefers the centre `c` with the largest score `x · c - |c|² / 2`, which is the nearest one. Scores come
//! from block products, and most of them are never computed twice: a centre that stays where it was keeps its scores,
//! so a point needs to meet only the centres that moved, as long as its own is still ahead of everything else it met.

use std::borrow::Cow;

use crossbatch_math::product::{dot_f64, rows_times_rows, squared_distance_f64};
use rayon::prelude::*;

/// Points and centres multiplied together. Fixed, so that the rounding of a product does not hang on threads.
pub(super) const POINTS: usize = 128;
pub(super) const CENTRES: usize = 512;

/// Scores looked at together before any is looked at alone.
const CHUNK: usize = 32;

/// What a point knows of the centres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    /// The centre it belongs to.
    pub(super) owner: u32,
    /// The score of that centre.
    pub(super) best: f32,
    /// No other centre scores more.
    second: f32,
}

/// A place before any centre was met.
const NOWHERE: Place =
    Place { owner: u32::MAX, best: f32::NEG_INFINITY, second: f32::NEG_INFINITY };

/// Points, centres, and who belongs to whom.
#[derive(Debug, Clone)]
pub(super) struct Centres<'a> {
    points: Cow<'a, [f32]>,
    pub(super) dim: usize,
    /// `[clusters, dim]`
    pub(super) values: Vec<f32>,
    /// Half the squared length of each centre.
    halves: Vec<f32>,
    pub(super) places: Vec<Place>,
}

impl<'a> Centres<'a> {
    /// No centre yet.
    pub(super) fn none(points: Cow<'a, [f32]>, dim: usize) -> Self {
        let places = vec![NOWHERE; points.len() / dim];
        Self { points, dim, values: Vec::new(), halves: Vec::new(), places }
    }

    pub(super) fn len(&self) -> usize {
        self.halves.len()
    }

    pub(super) fn point(&self, i: usize) -> &[f32] {
        &self.points[i * self.dim..(i + 1) * self.dim]
    }

    pub(super) fn centre(&self, c: u32) -> &[f32] {
        &self.values[c as usize * self.dim..(c as usize + 1) * self.dim]
    }

    /// Adds centres; every point meets them.
    pub(super) fn add(&mut self, values: &[f32]) {
        let first = self.len() as u32;
        self.values.extend_from_slice(values);
        self.halves.extend(values.chunks_exact(self.dim).map(half));
        let new: Vec<u32> = (first..self.len() as u32).collect();
        let everyone: Vec<u32> = (0..self.places.len() as u32).collect();
        self.meet(&everyone, &new);
    }

    /// Puts `point` into the cluster `c`, whatever is nearest to it.
    pub(super) fn give(&mut self, point: usize, c: u32) {
        let place = &mut self.places[point];
        place.second = place.second.max(place.best);
        place.owner = c;
    }

    /// Moves the centres `moved` (ascending) to `values` and finds every point's centre anew. A point stays where it is
    /// unless another centre is strictly nearer, then the first such one by index.
    pub(super) fn move_to(&mut self, moved: &[u32], values: &[f32]) {
        let mut is_moved = vec![false; self.len()];
        for (&c, value) in moved.iter().zip(values.chunks_exact(self.dim)) {
            self.values[c as usize * self.dim..(c as usize + 1) * self.dim].copy_from_slice(value);
            self.halves[c as usize] = half(value);
            is_moved[c as usize] = true;
        }
        let mut places = std::mem::take(&mut self.places);
        // The points that fell behind what they knew of the others must meet all of them again.
        let mut behind: Vec<bool> = vec![false; places.len()];
        places.par_iter_mut().zip(&mut behind).enumerate().for_each(|(i, (place, behind))| {
            if is_moved[place.owner as usize] {
                let dot = dot_f64(self.point(i), self.centre(place.owner));
                place.best = dot as f32 - self.halves[place.owner as usize];
                *behind = place.best < place.second;
                if *behind {
                    place.second = f32::NEG_INFINITY;
                }
            }
        });
        self.places = places;
        let (all, some): (Vec<u32>, Vec<u32>) =
            (0..behind.len() as u32).partition(|&i| behind[i as usize]);
        let everywhere: Vec<u32> = (0..self.len() as u32).collect();
        self.meet(&all, &everywhere);
        self.meet(&some, moved);
    }

    /// Lets `points` meet `centres`, both ascending.
    fn meet(&mut self, points: &[u32], centres: &[u32]) {
        if points.is_empty() || centres.is_empty() {
            return;
        }
        let whole = centres.len() == self.len();
        let gathered: Cow<'_, [f32]> = if whole {
            Cow::Borrowed(&self.values)
        } else {
            Cow::Owned(centres.iter().flat_map(|&c| self.centre(c)).copied().collect())
        };
        let halves: Vec<f32> = centres.iter().map(|&c| self.halves[c as usize]).collect();
        let block = |(rows, scores): &mut (Vec<f32>, Vec<f32>), points: &[u32]| -> Vec<Place> {
            rows.clear();
            points.iter().for_each(|&i| rows.extend_from_slice(self.point(i as usize)));
            let mut places: Vec<Place> = points.iter().map(|&i| self.places[i as usize]).collect();
            let owners: Vec<u32> = places.iter().map(|place| place.owner).collect();
            for first in (0..centres.len()).step_by(CENTRES) {
                let end = (first + CENTRES).min(centres.len());
                let (centres, halves) = (&centres[first..end], &halves[first..end]);
                scores.resize(points.len() * centres.len(), 0.0);
                rows_times_rows(
                    rows,
                    &gathered[first * self.dim..end * self.dim],
                    self.dim,
                    scores,
                );
                let rows = scores.chunks_exact_mut(centres.len());
                for ((place, &owner), scores) in places.iter_mut().zip(&owners).zip(rows) {
                    scores.iter_mut().zip(halves).for_each(|(score, half)| *score -= half);
                    place.look_at(owner, centres, scores);
                }
            }
            places
        };
        let found: Vec<Vec<Place>> =
            points.par_chunks(POINTS).map_init(|| (Vec::new(), Vec::new()), block).collect();
        for (&i, place) in points.iter().zip(found.into_iter().flatten()) {
            self.places[i as usize] = place;
        }
    }

    /// The squared distance of a point to its own centre.
    pub(super) fn squared_distance(&self, point: usize) -> f64 {
        squared_distance_f64(self.point(point), self.centre(self.places[point].owner))
    }
}

impl Place {
    /// Takes in the scores of some centres. That of `owner`, the centre held at the beginning, is known already.
    fn look_at(&mut self, owner: u32, centres: &[u32], scores: &[f32]) {
        for (centres, scores) in centres.chunks(CHUNK).zip(scores.chunks(CHUNK)) {
            // Kept without an early exit, so that it compiles to vector instructions.
            let floor = self.second;
            if !scores.iter().fold(false, |any, &score| any | (score > floor)) {
                continue;
            }
            for (&centre, &score) in centres.iter().zip(scores) {
                if centre == owner {
                    continue;
                }
                if score > self.best {
                    self.second = self.best;
                    self.best = score;
                    self.owner = centre;
                } else if score > self.second {
                    self.second = score;
                }
            }
        }
    }
}

fn half(centre: &[f32]) -> f32 {
    (dot_f64(centre, centre) / 2.0) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(rows: usize, dim: usize, seed: usize) -> Vec<f32> {
        (0..rows * dim).map(|i| ((i * 7919 + seed * 31) % 1009) as f32 / 500.0 - 1.0).collect()
    }

    #[test]
    fn moving_some_centres_gives_what_meeting_all_of_them_gives() {
        let (rows, clusters, dim) = (700, 90, 5);
        let data = points(rows, dim, 1);
        let mut kept = Centres::none(Cow::Borrowed(&data), dim);
        kept.add(&points(clusters, dim, 2));
        for step in 0..12 {
            let moved: Vec<u32> = (0..clusters as u32).filter(|c| (c * 7 + step) % 5 < 2).collect();
            let shift = |(i, x): (usize, &f32)| x + 0.03 * ((i as u32 * 13 + step) as f32).sin();
            let values: Vec<f32> = moved
                .iter()
                .flat_map(|&c| kept.centre(c).iter().enumerate().map(shift).collect::<Vec<_>>())
                .collect();
            kept.move_to(&moved, &values);
            for i in 0..rows {
                let near = |c: u32| squared_distance_f64(kept.point(i), kept.centre(c));
                let best = (0..clusters as u32).map(near).fold(f64::INFINITY, f64::min);
                assert!(kept.squared_distance(i) <= best + 1e-6, "step {step}, point {i}");
            }
        }
    }

    #[test]
    fn a_point_stays_where_nothing_is_strictly_nearer() {
        let mut centres = Centres::none(Cow::Owned(vec![1.0, 0.0]), 2);
        centres.add(&[2.0, 0.0, 0.0, 0.0]);
        assert_eq!(centres.places[0].owner, 0);
        centres.give(0, 1);
        centres.move_to(&[1], &[0.0, 0.0]);
        assert_eq!(centres.places[0].owner, 1);
        centres.move_to(&[1], &[-1.0, 0.0]);
        assert_eq!(centres.places[0].owner, 0);
    }
}

//! k-means++ (Arthur and Vassilvitskii, SODA 2007) by blocks: the same distribution, without a pass over all points for
//! every centre.
//!
//! Each centre is to be drawn with a probability that grows with the squared distance to the centres before it. These
//! distances are brought up to date only now and then, for many new centres together, as one block product. In between
//! they are upper bounds: a point drawn by its bound is kept with the probability (true distance / bound), the true
//! distance taking into account the few centres since, which gives exactly the wanted distribution (rejection, as in
//! Cohen-Addad et al., "Fast and Accurate k-means++ via Rejection Sampling", NeurIPS 2020).

use crossbatch_math::product::squared_distance_f64;

use super::centres::Centres;
use crate::random::Random;
use crate::{Error, Options};

/// The most centres that wait for their block product.
const WAITING: usize = 256;

/// Refused draws in a row after which the distances are brought up to date.
const REFUSED: usize = 32;

/// Draws `clusters` centres among the points, at most as many as there are points. Every point has met all of them.
pub(super) fn seed(
    centres: &mut Centres<'_>,
    clusters: usize,
    random: &mut Random,
    options: &Options<'_>,
) -> Result<(), Error> {
    let rows = centres.places.len();
    let lengths: Vec<f64> = (0..rows)
        .map(|i| crossbatch_math::product::dot_f64(centres.point(i), centres.point(i)))
        .collect();
    let mut taken = vec![false; rows];
    let mut take = |point: usize, waiting: &mut Vec<u32>| {
        taken[point] = true;
        waiting.push(point as u32);
    };
    let mut waiting: Vec<u32> = Vec::new();
    take(random.below(rows), &mut waiting);
    meet(centres, &mut waiting);
    let mut bounds: Vec<f64> = vec![f64::INFINITY; rows];
    while centres.len() < clusters {
        options.check()?;
        for ((bound, place), length) in bounds.iter_mut().zip(&centres.places).zip(&lengths) {
            *bound = bound.min((length - 2.0 * f64::from(place.best)).max(0.0));
        }
        let ends: Vec<f64> = bounds
            .iter()
            .scan(0.0, |sum, bound| {
                *sum += bound;
                Some(*sum)
            })
            .collect();
        let total = ends[rows - 1];
        let wanted = (clusters - centres.len()).min((centres.len() / 2).clamp(1, WAITING));
        if total <= 0.0 {
            // Every point lies on a centre: the others are as good as each other.
            break;
        }
        let mut refused = 0;
        let mut found_out = Vec::new();
        while waiting.len() < wanted && refused < REFUSED {
            let at = random.unit() * total;
            let point = ends.partition_point(|&end| end <= at).min(rows - 1);
            let near = |bound: f64, &c: &u32| {
                bound.min(squared_distance_f64(centres.point(point), centres.point(c as usize)))
            };
            let known = centres.squared_distance(point).min(bounds[point]);
            let distance = waiting.iter().fold(known, near);
            if random.unit() * bounds[point] < distance {
                take(point, &mut waiting);
                refused = 0;
            } else {
                refused += 1;
                found_out.push((point, known));
            }
        }
        // Not earlier: points are drawn by the bounds that were summed.
        found_out.iter().for_each(|&(point, known)| bounds[point] = bounds[point].min(known));
        meet(centres, &mut waiting);
    }
    let rest: Vec<u32> = (0..rows as u32).filter(|&i| !taken[i as usize]).collect();
    let missing = clusters - centres.len();
    waiting.extend(choose(rest, missing, random));
    meet(centres, &mut waiting);
    Ok(())
}

/// The waiting points become centres.
fn meet(centres: &mut Centres<'_>, waiting: &mut Vec<u32>) {
    let values: Vec<f32> =
        waiting.iter().flat_map(|&point| centres.point(point as usize)).copied().collect();
    centres.add(&values);
    waiting.clear();
}

/// `count` of `items`, each as likely as the others.
fn choose(mut items: Vec<u32>, count: usize, random: &mut Random) -> Vec<u32> {
    for i in 0..count {
        let other = i + random.below(items.len() - i);
        items.swap(i, other);
    }
    items.truncate(count);
    items
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[test]
    fn far_points_are_drawn_as_often_as_the_definition_says() {
        // Points on a line at 0, 1, 3, 7 and 12. The probability of each pair of first and second centre is known.
        let line = [0.0f32, 1.0, 3.0, 7.0, 12.0];
        let draws = 40_000;
        let mut counts = [[0usize; 5]; 5];
        for draw in 0..draws {
            let mut centres = Centres::none(Cow::Borrowed(&line), 1);
            seed(&mut centres, 2, &mut Random::new(9, draw), &Options::default()).unwrap();
            let place = |value: f32| line.iter().position(|&x| x == value).unwrap();
            counts[place(centres.values[0])][place(centres.values[1])] += 1;
        }
        for first in 0..counts.len() {
            let weight = |i: usize| f64::from((line[i] - line[first]).powi(2));
            let total: f64 = (0..5).map(weight).sum();
            for (second, &count) in counts[first].iter().enumerate() {
                let expected = weight(second) / total / 5.0;
                let found = count as f64 / draws as f64;
                assert!((found - expected).abs() < 0.008, "{first}, {second}: {found}, {expected}");
            }
        }
    }

    #[test]
    fn waiting_centres_count_too() {
        // The distribution of the last of eight centres, several of which wait together, against plain k-means++.
        let line: Vec<f32> = (0..24).map(|i| (i * i) as f32 / 10.0).collect();
        let draws = 30_000;
        let mut found = [0.0; 24];
        let mut expected = [0.0; 24];
        for draw in 0..draws {
            let mut centres = Centres::none(Cow::Borrowed(&line), 1);
            seed(&mut centres, 8, &mut Random::new(1, draw), &Options::default()).unwrap();
            let place = |value: f32| line.iter().position(|&x| x == value).unwrap();
            found[place(centres.values[7])] += 1.0 / draws as f64;
            let mut random = Random::new(2, draw);
            let mut chosen = vec![line[random.below(24)]];
            while chosen.len() < 8 {
                let weight = |x: &f32| {
                    chosen.iter().map(|c| f64::from((x - c) * (x - c))).fold(f64::MAX, f64::min)
                };
                let weights: Vec<f64> = line.iter().map(weight).collect();
                let mut at = random.unit() * weights.iter().sum::<f64>();
                let next = weights.iter().position(|w| {
                    at -= w;
                    at < 0.0
                });
                chosen.push(line[next.unwrap_or(23)]);
            }
            expected[place(chosen[7])] += 1.0 / draws as f64;
        }
        for i in 0..24 {
            assert!((found[i] - expected[i]).abs() < 0.012, "{i}: {} {}", found[i], expected[i]);
        }
    }

    #[test]
    fn equal_points_give_as_many_centres_as_asked_for() {
        let points = [0.3f32; 40];
        let mut centres = Centres::none(Cow::Borrowed(&points), 4);
        seed(&mut centres, 7, &mut Random::new(0, 0), &Options::default()).unwrap();
        assert_eq!(centres.len(), 7);
    }
}

//! Position embeddings of vision transformers, for images of another size.

use crate::weights::NamedTensor;

/// The embeddings `[1, prefix + old², D]` for a grid of `new` x `new` places: bicubic (a = -0.5), with the kernel widened
/// where the grid shrinks, as timm does it (`resample_abs_pos_embed`). What stands before the places stays.
///
/// None if `tensor` is no such embedding of a square grid.
pub(crate) fn resample(tensor: &NamedTensor, prefix: usize, new: usize) -> Option<NamedTensor> {
    let [1, tokens, width] = tensor.shape[..] else { return None };
    let places = tokens.checked_sub(prefix)?;
    let old = places.isqrt();
    if old == 0 || old * old != places || tensor.values.len() != tokens * width {
        return None;
    }
    let (before, grid) = tensor.values.split_at(prefix * width);
    let rows = weights(old, new);
    // Columns first: [old, old, D] to [old, new, D], then rows.
    let columns: Vec<f32> =
        grid.chunks(old * width).flat_map(|row| mix(row, width, &rows)).collect();
    let grid = mix(&columns, new * width, &rows);
    let mut values = before.to_vec();
    values.extend(grid);
    Some(NamedTensor { shape: vec![1, prefix + new * new, width], values })
}

/// Weighted sums of the chunks of `width` numbers.
fn mix(chunks: &[f32], width: usize, rows: &[Vec<f64>]) -> Vec<f32> {
    let sum = |weights: &Vec<f64>| {
        let mut sums = vec![0.0; width];
        for (chunk, weight) in chunks.chunks(width).zip(weights) {
            for (sum, value) in sums.iter_mut().zip(chunk) {
                *sum += weight * f64::from(*value);
            }
        }
        sums.into_iter().map(|sum| sum as f32)
    };
    rows.iter().flat_map(sum).collect()
}

/// For each of the `new` places, what each of the `old` ones weighs.
fn weights(old: usize, new: usize) -> Vec<Vec<f64>> {
    let scale = old as f64 / new as f64;
    let stretch = scale.max(1.0);
    let weights_of = |place: usize| {
        let centre = (place as f64 + 0.5) * scale;
        let weight = |other: usize| cubic((other as f64 + 0.5 - centre) / stretch);
        let weights: Vec<f64> = (0..old).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    };
    (0..new).map(weights_of).collect()
}

/// The cubic kernel with a = -0.5 (Keys, 1981).
fn cubic(distance: f64) -> f64 {
    let x = distance.abs();
    match x {
        _ if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        _ if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embeddings_are_resampled_as_timm_does_it() {
        let text = include_str!("../../../tests/golden/models/positions.json");
        let cases: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
        assert!(cases.len() > 3);
        for case in &cases {
            let number = |key: &str| case[key].as_u64().unwrap() as usize;
            let (old, new) = (number("old"), number("new"));
            let tokens = 1 + old * old;
            let values = (0..tokens * 2).map(|i| (0.37 * i as f64).sin() as f32).collect();
            let tensor = NamedTensor { shape: vec![1, tokens, 2], values };
            let found = resample(&tensor, 1, new).unwrap();
            assert_eq!(found.shape, [1, 1 + new * new, 2]);
            let expected = case["values"].as_array().unwrap();
            assert_eq!(found.values.len(), expected.len());
            for (found, expected) in found.values.iter().zip(expected) {
                let off = f64::from(*found) - expected.as_f64().unwrap();
                assert!(off.abs() < 1e-5, "{old} to {new}: {found}, expected {expected}");
            }
        }
    }

    #[test]
    fn what_is_no_square_grid_is_none() {
        let tensor = |shape: Vec<usize>| {
            let values = vec![0.0; shape.iter().product()];
            NamedTensor { shape, values }
        };
        assert!(resample(&tensor(vec![1, 6, 2]), 1, 3).is_none());
        assert!(resample(&tensor(vec![5, 2]), 1, 3).is_none());
        assert!(resample(&tensor(vec![1, 1, 2]), 1, 3).is_none());
    }
}

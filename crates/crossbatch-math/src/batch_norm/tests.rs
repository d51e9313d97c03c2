use super::*;

fn shape(batch: usize, channels: usize, area: usize) -> BatchNormShape {
    BatchNormShape { batch, channels, area }
}

fn values(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 997) as f32 / 250.0 - 2.0).collect()
}

/// All in f64, each formula written out.
fn reference(
    shape: &BatchNormShape,
    input: &[f32],
    gradient: &[f32],
    p: &BatchNormParameters<'_>,
) -> (Vec<f64>, Vec<f64>, Vec<f64>, Vec<f64>) {
    let mut output = vec![0.0; shape.len()];
    let mut dx = vec![0.0; shape.len()];
    let (mut dw, mut db) = (vec![0.0; shape.channels], vec![0.0; shape.channels]);
    let count = (shape.batch * shape.area) as f64;
    for c in 0..shape.channels {
        let indices: Vec<usize> = (0..shape.batch).flat_map(|n| shape.range(n, c)).collect();
        let mean = indices.iter().map(|&i| f64::from(input[i])).sum::<f64>() / count;
        let variance =
            indices.iter().map(|&i| (f64::from(input[i]) - mean).powi(2)).sum::<f64>() / count;
        let inverse = 1.0 / (variance + p.epsilon).sqrt();
        let (w, b) = (f64::from(p.weight[c]), f64::from(p.bias[c]));
        let mut dz = vec![];
        for &i in &indices {
            let normal = (f64::from(input[i]) - mean) * inverse;
            let y = normal * w + b;
            output[i] = if p.relu { y.max(0.0) } else { y };
            let d = if p.relu && y <= 0.0 { 0.0 } else { f64::from(gradient[i]) };
            dz.push((d, normal));
            dw[c] += d * normal;
            db[c] += d;
        }
        for (&i, (d, normal)) in indices.iter().zip(dz) {
            dx[i] = w * inverse * (d - db[c] / count - normal * dw[c] / count);
        }
    }
    (output, dx, dw, db)
}

fn close(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(error <= 2e-5 * (1.0 + expected.abs()), "{what}[{i}]: {found} against {expected}");
    }
}

#[test]
fn both_passes_agree_with_the_formulas() {
    for (batch, channels, area) in [(1, 1, 2), (3, 5, 1), (4, 3, 49), (5, 70, 9), (2, 3, 5000)] {
        for relu in [false, true] {
            let shape = shape(batch, channels, area);
            let input = values(shape.len(), 1);
            let gradient = values(shape.len(), 2);
            let (weight, bias) = (values(channels, 3), values(channels, 4));
            let p = BatchNormParameters { weight: &weight, bias: &bias, epsilon: 1e-5, relu };
            let (y, dx, dw, db) = reference(&shape, &input, &gradient, &p);
            for level in Level::supported() {
                let name = format!("{level:?} {shape:?}");
                let (output, statistics) = forward_at(level, &shape, &input, None, &p);
                close(&output, &y, &name);
                let given = inference(&shape, &input, None, &p, &statistics);
                assert_eq!(given, output);
                let mut place = input.clone();
                inference_in_place_at(level, &shape, &mut place, None, &p, &statistics);
                assert_eq!(place, output);
                let (apart, parameters) = backward(&shape, &input, &gradient, &p, &statistics);
                close(&apart, &dx, &name);
                close(&parameters.weight, &dw, &name);
                close(&parameters.bias, &db, &name);
                let mut place = gradient.clone();
                let same = backward_in_place(&shape, &input, &mut place, &p, &statistics);
                assert_eq!((apart, parameters), (place, same));
            }
        }
    }
}

#[test]
fn a_residual_is_added_before_the_relu() {
    let shape = shape(3, 5, 77);
    let [input, residual, gradient] = [1, 2, 3].map(|seed| values(shape.len(), seed));
    let (weight, bias) = (values(5, 4), values(5, 5));
    for relu in [false, true] {
        let p = BatchNormParameters { weight: &weight, bias: &bias, epsilon: 1e-5, relu };
        let plain = BatchNormParameters { relu: false, ..p };
        let (alone, statistics) = forward(&shape, &input, None, &plain);
        let (output, same) = forward(&shape, &input, Some(&residual), &p);
        assert_eq!(statistics, same);
        assert_eq!(inference(&shape, &input, Some(&residual), &p, &statistics), output);
        let mut place = input.clone();
        inference_in_place(&shape, &mut place, Some(&residual), &p, &statistics);
        assert_eq!(place, output);
        let mut masked = gradient.clone();
        for i in 0..shape.len() {
            let sum = alone[i] + residual[i];
            assert_eq!(output[i], if relu { sum.max(0.0) } else { sum });
            if relu && sum <= 0.0 {
                masked[i] = 0.0;
            }
        }
        let expected = backward(&shape, &input, &masked, &plain, &statistics);
        let mut place = gradient.clone();
        let found = backward_with_residual(&shape, &input, &output, &mut place, &p, &statistics);
        assert_eq!(place, masked);
        assert_eq!(found, expected);
    }
}

#[test]
fn a_large_offset_costs_no_digits() {
    let shape = shape(8, 1, 1000);
    let input: Vec<f32> = (0..shape.len()).map(|i| 10_000.0 + (i % 2) as f32).collect();
    let statistics = statistics(&shape, &input);
    assert_eq!(statistics.mean, [10_000.5]);
    assert_eq!(statistics.variance, [0.25]);
}

#[test]
fn threads_do_not_change_a_bit() {
    let shape = shape(16, 37, 784);
    let input = values(shape.len(), 1);
    let gradient = values(shape.len(), 2);
    let (weight, bias) = (values(37, 3), values(37, 4));
    let p = BatchNormParameters { weight: &weight, bias: &bias, epsilon: 1e-5, relu: true };
    let all = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (output, statistics) = forward(&shape, &input, None, &p);
            let back = backward(&shape, &input, &gradient, &p, &statistics);
            (output, statistics, back)
        })
    };
    let one = all(1);
    assert_eq!(one, all(2));
    assert_eq!(one, all(3));
}

#[test]
fn nan_stays_visible() {
    let shape = shape(1, 1, 3);
    let p = BatchNormParameters { weight: &[1.0], bias: &[0.0], epsilon: 1e-5, relu: true };
    let (output, statistics) = forward(&shape, &[1.0, f32::NAN, 2.0], None, &p);
    assert!(statistics.mean[0].is_nan() && statistics.variance[0].is_nan());
    assert!(output.iter().all(|value| value.is_nan()));
    let statistics = Statistics { mean: vec![0.0], variance: vec![1.0] };
    for residual in [None, Some(&[1.0, 1.0, 1.0][..])] {
        let given = inference(&shape, &[1.0, f32::NAN, 2.0], residual, &p, &statistics);
        let mut place = [1.0, f32::NAN, 2.0];
        inference_in_place(&shape, &mut place, residual, &p, &statistics);
        for found in [&given[..], &place[..]] {
            assert_eq!(
                found.iter().map(|value| value.is_nan()).collect::<Vec<_>>(),
                [false, true, false]
            );
        }
    }
}

#[test]
#[should_panic(expected = "weight has 1 elements, its shape 2")]
fn wrong_length_panics() {
    let p = BatchNormParameters { weight: &[1.0], bias: &[0.0], epsilon: 1e-5, relu: true };
    let _ = forward(&shape(1, 2, 1), &[0.0; 2], None, &p);
}

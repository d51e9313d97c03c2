use super::direct::Engine;
use super::*;

/// Every sum written out.
fn naive(shape: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
    let output = shape.output();
    for n in 0..shape.batch {
        for o in 0..shape.filters {
            for y in 0..output[0] {
                for x in 0..output[1] {
                    let out = ((n * shape.filters + o) * output[0] + y) * output[1] + x;
                    let own = shape.channels / shape.groups;
                    for c in 0..own {
                        for ky in 0..shape.kernel[0] {
                            for kx in 0..shape.kernel[1] {
                                let row = (y * shape.stride[0] + ky * shape.dilation[0]) as isize
                                    - shape.padding[0] as isize;
                                let column = (x * shape.stride[1] + kx * shape.dilation[1])
                                    as isize
                                    - shape.padding[1] as isize;
                                if row < 0
                                    || column < 0
                                    || row >= shape.input[0] as isize
                                    || column >= shape.input[1] as isize
                                {
                                    continue;
                                }
                                let channel = o / (shape.filters / shape.groups) * own + c;
                                let inside = ((n * shape.channels + channel) * shape.input[0]
                                    + row as usize)
                                    * shape.input[1]
                                    + column as usize;
                                let weight =
                                    ((o * own + c) * shape.kernel[0] + ky) * shape.kernel[1] + kx;
                                visit(out, inside, weight);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Small whole numbers, so that every sum is exact.
fn values(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 11) as f32 - 5.0).collect()
}

/// Operands of a shape, and what its passes make of them, sum by sum.
struct WrittenOut {
    input: Vec<f32>,
    weight: Vec<f32>,
    gradient: Vec<f32>,
    output: Vec<f32>,
    input_grad: Vec<f32>,
    weight_grad: Vec<f32>,
}

impl WrittenOut {
    fn new(shape: &ConvShape) -> Self {
        let mut all = Self {
            input: values(shape.input_len(), 1),
            weight: values(shape.weight_len(), 2),
            gradient: values(shape.output_len(), 3),
            output: vec![0.0; shape.output_len()],
            input_grad: vec![0.0; shape.input_len()],
            weight_grad: vec![0.0; shape.weight_len()],
        };
        naive(shape, |o, i, w| {
            all.output[o] += all.input[i] * all.weight[w];
            all.input_grad[i] += all.gradient[o] * all.weight[w];
            all.weight_grad[w] += all.gradient[o] * all.input[i];
        });
        all
    }
}

fn shapes() -> Vec<ConvShape> {
    let mut shapes = Vec::new();
    let sizes = [[1, 1], [2, 3], [3, 3], [7, 5], [14, 14], [9, 20], [17, 1], [28, 4]];
    let kernels = [
        ([1, 1], [0, 0]),
        ([3, 3], [1, 1]),
        ([3, 3], [0, 0]),
        ([5, 5], [2, 2]),
        ([7, 7], [3, 3]),
        ([2, 3], [1, 2]),
        ([3, 1], [3, 0]),
        ([3, 3], [1, 2]),
        ([5, 5], [6, 1]),
    ];
    for input in sizes {
        for (kernel, padding) in kernels {
            for stride in [[1, 1], [2, 2], [3, 1], [4, 5]] {
                for (batch, channels, filters, groups, dilation) in [
                    (1, 1, 1, 1, [1, 1]),
                    (3, 3, 10, 1, [1, 1]),
                    (2, 5, 17, 1, [1, 1]),
                    (2, 3, 2, 1, [2, 3]),
                    (2, 4, 6, 2, [1, 1]),
                    (1, 6, 3, 3, [3, 2]),
                    (2, 5, 5, 5, [1, 1]),
                    (1, 3, 3, 3, [2, 2]),
                    (1, 3, 6, 3, [1, 1]),
                ] {
                    let extent = |a: usize| (kernel[a] - 1) * dilation[a] + 1;
                    if [0, 1].iter().any(|&a| input[a] + 2 * padding[a] < extent(a)) {
                        continue;
                    }
                    shapes.push(ConvShape {
                        batch,
                        channels,
                        filters,
                        input,
                        kernel,
                        stride,
                        padding,
                        dilation,
                        groups,
                    });
                }
            }
        }
    }
    shapes
}

#[test]
fn all_passes_agree_with_written_out_sums() {
    for shape in shapes() {
        let WrittenOut { input, weight, gradient, output, input_grad, weight_grad } =
            WrittenOut::new(&shape);
        let mut bias_grad = vec![0.0; shape.filters];
        let output_area: usize = shape.output().iter().product();
        for (at, value) in gradient.iter().enumerate() {
            bias_grad[at / output_area % shape.filters] += value;
        }
        assert_eq!(bias_gradient(&shape, &gradient), bias_grad, "{shape:?}");
        for level in Level::supported().into_iter().filter(|_| shape.groups == 1) {
            let name = format!("patches {level:?} {shape:?}");
            let found = patches::forward(level, &shape, &input, &weight, After::default());
            assert_eq!(found, output, "{name}");
            let found = patches::input_gradient(level, &shape, &gradient, &weight);
            assert_eq!(found, input_grad, "{name}");
            let found = patches::weight_gradient(level, &shape, &input, &gradient);
            assert_eq!(found, weight_grad, "{name}");
        }
        let turnable = shape.padding[0].max(shape.padding[1]) <= 2 && shape.dilation == [1, 1];
        if shape.groups == 1 && shape.kernel == [3, 3] && shape.stride == [1, 1] && turnable {
            for level in Level::supported() {
                // The kernels' halves are exact too.
                let name = format!("winograd {level:?} {shape:?}");
                let found = winograd::forward(level, &shape, &input, &weight, After::default());
                assert_eq!(found, output, "{name}");
                let found = winograd::input_gradient(level, &shape, &gradient, &weight);
                assert_eq!(found, input_grad, "{name}");
                let found = winograd::weight_gradient(level, &shape, &input, &gradient);
                assert_eq!(found, weight_grad, "{name}");
            }
        }
        for level in Level::supported() {
            let name = format!("direct {level:?} {shape:?}");
            for engine in [Engine::Strips, Engine::Tiles] {
                let name = format!("{engine:?} {name}");
                let after = After::default();
                let found = direct::forward_by(engine, level, &shape, &input, &weight, after);
                assert_eq!(found, output, "{name}");
                let found = direct::input_gradient_by(engine, level, &shape, &gradient, &weight);
                assert_eq!(found, input_grad, "{name}");
            }
            let found = direct::weight_gradient(level, &shape, &input, &gradient);
            assert_eq!(found, weight_grad, "{name}");
            let name = format!("{level:?} {shape:?}");
            assert_eq!(
                forward_at(level, &shape, &input, &weight, After::default()),
                output,
                "{name}"
            );
            assert_eq!(input_gradient_at(level, &shape, &gradient, &weight), input_grad, "{name}");
            assert_eq!(weight_gradient_at(level, &shape, &input, &gradient), weight_grad, "{name}");
        }
    }
}

/// Images that are computed in bands, in both directions, with several vectors of tiles in a row.
#[test]
fn winograd_on_large_images_agrees_with_written_out_sums() {
    let shape = ConvShape {
        batch: 1,
        channels: 32,
        filters: 32,
        input: [129, 131],
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        dilation: [1, 1],
        groups: 1,
    };
    let input = values(shape.input_len(), 1);
    let weight = values(shape.weight_len(), 2);
    let gradient = values(shape.output_len(), 3);
    let bias: Vec<f32> = (0..shape.filters).map(|filter| filter as f32 * 16.0).collect();
    let area: usize = shape.output().iter().product();
    let mut output: Vec<f32> =
        (0..shape.output_len()).map(|at| bias[at / area % shape.filters]).collect();
    let mut input_grad = vec![0.0; shape.input_len()];
    let mut weight_grad = vec![0.0; shape.weight_len()];
    naive(&shape, |o, i, w| {
        output[o] += input[i] * weight[w];
        input_grad[i] += gradient[o] * weight[w];
        weight_grad[w] += gradient[o] * input[i];
    });
    for level in Level::supported() {
        // Not `assert_eq`, which would print half a million numbers.
        let found = winograd::forward(level, &shape, &input, &weight, After::bias(Some(&bias)));
        assert!(found == output, "{level:?} forward");
        let found = winograd::input_gradient(level, &shape, &gradient, &weight);
        assert!(found == input_grad, "{level:?} gradient of the input");
        let found = winograd::weight_gradient(level, &shape, &input, &gradient);
        assert!(found == weight_grad, "{level:?} gradient of the weights");
    }
}

#[test]
fn bias_is_added_to_its_filter() {
    for kernel in [1, 3] {
        for (channels, groups, side) in [(3, 1, 4), (3, 3, 4), (9, 9, 4), (9, 9, 15), (3, 1, 15)] {
            let shape = ConvShape {
                batch: 40,
                channels,
                filters: 9,
                input: [side, side],
                kernel: [kernel; 2],
                stride: [1, 1],
                padding: [0, 0],
                dilation: [1, 1],
                groups,
            };
            let bias: Vec<f32> = (0..9).map(|filter| filter as f32 * 16.0).collect();
            let (input, weight) = (values(shape.input_len(), 1), values(shape.weight_len(), 2));
            let plain = forward(&shape, &input, &weight, None);
            let area: usize = shape.output().iter().product();
            let found = forward(&shape, &input, &weight, Some(&bias));
            for (at, value) in found.iter().enumerate() {
                assert_eq!(*value, plain[at] + bias[at / area % 9]);
            }
        }
    }
    let shape = ConvShape {
        batch: 2,
        channels: 1,
        filters: 9,
        input: [2, 2],
        kernel: [1, 1],
        stride: [1, 1],
        padding: [0, 0],
        dilation: [1, 1],
        groups: 1,
    };
    let bias: Vec<f32> = (0..9).map(|filter| filter as f32).collect();
    let output = forward(&shape, &[0.0; 8], &[1.0; 9], Some(&bias));
    for (index, value) in output.iter().enumerate() {
        assert_eq!(*value, (index / 4 % 9) as f32);
    }
}

/// Whole numbers so small that Winograd's transforms are exact too.
#[test]
fn inference_agrees_with_written_out_sums() {
    let shape = |channels, filters, groups| ConvShape {
        batch: 3,
        channels,
        filters,
        input: [8, 9],
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        dilation: [1, 1],
        groups,
    };
    assert!(winograd::fit(&shape(33, 40, 1)) && winograd::fit(&shape(512, 32, 1)));
    assert!(winograd::fit_training(&shape(33, 40, 1)));
    assert!(!winograd::fit_training(&shape(512, 32, 1)));
    for shape in [shape(33, 40, 1), shape(512, 32, 1), shape(4, 5, 1), shape(6, 6, 6)] {
        let (input, weight) = (values(shape.input_len(), 1), values(shape.weight_len(), 2));
        let bias: Vec<f32> = (0..shape.filters).map(|filter| filter as f32 * 16.0).collect();
        let area: usize = shape.output().iter().product();
        let mut output: Vec<f32> =
            (0..shape.output_len()).map(|at| bias[at / area % shape.filters]).collect();
        naive(&shape, |o, i, w| output[o] += input[i] * weight[w]);
        assert_eq!(inference(&shape, &input, &weight, Some(&bias)), output, "{shape:?}");
        assert_eq!(forward(&shape, &input, &weight, Some(&bias)), output, "{shape:?}");
    }
}

#[test]
fn no_rows_have_an_empty_gradient() {
    let shape = ConvShape {
        batch: 2,
        channels: 3,
        filters: 3,
        input: [0, 4],
        kernel: [3, 3],
        stride: [2, 2],
        padding: [2, 2],
        dilation: [1, 1],
        groups: 3,
    };
    let gradient = vec![1.0; shape.output_len()];
    assert!(!gradient.is_empty());
    assert!(input_gradient(&shape, &gradient, &[1.0; 27]).is_empty());
    assert_eq!(weight_gradient(&shape, &[], &gradient), [0.0; 27]);
    assert_eq!(forward(&shape, &[], &[1.0; 27], None), vec![0.0; shape.output_len()]);
}

#[test]
fn threads_do_not_change_a_bit() {
    for (channels, filters, side, stride, groups) in [
        (1, 64, 28, 1, 1),
        (33, 40, 9, 1, 1),
        (16, 24, 13, 2, 1),
        (16, 24, 13, 2, 4),
        (160, 400, 5, 1, 1),
        (40, 72, 14, 1, 1),
        (24, 24, 13, 2, 24),
    ] {
        let shape = ConvShape {
            batch: 13,
            channels,
            filters,
            input: [side, side],
            kernel: [3, 3],
            stride: [stride, stride],
            padding: [1, 1],
            dilation: [1, 1],
            groups,
        };
        let fraction = |values: Vec<f32>| -> Vec<f32> {
            values.iter().enumerate().map(|(i, v)| v / (3.0 + i as f32 % 13.0)).collect()
        };
        let input = fraction(values(shape.input_len(), 1));
        let weight = fraction(values(shape.weight_len(), 2));
        let gradient = fraction(values(shape.output_len(), 3));
        let all = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                (
                    forward(&shape, &input, &weight, None),
                    input_gradient(&shape, &gradient, &weight),
                    weight_gradient(&shape, &input, &gradient),
                )
            })
        };
        let one = all(1);
        assert_eq!(one, all(2));
        assert_eq!(one, all(3));
    }
}

/// Sums that are taken in parts, over rows that end with a whole vector, a part of one, or in the last of several tiles.
#[test]
fn products_of_long_sums_agree_with_written_out_sums() {
    let areas = (16..=50).map(|width| [1, width]).chain([[7, 7], [14, 14], [25, 33], [3, 3]]);
    for (input, stride) in areas.flat_map(|input| [(input, 1), (input, 2)]) {
        let shape = ConvShape {
            batch: 3,
            channels: 270,
            filters: 13,
            input,
            kernel: [1, 1],
            stride: [stride; 2],
            padding: [0, 0],
            dilation: [1, 1],
            groups: 1,
        };
        // Once the sums forward are long, once those back.
        for shape in [shape, ConvShape { channels: 13, filters: 270, ..shape }] {
            let WrittenOut { input, weight, gradient, output, input_grad, .. } =
                WrittenOut::new(&shape);
            for level in Level::supported() {
                let name = format!("{level:?} {shape:?}");
                let found = patches::forward(level, &shape, &input, &weight, After::default());
                assert_eq!(found, output, "{name}");
                let found = patches::input_gradient(level, &shape, &gradient, &weight);
                assert_eq!(found, input_grad, "{name}");
            }
        }
    }
}

/// Strips of every length, whole and cut, filters of one vector and of two, and sums in parts.
#[test]
fn long_sums_and_rows_of_every_length_agree_with_written_out_sums() {
    let widths = (1..=30).map(|width| (3, 20, [2, width]));
    let long = [(300, 33, [4, 4]), (520, 20, [3, 7]), (1100, 17, [2, 3])];
    for (channels, filters, input) in widths.chain(long) {
        let shape = ConvShape {
            batch: 3,
            channels,
            filters,
            input,
            kernel: [3, 3],
            stride: [1, 1],
            padding: [1, 1],
            dilation: [1, 1],
            groups: 1,
        };
        let WrittenOut { input, weight, gradient, output, input_grad, .. } =
            WrittenOut::new(&shape);
        for level in Level::supported() {
            let name = format!("{level:?} {shape:?}");
            for engine in [Engine::Strips, Engine::Tiles] {
                let name = format!("{engine:?} {name}");
                let after = After::default();
                let found = direct::forward_by(engine, level, &shape, &input, &weight, after);
                assert_eq!(found, output, "{name}");
                let found = direct::input_gradient_by(engine, level, &shape, &gradient, &weight);
                assert_eq!(found, input_grad, "{name}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "kernel of 3 is larger than the padded input of 2")]
fn kernel_beyond_the_padded_input_panics() {
    let shape = ConvShape {
        batch: 1,
        channels: 1,
        filters: 1,
        input: [2, 2],
        kernel: [3, 3],
        stride: [1, 1],
        padding: [0, 0],
        dilation: [1, 1],
        groups: 1,
    };
    let _ = shape.output();
}

#[test]
#[should_panic(expected = "input has 3 elements, its shape 4")]
fn wrong_length_panics() {
    let shape = ConvShape {
        batch: 1,
        channels: 1,
        filters: 1,
        input: [2, 2],
        kernel: [1, 1],
        stride: [1, 1],
        padding: [0, 0],
        dilation: [1, 1],
        groups: 1,
    };
    let _ = forward(&shape, &[0.0; 3], &[1.0], None);
}

/// The largest error against sums in f64, in units of the root mean square of the exact values.
fn error(found: &[f32], exact: &[f64]) -> f64 {
    let size = (exact.iter().map(|v| v * v).sum::<f64>() / exact.len() as f64).sqrt();
    found.iter().zip(exact).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max) / size
}

#[test]
fn winograd_errs_no_more_than_half_again_a_plain_sum() {
    for (batch, channels, filters, side) in [(2, 64, 64, 14), (2, 256, 32, 8), (2, 512, 32, 8)] {
        let shape = ConvShape {
            batch,
            channels,
            filters,
            input: [side, side],
            kernel: [3, 3],
            stride: [1, 1],
            padding: [1, 1],
            dilation: [1, 1],
            groups: 1,
        };
        assert!(winograd::fit(&shape));
        // Finalised counters (splitmix64), evenly in -1..1: no pattern that sums could follow.
        let spread = |len: usize, seed: usize| -> Vec<f32> {
            (0..len as u64)
                .map(|i| {
                    let mut z = (i + ((seed as u64) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    ((z ^ (z >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0
                })
                .collect()
        };
        let input = spread(shape.input_len(), 1);
        let weight = spread(shape.weight_len(), 2);
        let gradient = spread(shape.output_len(), 3);
        let mut exact = [shape.output_len(), shape.input_len(), shape.weight_len()]
            .map(|len| vec![0.0f64; len]);
        // One running sum in f32 an element.
        let mut plain = exact.each_ref().map(|exact| vec![0.0f32; exact.len()]);
        naive(&shape, |o, i, w| {
            let (x, k, g) = (input[i], weight[w], gradient[o]);
            plain[0][o] = x.mul_add(k, plain[0][o]);
            plain[1][i] = g.mul_add(k, plain[1][i]);
            plain[2][w] = g.mul_add(x, plain[2][w]);
            let [x, k, g] = [x, k, g].map(f64::from);
            exact[0][o] += x * k;
            exact[1][i] += g * k;
            exact[2][w] += g * x;
        });
        let level = Level::detect();
        let fast = [
            winograd::forward(level, &shape, &input, &weight, After::default()),
            winograd::input_gradient(level, &shape, &gradient, &weight),
            winograd::weight_gradient(level, &shape, &input, &gradient),
        ];
        for pass in 0..3 {
            let [fast, plain] = [&fast[pass], &plain[pass]].map(|v| error(v, &exact[pass]));
            assert!(fast < 1.5 * plain, "{shape:?} pass {pass}: {fast:e}, plain {plain:e}");
        }
    }
}

/// One after the other gives the same, on every path: also of filters that a path splits, and of images side by side.
#[test]
fn normalising_on_the_way_out_changes_nothing() {
    use crate::batch_norm::{self, BatchNormParameters, Normalisation, Statistics};
    let like = |batch, channels, filters, input, kernel: usize, stride, groups| ConvShape {
        batch,
        channels,
        filters,
        input: [input; 2],
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [kernel / 2; 2],
        dilation: [1; 2],
        groups,
    };
    let more = [
        like(2, 40, 48, 13, 3, 1, 1),  // Winograd
        like(3, 33, 40, 6, 3, 1, 1),   // of several images at once
        like(2, 24, 40, 17, 1, 1, 1),  // patches in place
        like(1, 24, 300, 40, 1, 2, 1), // in bands
        like(5, 3, 7, 7, 1, 1, 1),     // of several images at once
        like(2, 20, 70, 9, 3, 2, 1),   // direct
        like(1, 64, 64, 10, 3, 2, 2),
        like(20, 1, 1, 8, 5, 1, 1),
        like(3, 9, 9, 15, 3, 1, 9), // depthwise
    ];
    for shape in shapes().into_iter().chain(more) {
        let [height, width] = shape.output();
        let of =
            BatchNormShape { batch: shape.batch, channels: shape.filters, area: height * width };
        let (input, weight) = (values(shape.input_len(), 1), values(shape.weight_len(), 2));
        let residual = values(shape.output_len(), 3);
        let (scale, shift) = (values(shape.filters, 4), values(shape.filters, 5));
        let statistics = Statistics {
            mean: values(shape.filters, 6),
            variance: (0..shape.filters).map(|filter| 0.3 + filter as f32).collect(),
        };
        for (residual, relu) in
            [(None, true), (Some(&residual[..]), false), (Some(&residual), true)]
        {
            let parameters =
                BatchNormParameters { weight: &scale, bias: &shift, epsilon: 1e-5, relu };
            let expected = inference(&shape, &input, &weight, None);
            let expected =
                batch_norm::inference(&of, &expected, residual, &parameters, &statistics);
            let normalisation = Normalisation::new(&of, residual, &parameters, &statistics);
            let found = normalised(&shape, &input, &weight, &normalisation);
            assert_eq!(
                found,
                expected,
                "{shape:?}, residual: {}, relu: {relu}",
                residual.is_some()
            );
        }
    }
}

#[test]
#[should_panic(expected = "another shape")]
fn a_normalisation_of_another_shape_is_refused() {
    use crate::batch_norm::{BatchNormParameters, Normalisation, Statistics};
    let shape = ConvShape {
        batch: 1,
        channels: 1,
        filters: 2,
        input: [3, 3],
        kernel: [1, 1],
        stride: [1, 1],
        padding: [0, 0],
        dilation: [1, 1],
        groups: 1,
    };
    let of = BatchNormShape { batch: 1, channels: 1, area: 18 };
    let parameters =
        BatchNormParameters { weight: &[1.0], bias: &[0.0], epsilon: 0.0, relu: false };
    let statistics = Statistics { mean: vec![0.0], variance: vec![1.0] };
    let normalisation = Normalisation::new(&of, None, &parameters, &statistics);
    let _ = normalised(&shape, &[0.0; 9], &[0.0; 2], &normalisation);
}

//! From strokes to grey pixels.

use rand::{Rng, RngExt};

use super::GlyphsConfig;
use super::program::{Point, Program, Stroke};
use crate::seed::generator;

const IMAGE: u64 = 0x696d_6167;

/// Draws one image, black (0) on white (255), anti-aliased by the distance of each pixel's centre to
/// the pen's path.
pub(super) fn draw(
    config: &GlyphsConfig,
    program: &Program,
    image: [u64; 3],
    size: usize,
) -> Vec<u8> {
    let [half, class, number] = image;
    let mut rng = generator(&[config.seed, IMAGE, half, class, number]);
    let warp = Warp::new(config, &mut rng);
    let scale = size as f32 / 2.0;
    let radius = around(&mut rng, (config.pen_max - config.pen_min) / 2.0)
        + (config.pen_max + config.pen_min) / 2.0;
    let mut coverage = vec![0.0_f32; size * size];
    let steps = (8 + size / 8).min(64);
    for stroke in &program.strokes {
        let bent = stroke.map(|point| {
            let moved = point.map(|axis| axis + around(&mut rng, config.jitter));
            warp.apply(moved).map(|axis| (axis + 1.0) * scale)
        });
        let mut from = bent[0];
        for step in 1..=steps {
            let to = on_curve(&bent, step as f32 / steps as f32);
            cover(&mut coverage, size, from, to, radius * scale);
            from = to;
        }
    }
    coverage.iter().map(|&share| (255.0 * (1.0 - share)).round() as u8).collect()
}

/// Uniform in `[-reach, reach]`.
fn around(rng: &mut impl Rng, reach: f32) -> f32 {
    (rng.random::<f32>() * 2.0 - 1.0) * reach
}

/// Scale, shear, rotation, shift: in that order.
struct Warp {
    matrix: [[f32; 2]; 2],
    shift: Point,
}

impl Warp {
    fn new(config: &GlyphsConfig, rng: &mut impl Rng) -> Self {
        let (sin, cos) = around(rng, config.rotation).to_radians().sin_cos();
        let [wide, high] = [1.0 + around(rng, config.scale), 1.0 + around(rng, config.scale)];
        let shear = around(rng, config.shear);
        Self {
            matrix: [
                [cos * wide, (cos * shear - sin) * high],
                [sin * wide, (sin * shear + cos) * high],
            ],
            shift: [around(rng, config.shift), around(rng, config.shift)],
        }
    }

    fn apply(&self, [x, y]: Point) -> Point {
        let [[a, b], [c, d]] = self.matrix;
        [a * x + b * y + self.shift[0], c * x + d * y + self.shift[1]]
    }
}

fn on_curve(stroke: &Stroke, t: f32) -> Point {
    let s = 1.0 - t;
    let weights = [s * s * s, 3.0 * s * s * t, 3.0 * s * t * t, t * t * t];
    [0, 1].map(|axis| (0..4).map(|i| weights[i] * stroke[i][axis]).sum())
}

/// Lays one straight piece of the path onto the paper, touching only the pixels near it.
fn cover(coverage: &mut [f32], size: usize, from: Point, to: Point, radius: f32) {
    let reach = radius + 0.5;
    let range = |axis: usize| {
        let low = (from[axis].min(to[axis]) - reach - 0.5).ceil().max(0.0) as usize;
        let high = (from[axis].max(to[axis]) + reach - 0.5).floor();
        // A negative end means that the piece lies off the paper.
        low..if high < 0.0 { 0 } else { (high as usize + 1).min(size) }
    };
    let along = [to[0] - from[0], to[1] - from[1]];
    let squared = (along[0] * along[0] + along[1] * along[1]).max(1e-12);
    for row in range(1) {
        for column in range(0) {
            let pixel = [column as f32 + 0.5 - from[0], row as f32 + 0.5 - from[1]];
            let share = ((pixel[0] * along[0] + pixel[1] * along[1]) / squared).clamp(0.0, 1.0);
            let away = [pixel[0] - share * along[0], pixel[1] - share * along[1]];
            let distance = (away[0] * away[0] + away[1] * away[1]).sqrt();
            let ink = &mut coverage[row * size + column];
            *ink = ink.max((reach - distance).clamp(0.0, 1.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_piece_covers_its_pixels_fully_and_the_edge_in_part() {
        let mut paper = vec![0.0; 25];
        cover(&mut paper, 5, [0.5, 2.5], [4.5, 2.5], 0.75);
        assert_eq!(&paper[10..15], &[1.0; 5]);
        assert_eq!(&paper[5..10], &[0.25; 5]);
        assert_eq!(&paper[0..5], &[0.0; 5]);
    }

    #[test]
    fn ink_off_the_paper_is_cut_off() {
        let mut paper = vec![0.0; 25];
        cover(&mut paper, 5, [-9.0, -9.0], [-5.0, -5.0], 1.0);
        cover(&mut paper, 5, [9.0, 9.0], [12.0, 12.0], 1.0);
        assert!(paper.iter().all(|&ink| ink == 0.0));
    }
}

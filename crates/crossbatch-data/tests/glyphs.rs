//! The built-in data set: determinism, difficulty, families.

use std::time::Instant;

use crossbatch_data::{DataConfig, Dataset, GlyphsConfig, ImageSpec, Images, Split, load, open};

use crate::support::{assert_sound, class_counts, refuses};

const SPEC: ImageSpec = ImageSpec::new(28, 1, true);

fn glyphs(glyphs: GlyphsConfig) -> DataConfig {
    DataConfig { glyphs, ..DataConfig::default() }
}

fn drawn(dataset: &Dataset, split: Split) -> Images {
    load(dataset, &dataset.indices(split), SPEC, 1 << 30, &|_, _| {}).unwrap().0
}

fn pixels(images: &Images) -> Vec<f32> {
    let mut pixels = Vec::new();
    images.write_f32(&(0..images.len()).collect::<Vec<_>>(), &mut pixels).unwrap();
    pixels
}

#[test]
fn same_seed_same_pixels_and_the_test_half_stands_alone() {
    let small = |train_classes, seed| {
        let config =
            GlyphsConfig { train_classes, test_classes: 20, seed, ..GlyphsConfig::default() };
        open(&glyphs(config)).unwrap()
    };
    let (one, more, other) = (small(10, 1), small(25, 1), small(10, 2));
    assert_sound(&more);
    let test = |dataset: &Dataset| pixels(&drawn(dataset, Split::Test));
    assert_eq!(test(&one), test(&more));
    assert_ne!(test(&one), test(&other));
    let train = pixels(&drawn(&one, Split::Train));
    assert_eq!(train, pixels(&drawn(&more, Split::Train))[..train.len()]);
}

#[test]
fn every_picture_has_ink_and_paper() {
    let dataset = open(&glyphs(GlyphsConfig {
        train_classes: 300,
        test_classes: 2,
        ..GlyphsConfig::default()
    }))
    .unwrap();
    for picture in pixels(&drawn(&dataset, Split::Train)).chunks(28 * 28) {
        let ink: f32 = picture.iter().sum::<f32>() / (28.0 * 28.0);
        assert!((0.005..0.5).contains(&ink), "{ink}");
    }
}

#[test]
fn families_stay_together_in_validation() {
    let config = DataConfig { validation: 0.1, ..DataConfig::default() };
    let dataset = open(&config).unwrap();
    assert_eq!(class_counts(&dataset), [2700, 300, 600]);
    let family = |name: &str| name.split('.').next().unwrap().to_owned();
    let mut role = std::collections::BTreeMap::new();
    for sample in &dataset.samples {
        let role =
            role.entry(family(&dataset.classes[sample.class as usize])).or_insert(sample.split);
        assert_eq!(*role, sample.split);
    }
}

#[test]
fn bad_settings_name_the_key() {
    let config = |change: fn(&mut GlyphsConfig)| {
        let mut config = GlyphsConfig::default();
        change(&mut config);
        glyphs(config)
    };
    refuses(&config(|glyphs| glyphs.family = 0), &["data.glyphs.family = 0", "from 1"]);
    refuses(&config(|glyphs| glyphs.images_per_class = 1), &["data.glyphs.images-per-class = 1"]);
    refuses(&config(|glyphs| glyphs.jitter = f32::NAN), &["data.glyphs.jitter"]);
    refuses(&config(|glyphs| glyphs.pen_max = 0.01), &["data.glyphs.pen-max"]);
    refuses(
        &config(|glyphs| (glyphs.train_classes, glyphs.test_classes) = (0, 1)),
        &["glyphs has 1 class"],
    );
}

/// Recall@1 over the test half by raw pixels: training mean removed, cosine, each image against all
/// others. Trained embeddings must beat this by far, so it must stay low.
#[test]
fn raw_pixels_do_badly() {
    let start = Instant::now();
    let dataset = open(&DataConfig::default()).unwrap();
    let (train, test) = (drawn(&dataset, Split::Train), drawn(&dataset, Split::Test));
    let seconds = start.elapsed().as_secs_f64();
    // 0.1 s on two cores in a release build; this bound is for slow debug machines.
    assert!(seconds < 30.0, "drawing took {seconds} s");
    let side = SPEC.len();
    let mut mean = vec![0.0_f32; side];
    for picture in pixels(&train).chunks(side) {
        for (mean, value) in mean.iter_mut().zip(picture) {
            *mean += value / train.len() as f32;
        }
    }
    let mut rows = pixels(&test);
    for row in rows.chunks_mut(side) {
        row.iter_mut().zip(&mean).for_each(|(value, mean)| *value -= mean);
        let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        row.iter_mut().for_each(|value| *value /= norm);
    }
    let labels = test.labels();
    let (rows, _) = rows.as_chunks::<784>();
    // Every fifth query is enough: 600, one per class.
    let hits = (0..rows.len()).step_by(5).filter(|&query| {
        let nearest = (0..rows.len())
            .filter(|&other| other != query)
            .max_by(|&a, &b| dot(&rows[query], &rows[a]).total_cmp(&dot(&rows[query], &rows[b])))
            .unwrap();
        labels[query] == labels[nearest]
    });
    let recall = hits.count() as f64 / (rows.len() / 5) as f64;
    assert!((0.12..0.28).contains(&recall), "R@1 {recall}");
}

fn dot(a: &[f32; 784], b: &[f32; 784]) -> f32 {
    let (a, b) = (a.as_chunks::<16>().0, b.as_chunks::<16>().0);
    let mut sums = [0.0_f32; 16];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}

//! k-means: Lloyd's iterations from k-means++ seeds.

use std::borrow::Cow;

use rayon::prelude::*;

use super::centres::{CENTRES, Centres, POINTS};
use super::seeding::seed;
use crate::options::Tally;
use crate::random::Random;
use crate::{Error, Options, Vectors};

/// How to cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct KMeansConfig {
    /// How many clusters. At least 1 and at most the number of rows.
    pub clusters: usize,
    /// The most iterations of each run. Default: 100. A run ends earlier once no centre moves, or as `tolerance` says.
    pub max_iterations: usize,
    /// A run ends when an iteration lowers the inertia by less than this share of it. Default: 1e-5.
    pub tolerance: f64,
    /// How many runs, each from seeds of its own; the one with the lowest inertia counts. Default: 1.
    pub restarts: usize,
    /// Fixes every random choice. Default: 0.
    pub seed: u64,
    /// Whether centres are scaled to length one: spherical k-means (Dhillon and Modha, Machine Learning 42, 2001), made
    /// for unit vectors. Default: false.
    pub spherical: bool,
}

impl KMeansConfig {
    /// The defaults, for so many clusters.
    pub fn new(clusters: usize) -> Self {
        let (max_iterations, tolerance, restarts) = (100, 1e-5, 1);
        Self { clusters, max_iterations, tolerance, restarts, seed: 0, spherical: false }
    }
}

/// Clusters of some rows.
#[derive(Debug, Clone, PartialEq)]
pub struct KMeans {
    /// `[clusters, dim]`
    pub centres: Vec<f32>,
    /// The values in a centre.
    pub dim: usize,
    /// The cluster of each row, below the number of clusters.
    pub assignment: Vec<u32>,
    /// The sum of squared Euclidean distances of rows to their centres.
    pub inertia: f64,
    /// Iterations of the run that counts.
    pub iterations: usize,
    /// Whether that run ended by itself, not by `max_iterations`.
    pub converged: bool,
    /// Clusters without a row. There are some only if the rows have fewer different values than there are clusters.
    pub empty: usize,
}

/// Clusters the rows as they are stored, by Euclidean distance.
///
/// Seeds are drawn by k-means++. A cluster that loses all its rows takes the row that is farthest from its centre. The
/// same rows, configuration and machine give the same clusters for any number of threads. Runs on rayon's current pool;
/// memory: the rows as f32, and a few numbers a row. Progress counts iterations, of as many as all runs can have.
///
/// # Errors
///
/// [`Error::Clusters`] if there are fewer rows than clusters, or no cluster; [`Error::Cancelled`] and [`Error::Memory`] as
/// [`Options`] says.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Options, Similarity, Vectors};
/// use crossbatch_retrieval::cluster::{KMeansConfig, k_means};
///
/// let rows = Vectors::new(vec![0.0, 1.0, 10.0, 12.0], 1, Similarity::Euclidean)?;
/// let found = k_means(&rows, &KMeansConfig::new(2), &Options::default())?;
/// assert_eq!(found.inertia, 0.5 + 2.0);
/// assert_eq!(found.assignment[0], found.assignment[1]);
/// assert_ne!(found.assignment[1], found.assignment[2]);
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
pub fn k_means(
    rows: &Vectors,
    config: &KMeansConfig,
    options: &Options<'_>,
) -> Result<KMeans, Error> {
    if config.clusters == 0 || config.clusters > rows.len() {
        return Err(Error::Clusters { clusters: config.clusters, rows: rows.len() });
    }
    // Centres, those that moved, and those that are met; what is known of each point; a block of scores a thread.
    let centres = 3 * 4 * config.clusters * (rows.dim() + 1);
    let block = 4 * (POINTS * rows.dim() + POINTS * CENTRES);
    let work = rayon::current_num_threads() * block + 96 * rows.len();
    options.less(rows.widened_bytes() + centres + work)?;
    let points = rows.rows(0..rows.len());
    let restarts = config.restarts.max(1);
    let work = restarts * config.max_iterations;
    let tally = options.tally(work as u64, work);
    let mut best: Option<KMeans> = None;
    for restart in 0..restarts {
        let found = run(&points, rows.dim(), config, restart as u64, options, &tally)?;
        tally.add((config.max_iterations - found.iterations) as u64);
        if best.as_ref().is_none_or(|best| found.inertia < best.inertia) {
            best = Some(found);
        }
    }
    best.ok_or(Error::Clusters { clusters: config.clusters, rows: rows.len() })
}

fn run(
    points: &[f32],
    dim: usize,
    config: &KMeansConfig,
    restart: u64,
    options: &Options<'_>,
    tally: &Tally<'_>,
) -> Result<KMeans, Error> {
    let mut centres = Centres::none(Cow::Borrowed(points), dim);
    seed(&mut centres, config.clusters, &mut Random::new(config.seed, restart), options)?;
    let (mut iterations, mut converged) = (0, false);
    let mut before = Members::none(config.clusters);
    let mut inertia = f64::INFINITY;
    while iterations < config.max_iterations && !converged {
        options.check()?;
        fill_empty(&mut centres);
        let members = Members::of(&centres);
        let (moved, values) = members.means(&before, &centres, config.spherical);
        before = members;
        centres.move_to(&moved, &values);
        iterations += 1;
        tally.add(1);
        let now = inertia_of(&centres);
        converged = moved.is_empty() || inertia - now <= config.tolerance * now;
        inertia = now;
    }
    let members = Members::of(&centres);
    Ok(KMeans {
        inertia: inertia_of(&centres),
        assignment: centres.places.iter().map(|place| place.owner).collect(),
        centres: centres.values,
        dim,
        iterations,
        converged,
        empty: members.clusters().filter(|cluster| cluster.is_empty()).count(),
    })
}

/// Summed in parts of fixed size, in order.
fn inertia_of(centres: &Centres<'_>) -> f64 {
    let rows: Vec<usize> = (0..centres.places.len()).collect();
    let part = |rows: &[usize]| rows.iter().map(|&i| centres.squared_distance(i)).sum::<f64>();
    rows.par_chunks(4096).map(part).collect::<Vec<f64>>().iter().sum()
}

/// Gives each empty cluster the row farthest from its centre, from a cluster that keeps another.
fn fill_empty(centres: &mut Centres<'_>) {
    let mut sizes = vec![0usize; centres.len()];
    centres.places.iter().for_each(|place| sizes[place.owner as usize] += 1);
    let empty: Vec<u32> = (0..sizes.len() as u32).filter(|&c| sizes[c as usize] == 0).collect();
    if empty.is_empty() {
        return;
    }
    let distances: Vec<f64> =
        (0..centres.places.len()).into_par_iter().map(|i| centres.squared_distance(i)).collect();
    let mut order: Vec<usize> = (0..distances.len()).filter(|&i| distances[i] > 0.0).collect();
    order.sort_by(|&a, &b| distances[b].total_cmp(&distances[a]));
    let mut farthest = order.into_iter();
    for cluster in empty {
        let others = |i: &usize| sizes[centres.places[*i].owner as usize] > 1;
        let Some(row) = farthest.find(others) else {
            return; // every row lies on its centre
        };
        sizes[centres.places[row].owner as usize] -= 1;
        sizes[cluster as usize] += 1;
        centres.give(row, cluster);
    }
}

/// The rows of each cluster, ascending.
struct Members {
    ends: Vec<usize>,
    rows: Vec<u32>,
}

impl Members {
    fn none(clusters: usize) -> Self {
        Self { ends: vec![0; clusters + 1], rows: Vec::new() }
    }

    fn of(centres: &Centres<'_>) -> Self {
        let mut ends = vec![0; centres.len() + 1];
        centres.places.iter().for_each(|place| ends[place.owner as usize + 1] += 1);
        (1..ends.len()).for_each(|c| ends[c] += ends[c - 1]);
        let mut next = ends.clone();
        let mut rows = vec![0; centres.places.len()];
        for (row, place) in (0..).zip(&centres.places) {
            rows[next[place.owner as usize]] = row;
            next[place.owner as usize] += 1;
        }
        Self { ends, rows }
    }

    fn clusters(&self) -> impl Iterator<Item = &[u32]> {
        self.ends.windows(2).map(|ends| &self.rows[ends[0]..ends[1]])
    }

    /// The clusters that have other rows than `before`, and their means, as far as these are new centres.
    fn means(&self, before: &Self, centres: &Centres<'_>, spherical: bool) -> (Vec<u32>, Vec<f32>) {
        let changed: Vec<(u32, &[u32])> = (0..)
            .zip(self.clusters().zip(before.clusters()))
            .filter(|(_, (now, before))| now != before && !now.is_empty())
            .map(|(cluster, (now, _))| (cluster, now))
            .collect();
        let means: Vec<Vec<f32>> =
            changed.par_iter().map(|(_, rows)| mean(rows, centres, spherical)).collect();
        let new = |((cluster, _), mean): &((u32, &[u32]), Vec<f32>)| {
            !mean.is_empty() && centres.centre(*cluster) != mean.as_slice()
        };
        let (moved, values): (Vec<u32>, Vec<Vec<f32>>) =
            changed.into_iter().zip(means).filter(new).map(|((c, _), mean)| (c, mean)).unzip();
        (moved, values.concat())
    }
}

/// The mean of some rows, in f64; of length one if `spherical`, and nothing if it has no direction then.
fn mean(rows: &[u32], centres: &Centres<'_>, spherical: bool) -> Vec<f32> {
    let mut sum = vec![0.0f64; centres.dim];
    for &row in rows {
        let point = centres.point(row as usize);
        sum.iter_mut().zip(point).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    let size = if spherical {
        sum.iter().map(|value| value * value).sum::<f64>().sqrt()
    } else {
        rows.len() as f64
    };
    if size == 0.0 {
        return Vec::new();
    }
    sum.into_iter().map(|value| (value / size) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Similarity;

    fn blobs(clusters: usize, each: usize, dim: usize, noise: f32) -> (Vectors, Vec<u32>) {
        let value = |i: usize| ((i as f64 * 12.9898).sin() * 43758.5453).fract() as f32;
        let data = (0..clusters * each).flat_map(|row| {
            let centre = move |d: usize| value((row % clusters) * dim + d);
            (0..dim).map(move |d| centre(d) + noise * value(row * dim + d + 50_000))
        });
        let labels = (0..clusters * each).map(|row| (row % clusters) as u32).collect();
        (Vectors::new(data.collect::<Vec<f32>>(), dim, Similarity::Euclidean).unwrap(), labels)
    }

    #[test]
    fn clusters_far_apart_are_found() {
        let (rows, labels) = blobs(12, 30, 6, 0.02);
        let found = k_means(
            &rows,
            &KMeansConfig { restarts: 3, ..KMeansConfig::new(12) },
            &Options::default(),
        )
        .unwrap();
        assert!(found.converged);
        assert_eq!(found.empty, 0);
        let score = crate::cluster::adjusted_mutual_information(
            &found.assignment,
            &labels,
            crate::cluster::Normaliser::Arithmetic,
        );
        assert!((score.unwrap() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_result_is_a_fixed_point_of_lloyd() {
        let (rows, _) = blobs(20, 25, 4, 0.9);
        let config = KMeansConfig { tolerance: 0.0, max_iterations: 1000, ..KMeansConfig::new(33) };
        let found = k_means(&rows, &config, &Options::default()).unwrap();
        let mut inertia = 0.0;
        for i in 0..rows.len() {
            let near = |c: &[f32]| crossbatch_math::product::squared_distance_f64(&rows.row(i), c);
            let all: Vec<f64> = found.centres.chunks_exact(4).map(near).collect();
            let own = all[found.assignment[i] as usize];
            assert!(all.iter().all(|&other| own <= other + 1e-6));
            inertia += own;
        }
        assert!((inertia - found.inertia).abs() < 1e-9);
        for (c, centre) in found.centres.chunks_exact(4).enumerate() {
            let members: Vec<usize> =
                (0..rows.len()).filter(|&i| found.assignment[i] as usize == c).collect();
            for (d, &value) in centre.iter().enumerate() {
                let sum: f64 = members.iter().map(|&i| f64::from(rows.row(i)[d])).sum();
                assert!((sum / members.len() as f64 - f64::from(value)).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn threads_and_repetition_change_nothing() {
        let (rows, _) = blobs(40, 20, 8, 0.7);
        let config = KMeansConfig { restarts: 2, seed: 5, ..KMeansConfig::new(60) };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| k_means(&rows, &config, &Options::default()).unwrap())
        };
        let expected = run(1);
        assert!(run(2) == expected && run(3) == expected && run(1) == expected);
        let other =
            k_means(&rows, &KMeansConfig { seed: 6, ..config }, &Options::default()).unwrap();
        assert_ne!(other.assignment, expected.assignment);
    }

    #[test]
    fn as_many_clusters_as_rows_leave_nothing_over() {
        let (rows, _) = blobs(30, 1, 3, 0.0);
        let found = k_means(&rows, &KMeansConfig::new(30), &Options::default()).unwrap();
        assert_eq!((found.inertia, found.empty), (0.0, 0));
    }

    #[test]
    fn equal_rows_leave_clusters_empty() {
        let mut data = vec![1.0; 20];
        data.extend([5.0; 4]);
        let rows = Vectors::new(data, 2, Similarity::Dot).unwrap();
        let found = k_means(&rows, &KMeansConfig::new(4), &Options::default()).unwrap();
        assert_eq!((found.inertia, found.empty), (0.0, 2));
        assert_ne!(found.assignment[0], found.assignment[11]);
    }

    #[test]
    fn spherical_centres_have_length_one() {
        let (rows, _) = blobs(10, 20, 5, 0.5);
        let rows =
            Vectors::new(rows.rows(0..rows.len()).into_owned(), 5, Similarity::Cosine).unwrap();
        let config = KMeansConfig { spherical: true, ..KMeansConfig::new(10) };
        let found = k_means(&rows, &config, &Options::default()).unwrap();
        for centre in found.centres.chunks_exact(5) {
            assert!((crossbatch_math::product::dot_f64(centre, centre) - 1.0).abs() < 1e-6);
        }
        // For unit rows and unit centres the nearest centre is that of the largest cosine.
        for i in 0..rows.len() {
            let near = |c: &[f32]| crossbatch_math::product::dot_f64(&rows.row(i), c);
            let all: Vec<f64> = found.centres.chunks_exact(5).map(near).collect();
            assert!(all.iter().all(|&x| x <= all[found.assignment[i] as usize] + 1e-6));
        }
    }

    #[test]
    fn impossible_numbers_are_errors() {
        let (rows, _) = blobs(3, 1, 2, 0.1);
        for clusters in [0, 4] {
            let found = k_means(&rows, &KMeansConfig::new(clusters), &Options::default());
            assert_eq!(found, Err(Error::Clusters { clusters, rows: 3 }));
        }
    }

    #[test]
    fn progress_and_cancellation() {
        let (rows, _) = blobs(6, 10, 3, 0.3);
        let calls = std::sync::Mutex::new(Vec::new());
        let note = |done, total| calls.lock().unwrap().push((done, total));
        let config = KMeansConfig { restarts: 2, ..KMeansConfig::new(6) };
        k_means(&rows, &config, &Options::default().with_progress(&note)).unwrap();
        assert_eq!(calls.lock().unwrap().last(), Some(&(200, 200)));
        let stop = std::sync::atomic::AtomicBool::new(true);
        let found = k_means(&rows, &config, &Options::default().with_cancel(&stop));
        assert_eq!(found, Err(Error::Cancelled));
    }
}

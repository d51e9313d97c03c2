//! The slow and obvious way: compute all similarities, sort them, walk down the list.
//!
//! Also the vectors that make ranking hard: ties, equal rows, zero rows, and rows closer than f32 can tell.

use crossbatch_retrieval::{Exclude, Metrics, Similarity, Vectors};
use proptest::prelude::*;

/// All items that `query` meets with their similarities, best first.
pub(crate) fn ranking(
    queries: &Vectors,
    query: usize,
    gallery: &Vectors,
    exclude: Exclude,
) -> Vec<(u32, f64)> {
    let mut items: Vec<(u32, f64)> = (0..gallery.len())
        .filter(|&item| exclude == Exclude::Nothing || item != query)
        .map(|item| (item as u32, queries.closeness(query, gallery, item)))
        .collect();
    // Stable, so equal similarities stay in index order.
    items.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap());
    items
}

/// The metrics by their definitions; nothing if no query has a match.
pub(crate) fn metrics(
    queries: &Vectors,
    query_labels: &[u32],
    gallery: &Vectors,
    gallery_labels: &[u32],
    exclude: Exclude,
    cuts: &[usize],
) -> Option<Metrics> {
    let mut sums = Metrics {
        recall_at: cuts.iter().map(|&cut| (cut, 0.0)).collect(),
        precision_at: cuts.iter().map(|&cut| (cut, 0.0)).collect(),
        map_at_r: 0.0,
        r_precision: 0.0,
        mean_average_precision: 0.0,
        mean_reciprocal_rank: 0.0,
        map_at: cuts.iter().map(|&cut| (cut, 0.0)).collect(),
        ndcg_at: cuts.iter().map(|&cut| (cut, 0.0)).collect(),
        mean_rank: 0.0,
        median_rank: 0.0,
        queries: 0,
        left_out: 0,
    };
    let mut first_ranks = Vec::new();
    for (query, label) in query_labels.iter().enumerate() {
        let matches: Vec<bool> = ranking(queries, query, gallery, exclude)
            .iter()
            .map(|&(item, _)| gallery_labels[item as usize] == *label)
            .collect();
        let hits = |cut: usize| matches.iter().take(cut).filter(|&&hit| hit).count() as f64;
        let positives = hits(matches.len());
        if positives == 0.0 {
            sums.left_out += 1;
            continue;
        }
        sums.queries += 1;
        for (cut, sum) in &mut sums.recall_at {
            *sum += f64::from(u8::from(hits(*cut) > 0.0));
        }
        for (cut, sum) in &mut sums.precision_at {
            *sum += hits(*cut) / *cut as f64;
        }
        let precisions = |cut: usize| -> f64 {
            let places = (1..=cut.min(matches.len())).filter(|&place| matches[place - 1]);
            places.map(|place| hits(place) / place as f64).sum::<f64>()
        };
        let precision_at_hits = |cut: usize| precisions(cut) / positives;
        for (cut, sum) in &mut sums.map_at {
            *sum += precisions(*cut) / positives.min(*cut as f64);
        }
        for (cut, sum) in &mut sums.ndcg_at {
            let gain = |place: usize| 1.0 / (place as f64 + 1.0).log2();
            let places = (1..=(*cut).min(matches.len())).filter(|&place| matches[place - 1]);
            let ideal = 1..=(positives as usize).min(*cut);
            *sum += places.map(gain).sum::<f64>() / ideal.map(gain).sum::<f64>();
        }
        sums.r_precision += hits(positives as usize) / positives;
        sums.map_at_r += precision_at_hits(positives as usize);
        sums.mean_average_precision += precision_at_hits(matches.len());
        let first = matches.iter().position(|&hit| hit).unwrap();
        sums.mean_reciprocal_rank += 1.0 / (first + 1) as f64;
        first_ranks.push((first + 1) as f64);
    }
    let queries = sums.queries as f64;
    let cut_metrics =
        [&mut sums.recall_at, &mut sums.precision_at, &mut sums.map_at, &mut sums.ndcg_at];
    for (_, value) in cut_metrics.into_iter().flatten() {
        *value /= queries;
    }
    first_ranks.sort_by(f64::total_cmp);
    sums.mean_rank = first_ranks.iter().sum::<f64>() / queries;
    if let Some(last) = first_ranks.len().checked_sub(1) {
        sums.median_rank = (first_ranks[last / 2] + first_ranks[last.div_ceil(2)]) / 2.0;
    }
    for value in [
        &mut sums.map_at_r,
        &mut sums.r_precision,
        &mut sums.mean_average_precision,
        &mut sums.mean_reciprocal_rank,
    ] {
        *value /= queries;
    }
    (sums.queries > 0).then_some(sums)
}

/// Whether two results agree up to the rounding of a mean.
pub(crate) fn assert_close(found: &Metrics, expected: &Metrics) {
    let values = |metrics: &Metrics| -> Vec<f64> {
        let cut = metrics.recall_at.iter().chain(&metrics.precision_at);
        let cut = cut.chain(&metrics.map_at).chain(&metrics.ndcg_at);
        let mut values: Vec<f64> = cut.flat_map(|&(cut, value)| [cut as f64, value]).collect();
        values.extend([metrics.map_at_r, metrics.r_precision]);
        values.extend([metrics.mean_average_precision, metrics.mean_reciprocal_rank]);
        values.extend([metrics.mean_rank, metrics.median_rank]);
        values.extend([metrics.queries as f64, metrics.left_out as f64]);
        values
    };
    let (a, b) = (values(found), values(expected));
    let close = a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-12);
    assert!(close, "found {found:?}\nexpected {expected:?}");
}

/// `rows` rows of `dim` values, each row of a kind of its own.
pub(crate) fn hard_rows(
    rows: impl Into<proptest::collection::SizeRange>,
    dim: usize,
) -> impl Strategy<Value = Vectors> {
    let whole = || proptest::collection::vec(-2i8..=2, dim);
    let row = prop_oneof![
        // Few distinct directions: exact ties, equal rows, zero rows.
        4 => whole().prop_map(|row| row.into_iter().map(f32::from).collect::<Vec<_>>()),
        // The same, moved by less than f32 sums can tell.
        3 => (whole(), 0..dim, -4i8..=4).prop_map(|(row, at, step)| {
            let mut row: Vec<f32> = row.into_iter().map(f32::from).collect();
            row[at] += f32::from(step) * 3e-7;
            row
        }),
        // All rows alike, as a collapsed model makes them.
        1 => Just(vec![1.0; dim]),
        2 => proptest::collection::vec(-1.0f32..1.0, dim),
    ];
    proptest::collection::vec(row, rows)
        .prop_map(move |rows| Vectors::new(rows.concat(), dim, Similarity::Cosine).unwrap())
}

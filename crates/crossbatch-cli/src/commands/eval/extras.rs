//! What can be asked for besides the ranking: clusters, verification, the health of the vectors.

use crossbatch_retrieval::{
    Error, Options, Similarity, Vectors,
    cluster::{
        KMeansConfig, Normaliser, adjusted_mutual_information, k_means,
        normalised_mutual_information,
    },
    health::{duplicates, similarity_health, spectrum, uniformity},
    verification::{VerificationConfig, verify, verify_within},
};
use serde_json::{Value, json};

use super::measure::shown;
use crate::{args::EvalArgs, printer::Printer};

/// Rates of false matches at which the missed ones are reported.
const FALSE_MATCH_RATES: [f64; 3] = [0.01, 0.001, 0.0001];

/// The share of the variance that the principal components reported hold.
const VARIANCE: f64 = 0.9;

/// A heading, and numbers under the keys that they have in JSON.
pub(super) struct Extra {
    pub(super) title: String,
    pub(super) values: Vec<(String, Value)>,
}

/// Queries and gallery with the codes of their labels. `gallery` is `None` where the queries search each other.
pub(super) struct Sides<'a> {
    pub(super) queries: &'a Vectors,
    pub(super) query_codes: &'a [u32],
    pub(super) gallery: Option<&'a Vectors>,
    pub(super) gallery_codes: &'a [u32],
}

/// All that the options ask for.
pub(super) fn measure(
    sides: &Sides<'_>,
    args: &EvalArgs,
    seed: u64,
    options: &Options<'_>,
    printer: &Printer,
) -> Result<Vec<Extra>, Error> {
    let mut extras = Vec::new();
    if args.cluster {
        extras.push(shown(printer, "clusters", options, |options| cluster(sides, seed, options))?);
    }
    if args.verification {
        extras
            .push(shown(printer, "verification", options, |options| verification(sides, options))?);
    }
    if args.health {
        extras.push(shown(printer, "health", options, |options| health(sides, options))?);
    }
    Ok(extras)
}

/// k-means of the queries into as many clusters as they have classes, beside these classes.
fn cluster(sides: &Sides<'_>, seed: u64, options: &Options<'_>) -> Result<Extra, Error> {
    let mut classes = sides.query_codes.to_vec();
    classes.sort_unstable();
    classes.dedup();
    let config = KMeansConfig { seed, ..KMeansConfig::new(classes.len()) };
    let found = k_means(sides.queries, &config, options)?.assignment;
    let labels = sides.query_codes;
    let nmi = normalised_mutual_information(labels, &found, Normaliser::Arithmetic)?;
    let ami = adjusted_mutual_information(labels, &found, Normaliser::Arithmetic)?;
    Ok(Extra {
        title: format!("k-means into {} clusters", classes.len()),
        values: pairs([
            ("nmi", json!(nmi)),
            ("ami", json!(ami)),
            ("clusters", json!(classes.len())),
        ]),
    })
}

/// All pairs, right and wrong ones.
fn verification(sides: &Sides<'_>, options: &Options<'_>) -> Result<Extra, Error> {
    let config = VerificationConfig::default();
    let (queries, labels) = (sides.queries, sides.query_codes);
    let curve = match sides.gallery {
        None => verify_within(queries, labels, &config, options)?,
        Some(gallery) => verify(queries, labels, gallery, sides.gallery_codes, &config, options)?,
    };
    let equal = curve.equal_error_rate();
    let mut values = pairs([
        ("roc_auc", json!(curve.roc_auc())),
        ("eer", json!(equal.fmr)),
        ("eer_threshold", json!(equal.threshold)),
    ]);
    for rate in FALSE_MATCH_RATES {
        let point = curve.at_fmr(rate);
        values.push((format!("fnmr_at_fmr_{rate}"), json!(point.fnmr)));
        // Infinite where nothing can be let in; JSON has no word for that but null.
        values.push((format!("threshold_at_fmr_{rate}"), json!(point.threshold)));
    }
    values.extend(pairs([
        ("positive_pairs", json!(curve.positives())),
        ("negative_pairs", json!(curve.negatives())),
    ]));
    Ok(Extra { title: "verification, over all pairs".to_owned(), values })
}

/// How the queries' vectors lie.
fn health(sides: &Sides<'_>, options: &Options<'_>) -> Result<Extra, Error> {
    let rows = sides.queries;
    // First what is likely to take most memory: a budget that is too small is found out at once then.
    let spectrum = spectrum(rows, options)?;
    let similarity = similarity_health(rows, sides.query_codes, options)?;
    let mut values = Vec::new();
    for (name, spread) in [("positive", &similarity.positive), ("negative", &similarity.negative)] {
        if let Some(spread) = spread {
            values.push((format!("{name}_mean"), json!(spread.mean)));
            values.push((format!("{name}_deviation"), json!(spread.deviation)));
        }
    }
    values.extend(similarity.alignment.map(|value| ("alignment".to_owned(), json!(value))));
    if rows.similarity() == Similarity::Cosine && rows.len() > 1 {
        let value = uniformity(rows, &VerificationConfig::default(), options)?;
        values.push(("uniformity".to_owned(), json!(value)));
    }
    let duplicates = duplicates(rows, options)?;
    values.extend(pairs([
        ("effective_rank", json!(spectrum.effective_rank)),
        ("principal_fraction", json!(spectrum.principal_fraction(VARIANCE)?)),
        ("duplicates", json!(duplicates.repeated)),
        ("distinct_rows", json!(duplicates.different)),
    ]));
    Ok(Extra { title: "health of the vectors".to_owned(), values })
}

fn pairs<const N: usize>(values: [(&str, Value); N]) -> Vec<(String, Value)> {
    values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

//! What can be asked for besides the ranking: clusters, verification, the health of the vectors.

use crossbatch_retrieval::{
    Error, Options, Relation, Similarity, Vectors,
    cluster::{
        KMeansConfig, Normaliser, adjusted_mutual_information, k_means,
        normalised_mutual_information,
    },
    health::{duplicates, similarity_health, spectrum, uniformity},
    verification::{VerificationConfig, verify_related},
};
use serde_json::{Value, json};

use super::measure::shown;
use crate::{args::EvalArgs, printer::Printer};

/// Rates of false matches at which the missed ones are reported, unless --fmr gives others.
const FALSE_MATCH_RATES: [f64; 3] = [0.01, 0.001, 0.0001];

/// The share of the variance that the principal components reported hold.
const VARIANCE: f64 = 0.9;

/// A heading, and numbers under the keys that they have in JSON.
pub(super) struct Extra {
    pub(super) title: String,
    pub(super) values: Vec<(String, Value)>,
}

/// What was ranked. `gallery` is `None` where the queries search each other, as they are.
pub(super) struct Sides<'a> {
    pub(super) queries: &'a Vectors,
    pub(super) gallery: Option<&'a Vectors>,
    pub(super) relation: &'a Relation<'a>,
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
        extras.push(shown(printer, "clusters", options, |options| {
            cluster(sides, args, seed, options)
        })?);
    }
    if args.verification {
        extras.push(shown(printer, "verification", options, |options| {
            verification(sides, args, options)
        })?);
    }
    if args.health {
        extras.push(shown(printer, "health", options, |options| health(sides, options))?);
    }
    Ok(extras)
}

/// k-means of the queries into as many clusters as they have classes, beside these classes.
fn cluster(
    sides: &Sides<'_>,
    args: &EvalArgs,
    seed: u64,
    options: &Options<'_>,
) -> Result<Extra, Error> {
    let labels = sides.relation.labels().queries;
    let mut classes = labels.to_vec();
    classes.sort_unstable();
    classes.dedup();
    let restarts = args.restarts.unwrap_or(1);
    let config = KMeansConfig { seed, restarts, ..KMeansConfig::new(classes.len()) };
    let found = k_means(sides.queries, &config, options)?.assignment;
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

/// All pairs that the ranking lets meet, right and wrong ones.
fn verification(sides: &Sides<'_>, args: &EvalArgs, options: &Options<'_>) -> Result<Extra, Error> {
    let config = VerificationConfig::default();
    let curve = verify_related(sides.queries, sides.gallery, sides.relation, &config, options)?;
    let equal = curve.equal_error_rate();
    let mut values = pairs([
        ("roc_auc", json!(curve.roc_auc())),
        ("eer", json!(equal.fmr)),
        ("eer_threshold", json!(equal.threshold)),
    ]);
    let rates = if args.fmr.is_empty() { &FALSE_MATCH_RATES[..] } else { &args.fmr };
    for (at, &rate) in rates.iter().enumerate() {
        if rates[..at].contains(&rate) {
            continue;
        }
        let point = curve.at_fmr(rate);
        values.push((format!("fnmr_at_fmr_{rate}"), json!(point.fnmr)));
        // Infinite where nothing can be let in; JSON has no word for that but null.
        values.push((format!("threshold_at_fmr_{rate}"), json!(point.threshold)));
    }
    values.extend(pairs([
        ("positive_pairs", json!(curve.positives())),
        ("negative_pairs", json!(curve.negatives())),
    ]));
    let left = if args.ignore_same.is_empty() { "" } else { " that --ignore-same leaves" };
    Ok(Extra { title: format!("verification, over all pairs{left}"), values })
}

/// How the queries' vectors lie. They are looked at among themselves, so no rule of who meets whom matters.
fn health(sides: &Sides<'_>, options: &Options<'_>) -> Result<Extra, Error> {
    let rows = sides.queries;
    // First what is likely to take most memory: a budget that is too small is found out at once then.
    let spectrum = spectrum(rows, options)?;
    let similarity = similarity_health(rows, sides.relation.labels().queries, options)?;
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

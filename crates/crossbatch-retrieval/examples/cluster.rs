//! Clusters vectors from a file of raw little-endian f32 values and compares the clusters with labels from a file of raw
//! u32 values. One JSON line says how long it took and how good it is. `benches/clustering` runs it beside faiss and
//! scikit-learn.
//!
//! ```sh
//! cargo run --release -p crossbatch-retrieval --example cluster -- rows.f32 labels.u32 128 11316 [iterations] [seed]
//! ```

use std::error::Error;
use std::time::Instant;

use crossbatch_retrieval::cluster::{
    KMeansConfig, Normaliser, adjusted_mutual_information, k_means, normalised_mutual_information,
};
use crossbatch_retrieval::{Options, Similarity, Vectors};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rows, labels, dim, clusters, rest @ ..] = arguments.as_slice() else {
        return Err("usage: cluster ROWS.f32 LABELS.u32 DIM CLUSTERS [ITERATIONS] [SEED]".into());
    };
    let rows: Vec<f32> = words(rows)?.into_iter().map(f32::from_le_bytes).collect();
    let labels: Vec<u32> = words(labels)?.into_iter().map(u32::from_le_bytes).collect();
    let rows = Vectors::new(rows, dim.parse()?, Similarity::Euclidean)?;
    let mut config = KMeansConfig::new(clusters.parse()?);
    if let Some(iterations) = rest.first() {
        config.max_iterations = iterations.parse()?;
    }
    if let Some(seed) = rest.get(1) {
        config.seed = seed.parse()?;
    }

    let start = Instant::now();
    let found = k_means(&rows, &config, &Options::default())?;
    let k_means_seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let nmi = normalised_mutual_information(&found.assignment, &labels, Normaliser::Arithmetic)?;
    let nmi_seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let ami = adjusted_mutual_information(&found.assignment, &labels, Normaliser::Arithmetic)?;
    let ami_seconds = start.elapsed().as_secs_f64();
    let line = format!(
        "{{\"k_means_seconds\": {k_means_seconds}, \"nmi_seconds\": {nmi_seconds}, \
         \"ami_seconds\": {ami_seconds}, \"inertia\": {}, \"iterations\": {}, \"empty\": {}, \
         \"nmi\": {nmi}, \"ami\": {ami}}}\n",
        found.inertia, found.iterations, found.empty
    );
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes())?;
    Ok(())
}

/// The file's bytes, in fours.
fn words(path: &str) -> Result<Vec<[u8; 4]>, Box<dyn Error>> {
    let file = std::fs::OpenOptions::new().read(true).open(path);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file.map_err(|error| format!("{path}: {error}"))?, &mut bytes)?;
    let (words, rest) = bytes.as_chunks::<4>();
    if rest.is_empty() {
        Ok(words.to_vec())
    } else {
        Err(format!("{path}: not whole words").into())
    }
}

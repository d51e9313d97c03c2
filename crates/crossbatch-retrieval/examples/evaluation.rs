//! Times an evaluation of clustered unit vectors: the Rust side of `benches/evaluation`.
//!
//! `evaluation ROWS DIM [--class N] [--spread S] [--repeat N] [--top K] [--budget BYTES] [--save FILE]` prints a line of
//! JSON: seconds, peak memory of the process, and the metrics. Vectors are centres of classes of five (or N), moved by
//! noise of length about `S`; `--save` writes them as raw little-endian f32 for the peers.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use crossbatch_math::counting::Counting;
use crossbatch_retrieval::{
    Exclude, Ignore, Metrics, MetricsConfig, Options, Relation, Similarity, Vectors, measure,
    nearest,
};

#[global_allocator]
static ALLOCATOR: Counting<std::alloc::System> = Counting::new(std::alloc::System);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1).cloned()
    };
    let (rows, dim) = (args[0].parse::<usize>()?, args[1].parse::<usize>()?);
    let spread: f64 = value("--spread").as_deref().unwrap_or("1.0").parse()?;
    let repeat: usize = value("--repeat").as_deref().unwrap_or("1").parse()?;
    let class: usize = value("--class").as_deref().unwrap_or("5").parse()?;
    let data = clustered(rows, dim, class, spread);
    if let Some(path) = value("--save") {
        let bytes: Vec<u8> = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        fs_err::write(path, bytes)?;
    }
    let labels: Vec<u32> = (0..rows).map(|i| (i / class) as u32).collect();
    let mut options = Options::default();
    if let Some(bytes) = value("--budget") {
        options = options.with_memory(bytes.parse()?);
    }
    let vectors = Vectors::new(data, dim, Similarity::Cosine)?;
    let config = MetricsConfig { recall_at: vec![1, 10, 100, 1000] };
    let top: Option<usize> = value("--top").map(|k| k.parse()).transpose()?;
    let mut seconds = Vec::new();
    let mut metrics = None;
    ALLOCATOR.start();
    for _ in 0..repeat {
        let start = Instant::now();
        match top {
            Some(k) => {
                drop(nearest(&vectors, &vectors, k, &Ignore::from(Exclude::SameIndex), &options)?)
            }
            None => {
                let relation = Relation::within(&labels);
                let scores = measure(&vectors, &vectors, &relation, &config.metrics(), &options)?;
                metrics = Some(Metrics::from_scores(&scores));
            }
        }
        seconds.push(start.elapsed().as_secs_f64());
    }
    let extra = ALLOCATOR.stop();
    print!(
        "{{\"rows\": {rows}, \"dim\": {dim}, \"seconds\": {seconds:?}, \"extra_bytes\": {extra}"
    );
    print!(", \"peak_bytes\": {}", peak_bytes()?);
    if let Some(metrics) = metrics {
        for (k, value) in &metrics.recall_at {
            print!(", \"recall_at_{k}\": {value}");
        }
        let precision = metrics.precision(1).unwrap_or(f64::NAN);
        print!(", \"precision_at_1\": {precision}, \"map_at_r\": {}", metrics.map_at_r);
        print!(", \"r_precision\": {}", metrics.r_precision);
    }
    println!("}}");
    Ok(())
}

/// The most memory that this process has held, from Linux; 0 elsewhere.
fn peak_bytes() -> Result<usize, Box<dyn std::error::Error>> {
    let Ok(status) = fs_err::read_to_string("/proc/self/status") else {
        return Ok(0);
    };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    Ok(1024 * kib.map_or(Ok(0), |kib| kib.trim().parse::<usize>())?)
}

/// Classes of `class` rows around random centres, each row of length one.
fn clustered(rows: usize, dim: usize, class: usize, spread: f64) -> Vec<f32> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut centre = vec![0.0; dim];
    let mut data = Vec::with_capacity(rows * dim);
    for row in 0..rows {
        if row % class == 0 {
            let length = (dim as f64).sqrt();
            centre.fill_with(|| random.normal() / length);
        }
        let start = data.len();
        let noise = spread / (dim as f64).sqrt();
        data.extend(centre.iter().map(|centre| (centre + noise * random.normal()) as f32));
        let row: &mut [f32] = &mut data[start..];
        let length = row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        row.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
    data
}

/// Xorshift by Marsaglia ("Xorshift RNGs", 2003), and sums of twelve uniform numbers for normal ones.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

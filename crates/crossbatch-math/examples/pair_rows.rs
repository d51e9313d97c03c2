//! Times the pieces on this machine; scratch.
use crossbatch_math::pair_rows::{Bank, Problem, forward, program::*};
use std::time::Instant;
fn main() {
    let args: Vec<usize> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let (b, m, d, classes) = (args[0], args[1], args[2], args[3]);
    let noise_amount = args.get(4).copied().unwrap_or(50) as f32 / 100.0;
    let mut s = 1u64;
    let mut next = move || {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        ((s >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    };
    let centres: Vec<f32> = (0..classes * d).map(|_| next()).collect();
    let mut make = |n: usize| {
        let mut v = vec![0.0; n * d];
        let mut l = vec![0i32; n];
        for i in 0..n {
            let c = (i * 7919) % classes;
            l[i] = c as i32;
            for k in 0..d {
                v[i * d + k] = centres[c * d + k] + noise_amount * next();
            }
            let nn = v[i * d..][..d].iter().map(|x| x * x).sum::<f32>().sqrt();
            v[i * d..][..d].iter_mut().for_each(|x| *x /= nn);
        }
        (v, l)
    };
    let (refs, labels) = make(m);
    let (anchors, al) = make(b);
    let codes: Vec<i32> = al.iter().flat_map(|l| [*l, 0, -1]).collect();
    let ids = vec![1; m];
    {
        let cpu = || {
            let s = std::fs::read_to_string("/proc/self/stat").unwrap();
            let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
            (f[11].parse::<u64>().unwrap() + f[12].parse::<u64>().unwrap()) as f64 * 10.0
        };
        let mut out = vec![0.0; b * m];
        let c = cpu();
        for _ in 0..50 {
            crossbatch_math::product::rows_times_rows(&anchors, &refs, d, &mut out);
        }
        let per = (cpu() - c) / 50.0;
        println!(
            "gemm product: {per:.2} ms of CPU a call, {:.0} GFLOP/s a core",
            2.0 * (b * m * d) as f64 / per * 1e-6
        );
    }
    for (name, t, body) in [
        (
            "contrastive",
            [1.0f32, 0.5],
            Body::Sides {
                positive: Term::Linear { offset: 0.0 },
                positives: PositiveRule::ALL,
                negative: Term::Linear { offset: 0.5 },
                negatives: NegativeRule { violating: true, ..NegativeRule::ALL },
            },
        ),
        (
            "ms",
            [0.5, 0.5],
            Body::Sides {
                positive: Term::LogSumExp { scale: 2.0 },
                positives: PositiveRule { hardest_negative: Some(0.1), ..PositiveRule::ALL },
                negative: Term::LogSumExp { scale: 40.0 },
                negatives: NegativeRule { hardest_positive: Some(0.1), ..NegativeRule::ALL },
            },
        ),
        (
            "ntxent",
            [0.0, 0.0],
            Body::Sides {
                positive: Term::AgainstNegatives { scale: 10.0 },
                positives: PositiveRule::ALL,
                negative: Term::LogSumExp { scale: 10.0 },
                negatives: NegativeRule::ALL,
            },
        ),
    ] {
        let thresholds: Vec<f32> = (0..b).flat_map(|_| t).collect();
        let p = Problem {
            program: PairProgram { closeness: Closeness::Dot, body },
            dim: d,
            anchors: &anchors,
            codes: &codes,
            thresholds: &thresholds,
            references: Bank::F32(&refs),
            labels: &labels,
            ids: &ids,
            weights: None,
            filled: m,
            drop_same_image: false,
        };
        let mut times = vec![];
        let mut rows = forward(&p);
        for _ in 0..30 {
            let t = Instant::now();
            rows = forward(&p);
            times.push(t.elapsed().as_secs_f64());
        }
        let cpu = || {
            let s = std::fs::read_to_string("/proc/self/stat").unwrap();
            let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
            (f[11].parse::<u64>().unwrap() + f[12].parse::<u64>().unwrap()) as f64 * 10.0
        };
        let c = cpu();
        for _ in 0..100 {
            rows = forward(&p);
        }
        let per = (cpu() - c) / 100.0;
        println!(
            "{name}: {per:.2} ms of CPU a call, {:.0} GFLOP/s a core",
            2.0 * (b * m * d) as f64 / per * 1e-6
        );
        times.sort_by(f64::total_cmp);
        let act: f32 = (0..b).map(|i| rows.fields[i * FIELDS + NEGATIVES]).sum::<f32>() / b as f32;
        println!(
            "{name}: {:.3} ms (best {:.3}), {:.1} active negatives an anchor, products at {:.0} GFLOP/s",
            times[15] * 1e3,
            times[0] * 1e3,
            act,
            2.0 * (b * m * d) as f64 / times[15] / 1e9
        );
    }
}

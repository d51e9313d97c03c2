//! What products of bf16 could bring on this processor: multiplications with additions from registers and from the nearest
//! cache, f32 (`vfmadd231ps`, 16 at once) beside pairs of bf16 (`vdpbf16ps`, 32 at once).
//!
//! Elements are multiplications with their additions. Kernels that keep a tile of sums in registers, as those of convolutions
//! do, cannot be faster than "registers" here; "cache" also loads an operand for every two.

use criterion::{Criterion, criterion_group, criterion_main};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    use criterion::{Criterion, Throughput};

    /// Sums that wait for one another no longer than a pipeline is deep.
    const SUMS: usize = 24;
    const STEPS: usize = 256;

    #[target_feature(enable = "avx512f")]
    fn f32_products(rows: &[[f32; 16]; STEPS], from_cache: bool) -> f32 {
        let one = _mm512_set1_ps(1e-3);
        let mut sums = [one; SUMS];
        let mut row = one;
        for values in rows {
            if from_cache {
                // SAFETY: 16 values are there.
                row = unsafe { _mm512_loadu_ps(values.as_ptr()) };
            }
            for (at, sum) in sums.iter_mut().enumerate() {
                if from_cache && at % 2 == 0 {
                    // SAFETY: as above.
                    row = unsafe { _mm512_loadu_ps(rows[(at * 7) % STEPS].as_ptr()) };
                }
                *sum = _mm512_fmadd_ps(row, one, *sum);
            }
        }
        sums.iter().map(|sum| _mm512_reduce_add_ps(*sum)).sum()
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn bf16_products(rows: &[[f32; 16]; STEPS], from_cache: bool) -> f32 {
        let pair = |values: __m512| -> __m512bh { _mm512_cvtne2ps_pbh(values, values) };
        let one = pair(_mm512_set1_ps(1e-3));
        let mut sums = [_mm512_set1_ps(1e-3); SUMS];
        let mut row = one;
        for values in rows {
            if from_cache {
                // SAFETY: 64 bytes of any values are 32 numbers in bf16.
                row = unsafe { std::mem::transmute::<[f32; 16], __m512bh>(*values) };
            }
            for (at, sum) in sums.iter_mut().enumerate() {
                if from_cache && at % 2 == 0 {
                    // SAFETY: as above.
                    row = unsafe { std::mem::transmute::<[f32; 16], __m512bh>(rows[(at * 7) % STEPS]) };
                }
                *sum = _mm512_dpbf16_ps(*sum, row, one);
            }
        }
        sums.iter().map(|sum| _mm512_reduce_add_ps(*sum)).sum()
    }

    pub(super) fn products(criterion: &mut Criterion) {
        if !is_x86_feature_detected!("avx512f") {
            println!("no AVX-512 here: nothing to compare");
            return;
        }
        let rows = [[1e-3f32; 16]; STEPS];
        for (name, from_cache) in [("registers", false), ("cache", true)] {
            let mut group = criterion.benchmark_group(name);
            group.throughput(Throughput::Elements((16 * SUMS * STEPS) as u64));
            group.bench_function("f32", |bencher| {
                // SAFETY: detected above.
                bencher.iter(|| unsafe { f32_products(black_box(&rows), black_box(from_cache)) });
            });
            if is_x86_feature_detected!("avx512bf16") {
                group.throughput(Throughput::Elements((32 * SUMS * STEPS) as u64));
                group.bench_function("bf16", |bencher| {
                    // SAFETY: detected just now.
                    bencher.iter(|| unsafe { bf16_products(black_box(&rows), black_box(from_cache)) });
                });
            } else {
                println!("no AVX-512 BF16 here");
            }
        }
    }
}

fn products(criterion: &mut Criterion) {
    #[cfg(target_arch = "x86_64")]
    x86::products(criterion);
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = criterion;
        println!("AVX-512 is of x86: nothing to compare");
    }
}

criterion_group!(benches, products);
criterion_main!(benches);

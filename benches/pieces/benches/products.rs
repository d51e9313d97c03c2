//! The products that bound the memory step: a tile of them, and whole matrices.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossbatch_math::product::{rows_times_rows, shared_product, shared_rows_times_rows};
use crossbatch_pieces::{BATCH, DIM, ENTRIES, rows};

fn products(criterion: &mut Criterion) {
    let (anchors, bank) = (rows(BATCH, 1), rows(ENTRIES, 2));
    let mut group = criterion.benchmark_group("products");

    let tile = 96;
    group.throughput(Throughput::Elements((2 * BATCH * tile * DIM) as u64));
    let mut out = vec![0.0; BATCH * tile];
    group.bench_function("gemm, a tile of 96 entries, one thread", |bencher| {
        bencher.iter(|| rows_times_rows(&anchors, &bank[..tile * DIM], DIM, &mut out));
    });

    group.throughput(Throughput::Elements((2 * BATCH * ENTRIES * DIM) as u64));
    let mut similarities = vec![0.0; BATCH * ENTRIES];
    group.bench_function("gemm, similarities of all entries", |bencher| {
        bencher.iter(|| shared_rows_times_rows(&anchors, &bank, DIM, &mut similarities));
    });
    let mut gradient = vec![0.0; BATCH * DIM];
    group.bench_function("gemm, weights times all entries", |bencher| {
        bencher.iter(|| shared_product(&similarities, &bank, ENTRIES, &mut gradient));
    });
}

criterion_group!(benches, products);
criterion_main!(benches);

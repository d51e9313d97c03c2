//! The pieces of the pair kernel, each by a problem in which it is what takes the time.
//!
//! Elements are multiplications and additions of the products with all entries, so that rates compare.

use std::hint::black_box;

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use crossbatch_math::pair_rows::{
    Bank, Problem, forward,
    program::{Body, Closeness, NegativeRule, PairProgram, PositiveRule, Term, TripletRule},
    reference_gradient,
};
use crossbatch_pieces::{BATCH, DIM, ENTRIES, Inputs, program, rows};
use half::{bf16, f16};

fn time(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, problem: &Problem<'_>) {
    group.bench_function(name, |bencher| bencher.iter(|| forward(black_box(problem))));
}

fn pieces(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pair rows");
    group.throughput(Throughput::Elements((2 * BATCH * ENTRIES * DIM) as u64));
    let sum = program(Term::Linear { offset: 0.0 });
    let exponentials = program(Term::LogSumExp { scale: 40.0 });

    // No negative counts: products of tiles, and a look at each.
    let bank = rows(ENTRIES, 2);
    let none = Inputs::new(2.0, 5);
    time(&mut group, "products alone, f32", &none.problem(Bank::F32(&bank), sum));
    // The same with widening first.
    let halves: Vec<f16> = bank.iter().map(|&value| f16::from_f32(value)).collect();
    time(&mut group, "products alone, f16", &none.problem(Bank::F16(&halves), sum));
    let halves: Vec<bf16> = bank.iter().map(|&value| bf16::from_f32(value)).collect();
    time(&mut group, "products alone, bf16", &none.problem(Bank::Bf16(&halves), sum));
    let mut distances = sum;
    distances.closeness = Closeness::SquaredDistance;
    time(&mut group, "products and squared distances", &none.problem(Bank::F32(&bank), distances));

    // A few of a tile count: their rows are gathered. Then half of them, then all: whole products.
    for (name, margin) in [("a fiftieth", 0.182), ("half", 0.0), ("all", -2.0)] {
        let inputs = Inputs::new(margin, 5);
        let name = |piece| format!("{piece}, {name} counts");
        time(&mut group, &name("sums and gradient"), &inputs.problem(Bank::F32(&bank), sum));
        let problem = inputs.problem(Bank::F32(&bank), exponentials);
        time(&mut group, &name("exponentials and gradient"), &problem);
    }

    // Many positives, visited one by one.
    let many = Inputs::new(2.0, 200);
    time(&mut group, "200 positives an anchor", &many.problem(Bank::F32(&bank), sum));

    // Rows whose selection hangs on the other side.
    let mined = PairProgram {
        closeness: Closeness::Dot,
        body: Body::Sides {
            positive: Term::LogSumExp { scale: 2.0 },
            positives: PositiveRule { hardest_negative: Some(0.1), ..PositiveRule::ALL },
            negative: Term::LogSumExp { scale: 40.0 },
            negatives: NegativeRule { hardest_positive: Some(0.1), ..NegativeRule::ALL },
        },
    };
    time(&mut group, "mining both sides", &none.problem(Bank::F32(&bank), mined));
    let triplets = Body::Triplets { margin: 0.1, rule: TripletRule::All, soft: false };
    let triplets = PairProgram { closeness: Closeness::Dot, body: triplets };
    time(&mut group, "triplets", &none.problem(Bank::F32(&bank), triplets));

    // The gradient of the references, as within a batch.
    let inputs = Inputs::new(0.0, 5);
    let problem = inputs.problem(Bank::F32(&bank), exponentials);
    let found = forward(&problem);
    let upstream = vec![1.0; 2 * BATCH];
    group.bench_function("gradient of the references, half counts", |bencher| {
        bencher.iter(|| reference_gradient(black_box(&problem), &upstream, &found));
    });
}

criterion_group!(benches, pieces);
criterion_main!(benches);

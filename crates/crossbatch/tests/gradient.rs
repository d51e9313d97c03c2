//! The objective's gradient against finite differences.

use burn::tensor::{Device, Tensor};
use crossbatch::{
    BinomialDevianceLoss, ContrastiveForm, ContrastiveLoss, LearnBeta, LiftedStructureLoss,
    LossParameters, MarginLoss, Memory, MultiSimilarityLoss, NPairsLoss, NcaLoss, NtXentLoss,
    Objective, ObjectiveConfig, PairTerm, Reduction, ReleasedTripletLoss, Rows, SameImage,
    Similarity, SnrContrastiveLoss, SupConLoss, TripletLoss, Triplets,
};

use crate::common::{matrix, numbers, on_each_device, unit, values};

on_each_device!(
    of_the_contrastive_objective_for_every_reduction,
    of_smooth_losses,
    of_a_sum_of_terms_and_of_what_is_learnt,
);

const BATCH: usize = 6;
const DIM: usize = 5;

/// Values without a near-tie at a margin, so that no pair switches within the difference.
fn rows(count: usize, salt: u64) -> Vec<f32> {
    unit(numbers(count * DIM, salt).into_iter().map(|value| value + 0.15).collect(), DIM)
}

/// Value, gradients of anchors and parameters, and the numbers of active pairs.
struct Found {
    value: f64,
    gradient: Vec<f32>,
    parameters: Vec<f32>,
    counts: Vec<f32>,
}

fn evaluate(
    device: &Device,
    terms: &[PairTerm],
    same_image: SameImage,
    anchors: &[f32],
    beta: Option<f32>,
) -> Found {
    let device = device.clone().autodiff();
    let mut memory = Memory::new(9, DIM, &device);
    let old = Rows { labels: &[0, 1, 2, 0, 1, 2, 3], ids: &[0, 1, 2, 3, 4, 5, 6] };
    memory.enqueue(matrix(&rows(7, 3), DIM, &device), old, 0).unwrap();

    let batch = Rows { labels: &[0, 0, 1, 1, 2, 2], ids: &[0, 7, 1, 8, 2, 9] };
    let leaf = matrix(anchors, DIM, &device).require_grad();
    // The memory holds the unperturbed embeddings: it is a constant to the gradient.
    let own = memory.enqueue(matrix(&rows(BATCH, 18), DIM, &device), batch, 1).unwrap();

    let config = ObjectiveConfig { memory_weight: 0.7, same_image };
    let mut objective = Objective::new(terms.iter().cloned(), config);
    if let Some(beta) = beta {
        let beta = Tensor::<1>::from_data([beta], &device);
        objective.set_parameters(LossParameters::from_values(vec![beta]));
    }
    let output = objective.forward(leaf.clone(), batch, Some((&memory, &own)), 1);
    let value = f64::from(output.total.clone().into_scalar::<f32>());
    let gradients = output.total.backward();
    let parameters = objective.parameters().values();
    let counts = output.terms.iter().flat_map(|term| {
        let memory = &term.memory.as_ref().expect("there is a memory").statistics;
        [&term.batch.statistics, memory]
            .into_iter()
            .flat_map(|statistics| [statistics.active_positives(), statistics.active_negatives()])
    });
    Found {
        value,
        gradient: values(leaf.grad(&gradients).unwrap()),
        parameters: parameters
            .into_iter()
            .flat_map(|values| self::values(values.grad(&gradients).unwrap()))
            .collect(),
        counts: counts.map(|count| count.into_scalar::<f32>()).collect(),
    }
}

/// Checks every derivative by a central difference over `step`.
fn check(
    device: &Device,
    terms: &[PairTerm],
    same_image: SameImage,
    beta: Option<f32>,
    step: f32,
    tolerance: f64,
    what: &str,
) {
    let anchors = rows(BATCH, 18);
    let found = evaluate(device, terms, same_image, &anchors, beta);
    let difference = |upper: Found, lower: Found| {
        for moved in [&upper, &lower] {
            assert_eq!(moved.counts, found.counts, "{what}: a pair switched; choose other data");
        }
        (upper.value - lower.value) / f64::from(2.0 * step)
    };
    let close = |slope: f64, found: f32, place: &str| {
        let found = f64::from(found);
        assert!(
            (slope - found).abs() < tolerance * (1.0 + slope.abs()),
            "{what}, {place}: {found} against {slope}"
        );
    };
    for index in 0..anchors.len() {
        let at = |delta: f32| {
            let mut moved = anchors.clone();
            moved[index] += delta;
            evaluate(device, terms, same_image, &moved, beta)
        };
        let slope = difference(at(step), at(-step));
        close(slope, found.gradient[index], &format!("value {index}"));
    }
    if let Some(beta) = beta {
        let at = |delta: f32| evaluate(device, terms, same_image, &anchors, Some(beta + delta));
        close(difference(at(step), at(-step)), found.parameters[0], "beta");
    }
}

/// By the dot product the contrastive objective is at most quadratic in one number, so that the difference is exact up to
/// rounding: whatever the reduction, the weight, and what becomes of older entries of the same image.
fn of_the_contrastive_objective_for_every_reduction(device: &Device) {
    let loss = ContrastiveLoss { similarity: Similarity::Dot, ..Default::default() };
    for reduction in
        [Reduction::Sum, Reduction::PairMean, Reduction::AnchorMean, Reduction::MeanNonzero]
    {
        for same_image in [SameImage::Keep, SameImage::Drop] {
            let terms = [PairTerm::new(loss).with_reduction(reduction)];
            let counts = evaluate(device, &terms, same_image, &rows(BATCH, 18), None).counts;
            assert!(counts.iter().all(|&count| count > 0.0), "every side is exercised: {counts:?}");
            check(
                device,
                &terms,
                same_image,
                None,
                1e-2,
                2e-4,
                &format!("{reduction:?} {same_image:?}"),
            );
        }
    }
}

/// Losses that are smooth enough for differences in f32, one by one.
fn of_smooth_losses(device: &Device) {
    let similarity = MultiSimilarityLoss { beta: 4.0, mining: false, ..Default::default() };
    let deviance = BinomialDevianceLoss { negative_cost: 2.0, ..Default::default() };
    let triplet = TripletLoss { soft: true, ..Default::default() };
    let terms = [
        PairTerm::new(similarity),
        PairTerm::new(deviance),
        PairTerm::new(triplet),
        PairTerm::new(NtXentLoss { temperature: 0.5, ..Default::default() }),
        PairTerm::new(SupConLoss { temperature: 0.5, ..Default::default() }),
        PairTerm::new(NcaLoss::default()),
        PairTerm::new(SnrContrastiveLoss { margin: 50.0, positive_margin: 0.0 }),
    ];
    for term in terms {
        let term = term.with_reduction(Reduction::PairMean);
        let name = term.loss.name();
        check(device, &[term], SameImage::Keep, None, 4e-3, 2e-3, name);
    }
}

/// Losses with edges (hinges, selections, mining), between them. The circle loss is not here: its gradient holds factors
/// constant, so that no difference of its value is its gradient; the kernels' tests hold them. On the CPU alone: a GPU
/// compiles each loss, and goes by the same programs.
#[test]
fn of_losses_with_edges() {
    let device = &Device::flex();
    let euclidean = Similarity::Euclidean;
    let hinge = ContrastiveLoss { form: ContrastiveForm::Hinge, ..Default::default() };
    let distances =
        ContrastiveLoss { similarity: euclidean, margin: 1.5, positive_margin: 0.05, ..hinge };
    let triplets = |triplets| TripletLoss { triplets, margin: 0.4, ..Default::default() };
    let terms = [
        PairTerm::new(ContrastiveLoss { positive_margin: 0.9, margin: 0.2, ..hinge }),
        PairTerm::new(distances),
        PairTerm::new(ContrastiveLoss { similarity: Similarity::SquaredEuclidean, ..distances }),
        PairTerm::new(triplets(Triplets::All)),
        PairTerm::new(triplets(Triplets::SemiHard)),
        PairTerm::new(triplets(Triplets::Hard)),
        PairTerm::new(ReleasedTripletLoss::default()),
        PairTerm::new(MultiSimilarityLoss { beta: 4.0, ..Default::default() }),
        PairTerm::new(LiftedStructureLoss::default()),
        PairTerm::new(NPairsLoss::default()),
    ];
    for term in terms {
        let term = term.with_reduction(Reduction::AnchorMean);
        let name = format!("{term:?}");
        let term = [term];
        let counts = evaluate(device, &term, SameImage::Keep, &rows(BATCH, 18), None).counts;
        assert!(counts.iter().any(|&count| count > 0.0), "{name} is exercised");
        check(device, &term, SameImage::Keep, None, 2e-3, 4e-3, &name);
    }
}

/// Several terms with weights, one of which learns.
fn of_a_sum_of_terms_and_of_what_is_learnt(device: &Device) {
    let margin = MarginLoss { learn_beta: LearnBeta::Global, nu: 0.3, ..Default::default() };
    let terms = [
        PairTerm::new(NtXentLoss { temperature: 0.5, ..Default::default() }).with_weight(0.5),
        PairTerm::new(margin).with_weight(2.0),
    ];
    check(device, &terms, SameImage::Keep, Some(0.81), 2e-3, 2e-3, "NT-Xent and margin");
}

//! What an objective puts together.

use burn::tensor::Device;
use crossbatch::{
    ContrastiveLoss, LearnBeta, MarginLoss, Memory, NtXentLoss, Objective, ObjectiveConfig,
    PairTerm, Rows,
};

use crate::common::{matrix, numbers, unit, values};

const DIM: usize = 4;
const ROWS: Rows<'static> = Rows { labels: &[0, 0, 1, 1], ids: &[0, 1, 2, 3] };

#[test]
fn total_is_the_weighted_sum_of_its_terms() {
    let device = Device::flex().autodiff();
    let embeddings = matrix(&unit(numbers(16, 5), DIM), DIM, &device);
    let mut memory = Memory::new(6, DIM, &device);
    let own = memory.enqueue(embeddings.clone(), ROWS, 1).unwrap();
    let terms = [
        PairTerm::new(ContrastiveLoss::default()).with_weight(2.0),
        PairTerm::new(NtXentLoss::default()).with_weight(0.25),
    ];
    let mut objective = Objective::new(terms, ObjectiveConfig::default());
    objective.set_memory_weight(3.0);
    let output = objective.forward(embeddings, ROWS, Some((&memory, &own)), 1);

    let number = |tensor: burn::tensor::Tensor<1>| values(tensor)[0];
    let term = |index: usize| {
        let term = &output.terms[index];
        let memory = term.memory.as_ref().unwrap();
        (number(term.batch.value.clone()), number(memory.value.clone()))
    };
    let (contrastive, softmax) = (term(0), term(1));
    let batch = 2.0 * contrastive.0 + 0.25 * softmax.0;
    let memory = 2.0 * contrastive.1 + 0.25 * softmax.1;
    assert!((number(output.batch) - batch).abs() < 1e-5);
    assert!((number(output.memory.unwrap()) - memory).abs() < 1e-5);
    assert!((number(output.total) - (batch + 3.0 * memory)).abs() < 1e-4);
    // The memory holds this very batch, so it has the batch's pairs, self-pairs left out of both.
    assert!((contrastive.0 - contrastive.1).abs() < 1e-5);
    assert_eq!(output.terms[1].loss, "nt-xent");
    let statistics = &output.terms[0].memory.as_ref().unwrap().statistics;
    assert_eq!((statistics.anchors(), number(statistics.positives())), (4, 4.0));
    assert_eq!(number(statistics.negatives()), 8.0);
}

#[test]
fn only_losses_that_learn_have_parameters() {
    let device = Device::flex().autodiff();
    let per_class = MarginLoss { learn_beta: LearnBeta::PerClass, ..Default::default() };
    let terms = [PairTerm::new(ContrastiveLoss::default()), PairTerm::new(per_class)];
    let mut objective = Objective::new(terms, ObjectiveConfig::default());
    assert!(objective.learns() && objective.parameters().is_empty());
    objective.init_parameters(3, &device);
    let beta = objective.parameters().values().remove(0);
    assert_eq!(values(beta.clone()), [1.2; 3]);

    let embeddings = matrix(&unit(numbers(16, 4), DIM), DIM, &device);
    let gradients = objective.forward(embeddings, ROWS, None, 1).total.backward();
    let gradient = values(beta.grad(&gradients).unwrap());
    // No image of the third class is in the batch.
    assert!(gradient[0] != 0.0 && gradient[1] != 0.0 && gradient[2] == 0.0, "{gradient:?}");

    let fixed = MarginLoss { learn_beta: LearnBeta::Fixed, ..Default::default() };
    assert!(!Objective::new([PairTerm::new(fixed)], ObjectiveConfig::default()).learns());
}

#[test]
#[should_panic(expected = "give its parameters")]
fn a_loss_that_learns_wants_its_parameters() {
    let device = Device::flex();
    let embeddings = matrix(&unit(numbers(16, 5), DIM), DIM, &device);
    let objective =
        Objective::new([PairTerm::new(MarginLoss::default())], ObjectiveConfig::default());
    let _ = objective.forward(embeddings, ROWS, None, 1);
}

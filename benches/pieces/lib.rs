//! Inputs of the micro-benchmarks.

use crossbatch_math::pair_rows::{
    Bank, Problem,
    program::{Body, Closeness, NegativeRule, PairProgram, PositiveRule, Term},
};

/// Anchors.
pub const BATCH: usize = 64;
/// Entries: more than a core's cache holds.
pub const ENTRIES: usize = 20_000;
/// Numbers in an embedding.
pub const DIM: usize = 128;

/// Unit rows in random directions, any two at a cosine of 0 ± 0.09; the same for the same arguments.
pub fn rows(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = move || {
        // SplitMix64, its upper bits as a number from -1 to 1.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = state;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((value ^ (value >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut rows = vec![0.0; count * DIM];
    for row in rows.chunks_mut(DIM) {
        row.fill_with(&mut next);
        let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        row.iter_mut().for_each(|value| *value /= length);
    }
    rows
}

/// Everything that a [`Problem`] borrows.
pub struct Inputs {
    pub anchors: Vec<f32>,
    pub codes: Vec<i32>,
    pub thresholds: Vec<f32>,
    pub labels: Vec<i32>,
    pub ids: Vec<i32>,
}

impl Inputs {
    /// Anchors of a class each; each class has `members` entries, spread over the bank. Thresholds are 1 and `margin`.
    pub fn new(margin: f32, members: usize) -> Self {
        let classes = (ENTRIES / members) as i32;
        Self {
            anchors: rows(BATCH, 1),
            codes: (0..BATCH as i32).flat_map(|anchor| [anchor % classes, -1, -1]).collect(),
            thresholds: [1.0, margin].repeat(BATCH),
            labels: (0..ENTRIES as i32).map(|entry| entry % classes).collect(),
            ids: (0..ENTRIES as i32).collect(),
        }
    }

    pub fn problem<'a>(&'a self, references: Bank<'a>, program: PairProgram) -> Problem<'a> {
        Problem {
            program,
            dim: DIM,
            anchors: &self.anchors,
            codes: &self.codes,
            thresholds: &self.thresholds,
            references,
            labels: &self.labels,
            ids: &self.ids,
            weights: None,
            screen: None,
            filled: ENTRIES,
            drop_same_image: false,
        }
    }
}

/// All positives by a sum, and the negatives above their threshold by `term`.
pub fn program(term: Term) -> PairProgram {
    PairProgram {
        closeness: Closeness::Dot,
        body: Body::Sides {
            positive: Term::Linear { offset: 0.0 },
            positives: PositiveRule::ALL,
            negative: term,
            negatives: NegativeRule { violating: true, ..NegativeRule::ALL },
        },
    }
}

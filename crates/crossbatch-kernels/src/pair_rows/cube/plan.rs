//! What the kernels are compiled for.

use crate::pair_rows::PairRowsOptions;
use crate::pair_rows::program::{Body, Closeness, Term};

/// Units of a cube, and references of a tile.
pub(super) const UNITS: usize = 64;
/// Numbers of a reference that are in shared memory at a time.
pub(super) const SLICE: usize = 32;
/// The longest rows; each unit holds its share of the gradients of a cube's anchors in registers.
pub(super) const LONGEST: usize = 2048;

/// [`Closeness`] for the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Metric {
    Dot,
    Squared,
    Root,
    Centred,
}

/// [`Term`] without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fold {
    /// The side is not of this pass.
    None,
    Linear,
    Softplus,
    LogSumExp,
    Circle,
    Against,
}

impl Fold {
    /// Whether the side is the logarithm of a sum.
    pub(super) fn logarithmic(self) -> bool {
        matches!(self, Self::LogSumExp | Self::Circle)
    }
}

/// A side's term: its kind, and the two numbers that it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) fold: Fold,
    pub(super) scale: f32,
    /// The offset, or twice the relaxation.
    pub(super) shift: f32,
}

impl From<Term> for Numbers {
    fn from(term: Term) -> Self {
        match term {
            Term::Linear { offset } => Self { fold: Fold::Linear, scale: 1.0, shift: offset },
            Term::Softplus { scale } => Self { fold: Fold::Softplus, scale, shift: 0.0 },
            Term::LogSumExp { scale } => Self { fold: Fold::LogSumExp, scale, shift: 0.0 },
            Term::Circle { scale, relaxation } => {
                Self { fold: Fold::Circle, scale, shift: 2.0 * relaxation }
            }
            Term::AgainstNegatives { scale } => Self { fold: Fold::Against, scale, shift: 0.0 },
            // Not of a pass of its own: see `against_all`.
            Term::AgainstAll { .. } => Self { fold: Fold::None, scale: 1.0, shift: 0.0 },
        }
    }
}

/// One pass over the references.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Plan {
    pub(super) metric: Metric,
    /// Whether the statistics of all pairs are taken.
    pub(super) survey: bool,
    pub(super) positive: Fold,
    pub(super) negative: Fold,
    pub(super) weighted: bool,
    pub(super) drop_same_image: bool,
    pub(super) dim: usize,
    /// Anchors of a cube.
    pub(super) rows: usize,
}

impl Plan {
    /// A pass that folds nothing yet.
    pub(super) fn new(options: &PairRowsOptions, dim: usize) -> Self {
        let metric = match options.program.closeness {
            Closeness::Dot => Metric::Dot,
            Closeness::SquaredDistance => Metric::Squared,
            Closeness::Distance => Metric::Root,
            Closeness::CentredSquaredDistance => Metric::Centred,
        };
        // As many as leave a unit 32 registers for each side's gradients.
        let rows = match dim {
            0..=256 => 8,
            257..=512 => 4,
            513..=1024 => 2,
            _ => 1,
        };
        Self {
            metric,
            survey: false,
            positive: Fold::None,
            negative: Fold::None,
            weighted: options.weighted,
            drop_same_image: options.drop_same_image,
            dim,
            rows,
        }
    }
}

/// Why the kernels do not do this, if they do not: it is left to the reference body.
pub(super) fn unserved(options: &PairRowsOptions, dim: usize) -> Option<&'static str> {
    match options.program.body {
        Body::Triplets { .. } => Some("triplets have no GPU kernel"),
        Body::Sides { negatives, .. } if negatives.semi_hard.is_some() => {
            Some("semi-hard negatives have no GPU kernel")
        }
        Body::Sides { .. } if !(1..=LONGEST).contains(&dim) => {
            Some("rows of more than 2,048 numbers have no GPU kernel")
        }
        Body::Sides { .. } => None,
    }
}

/// Bytes of shared memory that a cube of [`super::stream`] takes.
pub(super) fn shared_bytes(plan: &Plan) -> usize {
    let anchors = plan.rows * (plan.dim.next_multiple_of(SLICE) + 3);
    let tile = UNITS * (SLICE + 1);
    4 * (anchors + tile + 3 * plan.rows * UNITS + 3 * UNITS)
}

/// How many references a cube takes, a multiple of a tile: enough cubes for a large card, and few enough partial
/// results; and never so many that a unit's loops come near 65,535 rounds in all, where software Vulkan ends them
/// without an error.
pub(super) fn chunk(plan: &Plan, filled: usize) -> usize {
    let tiles = filled.div_ceil(UNITS);
    let rounds = plan.dim.div_ceil(SLICE) * 2 * SLICE + 2 * UNITS;
    let most = (40_000 / rounds).max(1);
    tiles.div_ceil(128).clamp(4.min(most), most) * UNITS
}

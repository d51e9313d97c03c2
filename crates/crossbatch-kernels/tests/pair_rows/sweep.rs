//! Every program, and every size.

use super::cases::{CLOSENESSES, case, sides, triplets};
use super::judge::{judge, judge_reference};
use crate::common::plain;
use crossbatch_kernels::program::{Closeness, PairProgram};

const TOLERANCE: f64 = 2e-5;

fn programs() -> Vec<PairProgram> {
    CLOSENESSES.into_iter().flat_map(|kind| [sides(kind), triplets(kind)].concat()).collect()
}

#[test]
fn every_program() {
    for (index, program) in programs().into_iter().enumerate() {
        let (case, point) = case(program, [9, 13, 60], 100 + index as u64);
        judge(&case, &point, &plain(), TOLERANCE);
        judge_reference(&case, &point, &plain(), TOLERANCE);
    }
}

#[test]
fn every_size() {
    let programs = programs();
    let mut next = 0;
    for batch in [1, 3, 17, 65] {
        for dim in [1, 5, 33, 128] {
            for filled in [0, 1, 7, 100, 1001] {
                let seed = 1_000 + next as u64;
                // A number without a common divisor with that of the programs.
                let mut program = programs[next * 61 % programs.len()];
                if dim == 1 && program.closeness == Closeness::Distance {
                    // Among so many numbers on a line some are too near each other for a root.
                    program.closeness = Closeness::SquaredDistance;
                }
                next += 1;
                let (case, point) = case(program, [batch, dim, filled], seed);
                judge(&case, &point, &plain(), TOLERANCE);
                judge_reference(&case, &point, &plain(), TOLERANCE);
            }
        }
    }
}

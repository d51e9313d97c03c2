//! Every program, and every size.

use super::cases::{CLOSENESSES, case, sides, triplets};
use super::judge::{judge, judge_reference};
#[cfg(feature = "gpu")]
use crate::common::gpu;
use crate::common::plain;
use crossbatch_kernels::program::{Closeness, PairProgram};

const TOLERANCE: f64 = 2e-5;

fn programs() -> Vec<PairProgram> {
    CLOSENESSES.into_iter().flat_map(|kind| [sides(kind), triplets(kind)].concat()).collect()
}

/// Every combination of terms, rules and closeness.
#[test]
fn every_program() {
    for (index, program) in programs().into_iter().enumerate() {
        let (case, point) = case(program, [9, 13, 60], 100 + index as u64);
        judge(&case, &point, &plain(), TOLERANCE);
        judge_reference(&case, &point, &plain(), TOLERANCE);
    }
}

fn sizes(mut visit: impl FnMut(usize, [usize; 3], PairProgram)) {
    let programs = programs();
    let mut next = 0;
    for batch in [1, 3, 17, 65] {
        for dim in [1, 5, 33, 128] {
            for filled in [0, 1, 7, 100, 1001] {
                // A number without a common divisor with that of the programs.
                let mut program = programs[next * 61 % programs.len()];
                if dim == 1 && program.closeness == Closeness::Distance {
                    // Among so many numbers on a line some are too near each other for a root.
                    program.closeness = Closeness::SquaredDistance;
                }
                visit(next, [batch, dim, filled], program);
                next += 1;
            }
        }
    }
}

#[test]
fn every_size() {
    sizes(|index, size, program| {
        let (case, point) = case(program, size, 1_000 + index as u64);
        judge(&case, &point, &plain(), TOLERANCE);
        judge_reference(&case, &point, &plain(), TOLERANCE);
    });
}

/// Each program is compiled for the GPU, which takes its time: some, so that each term meets several rules.
#[cfg(feature = "gpu")]
#[test]
fn programs_on_a_gpu() {
    let Some(device) = gpu() else { return };
    for (index, program) in programs().into_iter().enumerate().skip(2).step_by(29) {
        let (case, point) = case(program, [9, 13, 150], 100 + index as u64);
        judge(&case, &point, &device, TOLERANCE);
    }
}

#[cfg(feature = "gpu")]
#[test]
fn sizes_on_a_gpu() {
    let Some(device) = gpu() else { return };
    sizes(|index, size, program| {
        if index % 10 == index / 10 % 10 {
            let (case, point) = case(program, size, 1_000 + index as u64);
            judge(&case, &point, &device, TOLERANCE);
        }
    });
}

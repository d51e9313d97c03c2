//! As many references as a memory has.

use super::cases::{case, sides, triplets};
use super::judge::judge;
use crate::common::{on_each_device, plain};
use burn::tensor::Device;
use crossbatch_kernels::program::Closeness;

on_each_device!(sixty_thousand_references);

/// More than 65,535 would fit no loop of software Vulkan's, if one unit had to go through all.
fn sixty_thousand_references(device: &Device) {
    // A GPU compiles each.
    let places: &[usize] = if *device == plain() { &[9, 26, 51, 91] } else { &[9, 51] };
    for (index, closeness) in [Closeness::Dot, Closeness::SquaredDistance].into_iter().enumerate() {
        for &place in places {
            let program = sides(closeness)[place + index];
            let (case, point) = case(program, [10, 16, 60_001], 20 + place as u64);
            judge(&case, &point, device, 1e-4);
        }
    }
    // On a GPU the triplets are those of the reference body, whose own sums are as long.
    if *device == plain() {
        let (case, point) = case(triplets(Closeness::Dot)[2], [3, 8, 60_001], 5);
        judge(&case, &point, device, 1e-4);
    }
}

/// What the kernel is for, on the CPU; more than 2^19 and not a multiple of anything.
#[test]
fn a_million_references() {
    for place in [9, 51] {
        let (case, point) =
            case(sides(Closeness::Dot)[place], [2, 3, 1_000_003], 60 + place as u64);
        judge(&case, &point, &plain(), 1e-4);
    }
    let (case, point) = case(triplets(Closeness::Dot)[0], [2, 3, 1_000_003], 7);
    judge(&case, &point, &plain(), 1e-4);
}

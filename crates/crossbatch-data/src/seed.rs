//! Seeds made of parts, so that every random choice has a name.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// One seed out of several numbers: a run's seed, an epoch, a class, an image …
///
/// Each part goes through the finaliser of SplitMix64 and is chained to the ones before it, so order
/// and number of parts matter and neighbouring values give unrelated seeds.
///
/// ```
/// use crossbatch_data::mix_seed;
/// assert_eq!(mix_seed(&[7, 1]), mix_seed(&[7, 1]));
/// assert_ne!(mix_seed(&[7, 1]), mix_seed(&[1, 7]));
/// assert_ne!(mix_seed(&[7]), mix_seed(&[7, 0]));
/// ```
#[must_use]
pub fn mix_seed(parts: &[u64]) -> u64 {
    parts.iter().fold(GOLDEN, |state, &part| {
        scramble(state.wrapping_add(GOLDEN) ^ scramble(part.wrapping_add(GOLDEN)))
    })
}

/// The generator for a named purpose.
pub(crate) fn generator(parts: &[u64]) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(mix_seed(parts))
}

fn scramble(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn neighbours_do_not_collide() {
        let seeds: BTreeSet<u64> =
            (0..100).flat_map(|a| (0..100).map(move |b| mix_seed(&[a, b]))).collect();
        assert_eq!(seeds.len(), 10_000);
    }
}

//! Sorting keys by some of their bits, digit by digit.

/// Bits that are sorted by at once: the counts of their values stay in the first cache.
const DIGIT: u32 = 12;

/// Sorts `keys` by their `bits` bits from bit `low` on, which nothing may stand above; keys that agree there stay in the
/// order they have. `spare` is working space.
pub(crate) fn sort(keys: &mut Vec<u64>, spare: &mut Vec<u64>, low: u32, bits: u32) {
    spare.clear();
    spare.resize(keys.len(), 0);
    let turns = bits.div_ceil(DIGIT);
    let digit = bits.div_ceil(turns.max(1));
    for turn in 0..turns {
        let shift = low + turn * digit;
        let place = |key: u64| (key >> shift) as usize & ((1 << digit) - 1);
        let mut ends = [0u32; 1 << DIGIT];
        for &key in keys.iter() {
            ends[place(key)] += 1;
        }
        let mut start = 0;
        for end in &mut ends[..1 << digit] {
            start += std::mem::replace(end, start);
        }
        for &key in keys.iter() {
            let next = &mut ends[place(key)];
            spare[*next as usize] = key;
            *next += 1;
        }
        std::mem::swap(keys, spare);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_out_by_their_high_bits_and_equal_ones_as_they_were() {
        for bits in [0, 1, 5, 12, 13, 24, 25, 31] {
            let random = (0..5000u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut keys: Vec<u64> = random.map(|key| key >> (31 - bits)).collect();
            let mut expected = keys.clone();
            expected.sort_by_key(|key| key >> 33);
            sort(&mut keys, &mut Vec::new(), 33, bits);
            assert!(keys == expected, "{bits} bits");
        }
    }
}

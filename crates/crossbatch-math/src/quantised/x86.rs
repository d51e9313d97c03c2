//! Products of codes with VNNI: four multiplications of bytes in each 32-bit lane.

#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

/// As [`Block::products`](super::Block::products); `vectors` is 1 to 4.
///
/// # Safety
///
/// The processor must have AVX-512F and AVX-512 VNNI. `packed` must hold `stride` times `16 · vectors` bytes, `codes` as
/// many rows of `stride` as `sums` has numbers, `out` as many times `16 · vectors` numbers, and `stride` be a multiple
/// of 4.
#[target_feature(enable = "avx512f,avx512vnni")]
#[allow(unsafe_code)]
pub(super) unsafe fn products(
    packed: &[u8],
    vectors: usize,
    codes: &[i8],
    stride: usize,
    sums: &[i32],
    out: &mut [i32],
) {
    // As many rows at a time as 32 registers hold beside a vector of each lane and the row's bytes.
    // SAFETY: the caller's promise.
    unsafe {
        match vectors {
            1 => walk::<1, 12>(packed, codes, stride, sums, out),
            2 => walk::<2, 8>(packed, codes, stride, sums, out),
            3 => walk::<3, 8>(packed, codes, stride, sums, out),
            _ => walk::<4, 6>(packed, codes, stride, sums, out),
        }
    }
}

#[target_feature(enable = "avx512f,avx512vnni")]
#[allow(unsafe_code)]
unsafe fn walk<const V: usize, const R: usize>(
    packed: &[u8],
    codes: &[i8],
    stride: usize,
    sums: &[i32],
    out: &mut [i32],
) {
    let mut row = 0;
    // SAFETY: rows `row..row + R`, or `row` alone, are below the number of sums.
    unsafe {
        while row + R <= sums.len() {
            few::<V, R>(
                packed,
                &codes[row * stride..],
                stride,
                &sums[row..],
                &mut out[row * V * 16..],
            );
            row += R;
        }
        while row < sums.len() {
            few::<V, 1>(
                packed,
                &codes[row * stride..],
                stride,
                &sums[row..],
                &mut out[row * V * 16..],
            );
            row += 1;
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
#[allow(unsafe_code)]
unsafe fn few<const V: usize, const R: usize>(
    packed: &[u8],
    codes: &[i8],
    stride: usize,
    sums: &[i32],
    out: &mut [i32],
) {
    // SAFETY: `stride / 4` steps of V vectors; R rows of `stride` codes; R times V vectors of output.
    unsafe {
        let mut held = [[_mm512_setzero_si512(); V]; R];
        for r in 0..R {
            // The lanes' codes are 128 too large each.
            held[r] = [_mm512_set1_epi32(-128 * sums[r]); V];
        }
        let mut lanes = packed.as_ptr().cast::<__m512i>();
        let mut four = codes.as_ptr();
        for _ in 0..stride / 4 {
            let mut beside = [_mm512_setzero_si512(); V];
            for v in 0..V {
                beside[v] = lanes.add(v).read_unaligned();
            }
            for r in 0..R {
                let codes = _mm512_set1_epi32(four.add(r * stride).cast::<i32>().read_unaligned());
                for v in 0..V {
                    held[r][v] = _mm512_dpbusd_epi32(held[r][v], beside[v], codes);
                }
            }
            lanes = lanes.add(V);
            four = four.add(4);
        }
        let mut into = out.as_mut_ptr().cast::<__m512i>();
        for r in 0..R {
            for v in 0..V {
                into.write_unaligned(held[r][v]);
                into = into.add(1);
            }
        }
    }
}

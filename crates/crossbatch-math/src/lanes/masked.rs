//! Vectors of which only some elements are read or written.

use super::{Arithmetic, Lanes, Portable};

/// Accesses by a mask, a bit an element, the first one lowest. Elements whose bit is not set are not touched: they may
/// lie outside any slice.
///
/// # Safety
///
/// As [`Lanes`], with pointers that are valid for the elements whose bits are set.
#[allow(unsafe_code)]
pub(crate) unsafe trait Masked: Arithmetic {
    /// The elements of a vector whose bits are set, zeros for the others.
    unsafe fn load_masked(from: *const f32, mask: u32) -> Self;
    /// Elements `first`, `first + 2`, `first + 4`, … of `near` and `far` behind it; anything where they end.
    unsafe fn every_second(near: Self, far: Self, first: usize) -> Self;
    /// Writes the elements whose bits are set.
    unsafe fn store_masked(self, to: *mut f32, mask: u32);
    /// `self` and `other` in turns, in two vectors.
    unsafe fn interleave(self, other: Self) -> (Self, Self);
}

// SAFETY: no special instructions; only elements whose bits are set are touched.
#[allow(unsafe_code)]
unsafe impl Masked for Portable {
    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: u32) -> Self {
        // SAFETY: the caller's elements are valid.
        unsafe {
            if mask & 0xff == 0xff {
                return Self::load(from);
            }
            let mut values = [0.0; 8];
            for (lane, value) in values.iter_mut().enumerate() {
                if mask >> lane & 1 == 1 {
                    *value = from.wrapping_add(lane).read();
                }
            }
            Self::load(values.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn every_second(near: Self, far: Self, first: usize) -> Self {
        // SAFETY: the arrays hold as many elements as are read and written.
        unsafe {
            let (mut both, mut values) = ([0.0; 16], [0.0; 8]);
            near.store(both.as_mut_ptr());
            far.store(both.as_mut_ptr().add(8));
            for (lane, value) in values.iter_mut().enumerate() {
                *value = both[(first + 2 * lane) % 16];
            }
            Self::load(values.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store_masked(self, to: *mut f32, mask: u32) {
        // SAFETY: the caller's elements are valid.
        unsafe {
            if mask & 0xff == 0xff {
                return self.store(to);
            }
            let mut values = [0.0; 8];
            self.store(values.as_mut_ptr());
            for (lane, value) in values.iter().enumerate() {
                if mask >> lane & 1 == 1 {
                    to.wrapping_add(lane).write(*value);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn interleave(self, other: Self) -> (Self, Self) {
        // SAFETY: the arrays hold as many elements as are read and written.
        unsafe {
            let (mut first, mut second, mut both) = ([0.0; 8], [0.0; 8], [0.0; 16]);
            self.store(first.as_mut_ptr());
            other.store(second.as_mut_ptr());
            for lane in 0..8 {
                both[2 * lane] = first[lane];
                both[2 * lane + 1] = second[lane];
            }
            (Self::load(both.as_ptr()), Self::load(both.as_ptr().add(8)))
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Lanes, Masked};
    use crate::lanes::{Avx2, Avx512};
    use std::arch::x86_64::*;

    /// A bit an element as all bits of the element.
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn spread(mask: u32) -> __m256i {
        // SAFETY: the caller vouches for AVX2.
        unsafe {
            let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let mask = _mm256_set1_epi32(mask as i32);
            _mm256_cmpeq_epi32(_mm256_and_si256(mask, bits), bits)
        }
    }

    // SAFETY: AVX2 only; only elements whose bits are set are touched.
    #[allow(unsafe_code)]
    unsafe impl Masked for Avx2 {
        #[inline(always)]
        unsafe fn load_masked(from: *const f32, mask: u32) -> Self {
            // SAFETY: the caller vouches for AVX2 and the elements.
            unsafe {
                if mask & 0xff == 0xff {
                    return Self::load(from);
                }
                Self(_mm256_maskload_ps(from, spread(mask)))
            }
        }
        #[inline(always)]
        unsafe fn every_second(near: Self, far: Self, first: usize) -> Self {
            // SAFETY: the caller vouches for AVX2.
            unsafe {
                // Quarters: near 0 2, far 0 2, near 4 6, far 4 6, or one further each.
                let mixed = if first.is_multiple_of(2) {
                    _mm256_shuffle_ps::<0b10_00_10_00>(near.0, far.0)
                } else {
                    _mm256_shuffle_ps::<0b11_01_11_01>(near.0, far.0)
                };
                let order = match first / 2 {
                    0 => _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7),
                    1 => _mm256_setr_epi32(1, 4, 5, 2, 3, 6, 7, 7),
                    2 => _mm256_setr_epi32(4, 5, 2, 3, 6, 7, 7, 7),
                    _ => _mm256_setr_epi32(5, 2, 3, 6, 7, 7, 7, 7),
                };
                Self(_mm256_permutevar8x32_ps(mixed, order))
            }
        }
        #[inline(always)]
        unsafe fn store_masked(self, to: *mut f32, mask: u32) {
            // SAFETY: the caller vouches for AVX2 and the elements.
            unsafe {
                if mask & 0xff == 0xff {
                    return self.store(to);
                }
                _mm256_maskstore_ps(to, spread(mask), self.0);
            }
        }
        #[inline(always)]
        unsafe fn interleave(self, other: Self) -> (Self, Self) {
            // SAFETY: the caller vouches for AVX2.
            unsafe {
                let low = _mm256_unpacklo_ps(self.0, other.0);
                let high = _mm256_unpackhi_ps(self.0, other.0);
                (
                    Self(_mm256_permute2f128_ps::<0x20>(low, high)),
                    Self(_mm256_permute2f128_ps::<0x31>(low, high)),
                )
            }
        }
    }

    // SAFETY: AVX-512F only; only elements whose bits are set are touched.
    #[allow(unsafe_code)]
    unsafe impl Masked for Avx512 {
        #[inline(always)]
        unsafe fn load_masked(from: *const f32, mask: u32) -> Self {
            // SAFETY: the caller vouches for AVX-512F and the elements.
            Self(unsafe { _mm512_maskz_loadu_ps(mask as __mmask16, from) })
        }
        #[inline(always)]
        unsafe fn every_second(near: Self, far: Self, first: usize) -> Self {
            // SAFETY: the caller vouches for AVX-512F.
            unsafe {
                let evens =
                    _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
                let order = _mm512_add_epi32(evens, _mm512_set1_epi32(first as i32));
                Self(_mm512_permutex2var_ps(near.0, order, far.0))
            }
        }
        #[inline(always)]
        unsafe fn store_masked(self, to: *mut f32, mask: u32) {
            // SAFETY: the caller vouches for AVX-512F and the elements.
            unsafe { _mm512_mask_storeu_ps(to, mask as __mmask16, self.0) }
        }
        #[inline(always)]
        unsafe fn interleave(self, other: Self) -> (Self, Self) {
            // SAFETY: the caller vouches for AVX-512F.
            unsafe {
                let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
                let high =
                    _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
                (
                    Self(_mm512_permutex2var_ps(self.0, low, other.0)),
                    Self(_mm512_permutex2var_ps(self.0, high, other.0)),
                )
            }
        }
    }
}

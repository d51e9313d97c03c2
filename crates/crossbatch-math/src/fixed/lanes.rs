//! Sixteen 32-bit lanes, one type an instruction set, and the choice between them at run time.

use super::PANEL;

/// The instruction set that fixed-point kernels run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// 512-bit vectors with integer dot products (VNNI).
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Plain Rust, left to the compiler.
    Portable,
}

impl Level {
    /// Every level that this machine supports, best first.
    pub(crate) fn supported() -> Vec<Self> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512bw")
                && std::arch::is_x86_feature_detected!("avx512vnni")
                && std::arch::is_x86_feature_detected!("popcnt")
            {
                levels.push(Self::Avx512);
            }
            if std::arch::is_x86_feature_detected!("avx2")
                && std::arch::is_x86_feature_detected!("fma")
                && std::arch::is_x86_feature_detected!("popcnt")
            {
                levels.push(Self::Avx2);
            }
        }
        levels.push(Self::Portable);
        levels
    }

    /// The best level that this machine supports.
    pub(crate) fn detect() -> Self {
        Self::supported()[0]
    }
}

/// Sixteen 32-bit lanes.
///
/// # Safety
///
/// Every method may only be called where the CPU has the instructions of the implementing type, and pointers must be
/// valid for 16 elements. They need no alignment.
#[allow(unsafe_code)]
pub(crate) unsafe trait Lanes: Copy {
    /// All lanes equal to `value`.
    unsafe fn splat(value: i32) -> Self;
    /// Reads 16 lanes.
    unsafe fn load(from: *const i32) -> Self;
    /// Writes 16 lanes.
    unsafe fn store(self, to: *mut i32);
    /// Lane by lane `self - other`, wrapping.
    unsafe fn minus(self, other: Self) -> Self;
    /// A bit for each lane that is greater than that of `other`.
    unsafe fn greater(self, other: Self) -> u32;
    /// `self + 1` in the lanes where `x` is greater than `than`.
    unsafe fn add_if_greater(self, x: Self, than: Self) -> Self;
    /// `self + Σ a · b` over the two i16 values of each lane.
    unsafe fn dot_i16(self, a: Self, b: Self) -> Self;
    /// `self + Σ a · b` over the four values of each lane, those of `a` in u8 and those of `b` in i8.
    unsafe fn dot_u8_i8(self, a: Self, b: Self) -> Self;
    /// `self + a · b` with the lanes as f32.
    unsafe fn dot_f32(self, a: Self, b: Self) -> Self;
    /// Lanes that are f32 times `unit`, rounded to i32.
    unsafe fn round_f32(self, unit: f32) -> Self;
}

/// Plain Rust.
#[derive(Clone, Copy)]
pub(crate) struct Portable([i32; PANEL]);

impl Portable {
    #[inline(always)]
    fn each(mut self, change: impl Fn(usize, i32) -> i32) -> Self {
        for lane in 0..PANEL {
            self.0[lane] = change(lane, self.0[lane]);
        }
        self
    }
}

// SAFETY: no special instructions; each method touches exactly 16 elements.
#[allow(unsafe_code)]
unsafe impl Lanes for Portable {
    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        Self([value; PANEL])
    }
    #[inline(always)]
    unsafe fn load(from: *const i32) -> Self {
        // SAFETY: the caller's pointer is valid for 16 elements.
        Self(unsafe { from.cast::<[i32; PANEL]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut i32) {
        // SAFETY: the caller's pointer is valid for 16 elements.
        unsafe { to.cast::<[i32; PANEL]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        self.each(|lane, value| value.wrapping_sub(other.0[lane]))
    }
    #[inline(always)]
    unsafe fn greater(self, other: Self) -> u32 {
        (0..PANEL).fold(0, |mask, lane| mask | u32::from(self.0[lane] > other.0[lane]) << lane)
    }
    #[inline(always)]
    unsafe fn add_if_greater(self, x: Self, than: Self) -> Self {
        self.each(|lane, value| value + i32::from(x.0[lane] > than.0[lane]))
    }
    #[inline(always)]
    unsafe fn dot_i16(self, a: Self, b: Self) -> Self {
        let halves = |word: i32| [i32::from(word as i16), word >> 16];
        self.each(|lane, value| {
            let ([a0, a1], [b0, b1]) = (halves(a.0[lane]), halves(b.0[lane]));
            value.wrapping_add(a0 * b0).wrapping_add(a1 * b1)
        })
    }
    #[inline(always)]
    unsafe fn dot_u8_i8(self, a: Self, b: Self) -> Self {
        self.each(|lane, value| {
            let pairs = a.0[lane].to_le_bytes().into_iter().zip(b.0[lane].to_le_bytes());
            pairs.fold(value, |sum, (a, b)| {
                sum.wrapping_add(i32::from(a) * i32::from(b.cast_signed()))
            })
        })
    }
    #[inline(always)]
    unsafe fn dot_f32(self, a: Self, b: Self) -> Self {
        let float = |word: i32| f32::from_bits(word.cast_unsigned());
        self.each(|lane, value| {
            let sum = float(value) + float(a.0[lane]) * float(b.0[lane]);
            sum.to_bits().cast_signed()
        })
    }
    #[inline(always)]
    unsafe fn round_f32(self, unit: f32) -> Self {
        self.each(|_, value| (f32::from_bits(value.cast_unsigned()) * unit).round() as i32)
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    /// Two 256-bit vectors.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256i, __m256i);

    // SAFETY: AVX2 and FMA only, unaligned accesses of 16 elements.
    #[allow(unsafe_code)]
    unsafe impl Lanes for Avx2 {
        #[inline(always)]
        unsafe fn splat(value: i32) -> Self {
            // SAFETY: the caller vouches for AVX2.
            let value = unsafe { _mm256_set1_epi32(value) };
            Self(value, value)
        }
        #[inline(always)]
        unsafe fn load(from: *const i32) -> Self {
            // SAFETY: the caller vouches for AVX2 and the pointer.
            unsafe {
                let at = from.cast::<__m256i>();
                Self(_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1)))
            }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut i32) {
            // SAFETY: the caller vouches for AVX2 and the pointer.
            unsafe {
                let at = to.cast::<__m256i>();
                _mm256_storeu_si256(at, self.0);
                _mm256_storeu_si256(at.add(1), self.1);
            }
        }
        #[inline(always)]
        unsafe fn minus(self, other: Self) -> Self {
            // SAFETY: the caller vouches for AVX2.
            unsafe { Self(_mm256_sub_epi32(self.0, other.0), _mm256_sub_epi32(self.1, other.1)) }
        }
        #[inline(always)]
        unsafe fn greater(self, other: Self) -> u32 {
            // SAFETY: the caller vouches for AVX2.
            unsafe {
                let bits = |a, b| {
                    let all = _mm256_castsi256_ps(_mm256_cmpgt_epi32(a, b));
                    _mm256_movemask_ps(all).cast_unsigned()
                };
                bits(self.0, other.0) | bits(self.1, other.1) << 8
            }
        }
        #[inline(always)]
        unsafe fn add_if_greater(self, x: Self, than: Self) -> Self {
            // SAFETY: the caller vouches for AVX2; a lane that is greater compares as -1.
            unsafe {
                let add = |sum, x, than| _mm256_sub_epi32(sum, _mm256_cmpgt_epi32(x, than));
                Self(add(self.0, x.0, than.0), add(self.1, x.1, than.1))
            }
        }
        #[inline(always)]
        unsafe fn dot_i16(self, a: Self, b: Self) -> Self {
            // SAFETY: the caller vouches for AVX2.
            unsafe {
                let add = |sum, a, b| _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
                Self(add(self.0, a.0, b.0), add(self.1, a.1, b.1))
            }
        }
        #[inline(always)]
        unsafe fn dot_u8_i8(self, a: Self, b: Self) -> Self {
            // Not `maddubs`, which saturates: the even and the odd bytes are widened to i16 apart.
            // SAFETY: the caller vouches for AVX2.
            unsafe {
                let low = _mm256_set1_epi16(0xff);
                let add = |sum, a, b| {
                    let even = _mm256_madd_epi16(
                        _mm256_and_si256(a, low),
                        _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8),
                    );
                    let odd = _mm256_madd_epi16(_mm256_srli_epi16(a, 8), _mm256_srai_epi16(b, 8));
                    _mm256_add_epi32(sum, _mm256_add_epi32(even, odd))
                };
                Self(add(self.0, a.0, b.0), add(self.1, a.1, b.1))
            }
        }
        #[inline(always)]
        unsafe fn dot_f32(self, a: Self, b: Self) -> Self {
            // SAFETY: the caller vouches for FMA.
            unsafe {
                let add = |sum, a, b| {
                    let [a, b, sum] = [a, b, sum].map(|lanes| _mm256_castsi256_ps(lanes));
                    _mm256_castps_si256(_mm256_fmadd_ps(a, b, sum))
                };
                Self(add(self.0, a.0, b.0), add(self.1, a.1, b.1))
            }
        }
        #[inline(always)]
        unsafe fn round_f32(self, unit: f32) -> Self {
            // SAFETY: the caller vouches for AVX2.
            unsafe {
                let unit = _mm256_set1_ps(unit);
                let round =
                    |lanes| _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_castsi256_ps(lanes), unit));
                Self(round(self.0), round(self.1))
            }
        }
    }

    /// One 512-bit vector.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512i);

    // SAFETY: AVX-512 F, BW and VNNI only, unaligned accesses of 16 elements.
    #[allow(unsafe_code)]
    unsafe impl Lanes for Avx512 {
        #[inline(always)]
        unsafe fn splat(value: i32) -> Self {
            // SAFETY: the caller vouches for AVX-512.
            Self(unsafe { _mm512_set1_epi32(value) })
        }
        #[inline(always)]
        unsafe fn load(from: *const i32) -> Self {
            // SAFETY: the caller vouches for AVX-512 and the pointer.
            Self(unsafe { _mm512_loadu_si512(from.cast()) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut i32) {
            // SAFETY: the caller vouches for AVX-512 and the pointer.
            unsafe { _mm512_storeu_si512(to.cast(), self.0) }
        }
        #[inline(always)]
        unsafe fn minus(self, other: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512.
            Self(unsafe { _mm512_sub_epi32(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn greater(self, other: Self) -> u32 {
            // SAFETY: the caller vouches for AVX-512.
            u32::from(unsafe { _mm512_cmpgt_epi32_mask(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn add_if_greater(self, x: Self, than: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512.
            Self(unsafe {
                let mask = _mm512_cmpgt_epi32_mask(x.0, than.0);
                _mm512_mask_add_epi32(self.0, mask, self.0, _mm512_set1_epi32(1))
            })
        }
        #[inline(always)]
        unsafe fn dot_i16(self, a: Self, b: Self) -> Self {
            // SAFETY: the caller vouches for VNNI.
            Self(unsafe { _mm512_dpwssd_epi32(self.0, a.0, b.0) })
        }
        #[inline(always)]
        unsafe fn dot_u8_i8(self, a: Self, b: Self) -> Self {
            // SAFETY: the caller vouches for VNNI.
            Self(unsafe { _mm512_dpbusd_epi32(self.0, a.0, b.0) })
        }
        #[inline(always)]
        unsafe fn dot_f32(self, a: Self, b: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512.
            Self(unsafe {
                let [a, b, sum] = [a.0, b.0, self.0].map(|lanes| _mm512_castsi512_ps(lanes));
                _mm512_castps_si512(_mm512_fmadd_ps(a, b, sum))
            })
        }
        #[inline(always)]
        unsafe fn round_f32(self, unit: f32) -> Self {
            // SAFETY: the caller vouches for AVX-512.
            Self(unsafe {
                let product = _mm512_mul_ps(_mm512_castsi512_ps(self.0), _mm512_set1_ps(unit));
                _mm512_cvtps_epi32(product)
            })
        }
    }
}

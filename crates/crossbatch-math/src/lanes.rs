//! Vectors of f32, one type an instruction set, and the choice between them at run time.

/// The instruction set that the kernels of this crate run with on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// 512-bit vectors, 32 registers.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256-bit vectors with fused multiply-add, 16 registers.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Plain Rust, left to the compiler.
    Portable,
}

impl Level {
    /// The best level that this machine supports.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if std::arch::is_x86_feature_detected!("avx2")
                && std::arch::is_x86_feature_detected!("fma")
            {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// Every level that this machine supports, best first.
    #[cfg(test)]
    pub(crate) fn supported() -> Vec<Self> {
        let best = Self::detect();
        #[cfg(target_arch = "x86_64")]
        {
            let all = [Self::Avx512, Self::Avx2, Self::Portable];
            let start = all.iter().position(|level| *level == best).unwrap_or(2);
            all[start..].to_vec()
        }
        #[cfg(not(target_arch = "x86_64"))]
        vec![best]
    }

    /// Elements of one vector.
    pub(crate) fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 16,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 8,
            Self::Portable => 8,
        }
    }

    /// Output channels that one tile of the convolution computes together.
    pub(crate) fn filters(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 8,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 6,
            Self::Portable => 4,
        }
    }
}

/// Compiles one inlined body for every [`Level`] and calls the version for `$level`.
///
/// The body must be `#[inline(always)]`, so that each wrapper compiles it with its own instructions.
macro_rules! for_level {
    ($level:expr, $body:ident($($name:ident: $type:ty),* $(,)?)) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f")]
        fn avx512($($name: $type),*) {
            $body($($name),*)
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn avx2($($name: $type),*) {
            $body($($name),*)
        }
        match $level {
            #[cfg(target_arch = "x86_64")]
            $crate::lanes::Level::Avx512 => {
                // SAFETY: `Level::detect` returns this level only where the CPU has AVX-512F.
                #[allow(unsafe_code)]
                unsafe { avx512($($name),*) }
            }
            #[cfg(target_arch = "x86_64")]
            $crate::lanes::Level::Avx2 => {
                // SAFETY: `Level::detect` returns this level only where the CPU has AVX2 and FMA.
                #[allow(unsafe_code)]
                unsafe { avx2($($name),*) }
            }
            $crate::lanes::Level::Portable => $body($($name),*),
        }
    }};
}
pub(crate) use for_level;

/// As [`for_level!`], for a body that is generic over the vectors it works with.
macro_rules! for_lanes {
    ($level:expr, $body:ident($($name:ident: $type:ty),* $(,)?)) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f")]
        fn avx512($($name: $type),*) {
            $body::<$crate::lanes::Avx512>($($name),*)
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn avx2($($name: $type),*) {
            $body::<$crate::lanes::Avx2>($($name),*)
        }
        match $level {
            #[cfg(target_arch = "x86_64")]
            $crate::lanes::Level::Avx512 => {
                // SAFETY: `Level::detect` returns this level only where the CPU has AVX-512F.
                #[allow(unsafe_code)]
                unsafe { avx512($($name),*) }
            }
            #[cfg(target_arch = "x86_64")]
            $crate::lanes::Level::Avx2 => {
                // SAFETY: `Level::detect` returns this level only where the CPU has AVX2 and FMA.
                #[allow(unsafe_code)]
                unsafe { avx2($($name),*) }
            }
            $crate::lanes::Level::Portable => $body::<$crate::lanes::Portable>($($name),*),
        }
    }};
}
pub(crate) use for_lanes;

/// Asks for the cache lines of `len` numbers from `at` on, before they are read. Reads nothing itself: any address will do.
#[inline(always)]
pub(crate) fn prefetch(at: *const f32, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..len).step_by(16) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch has no effect but on the cache, whatever the address.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, len);
}

mod arithmetic;
pub(crate) use arithmetic::{Arithmetic, exp, sigmoid, softplus, sum};
mod masked;
pub(crate) use masked::Masked;

/// Elements of the widest vector.
pub(crate) const WIDEST: usize = 16;

/// A vector of f32.
///
/// # Safety
///
/// Every method may only be called where the CPU has the instructions of the implementing type, and
/// pointers must be valid for `LANES` elements. They need no alignment.
#[allow(unsafe_code)]
pub(crate) unsafe trait Lanes: Copy {
    /// Elements of a vector.
    const LANES: usize;
    /// All elements equal to `value`.
    unsafe fn splat(value: f32) -> Self;
    /// Reads a vector.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes a vector.
    unsafe fn store(self, to: *mut f32);
    /// `self + a * b`, fused where the CPU can.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
    /// Transposes `LANES` rows of `LANES` elements: row `i` is read at `from + i * from_stride`, and column `i` written at
    /// `to + i * to_stride`. The two must not overlap.
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        for row in 0..Self::LANES {
            for column in 0..Self::LANES {
                // SAFETY: the caller vouches for both squares.
                unsafe {
                    *to.add(column * to_stride + row) = *from.add(row * from_stride + column)
                };
            }
        }
    }
}

/// Plain Rust.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 8]);

// SAFETY: no special instructions; each method touches exactly the elements that the trait names.
#[allow(unsafe_code)]
unsafe impl Lanes for Portable {
    const LANES: usize = 8;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's pointer is valid for 8 elements.
        Self(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's pointer is valid for 8 elements.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn add_product(mut self, a: Self, b: Self) -> Self {
        for lane in 0..8 {
            self.0[lane] += a.0[lane] * b.0[lane];
        }
        self
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    /// 256-bit vectors.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(pub(crate) __m256);

    // SAFETY: AVX and FMA only, unaligned accesses of 8 elements.
    #[allow(unsafe_code)]
    unsafe impl Lanes for Avx2 {
        const LANES: usize = 8;
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: the caller vouches for AVX.
            Self(unsafe { _mm256_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the caller vouches for AVX and the pointer.
            Self(unsafe { _mm256_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the caller vouches for AVX and the pointer.
            unsafe { _mm256_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        unsafe fn add_product(self, a: Self, b: Self) -> Self {
            // SAFETY: the caller vouches for FMA.
            Self(unsafe { _mm256_fmadd_ps(a.0, b.0, self.0) })
        }
        #[inline(always)]
        unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
            // SAFETY: the caller vouches for AVX and both squares.
            unsafe {
                // Pairs of rows, then fours: fours[4 k + j] holds columns j and 4 + j of rows 4 k.. in its halves.
                let mut pairs = [_mm256_setzero_ps(); 8];
                for pair in 0..4 {
                    let above = _mm256_loadu_ps(from.add(2 * pair * from_stride));
                    let below = _mm256_loadu_ps(from.add((2 * pair + 1) * from_stride));
                    pairs[2 * pair] = _mm256_unpacklo_ps(above, below);
                    pairs[2 * pair + 1] = _mm256_unpackhi_ps(above, below);
                }
                let mut fours = [_mm256_setzero_ps(); 8];
                for k in 0..2 {
                    for high in 0..2 {
                        let (above, below) = (pairs[4 * k + high], pairs[4 * k + 2 + high]);
                        fours[4 * k + 2 * high] = _mm256_shuffle_ps::<0b01_00_01_00>(above, below);
                        fours[4 * k + 2 * high + 1] =
                            _mm256_shuffle_ps::<0b11_10_11_10>(above, below);
                    }
                }
                for j in 0..4 {
                    let near = _mm256_permute2f128_ps::<0x20>(fours[j], fours[4 + j]);
                    let far = _mm256_permute2f128_ps::<0x31>(fours[j], fours[4 + j]);
                    _mm256_storeu_ps(to.add(j * to_stride), near);
                    _mm256_storeu_ps(to.add((4 + j) * to_stride), far);
                }
            }
        }
    }

    /// 512-bit vectors.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(pub(crate) __m512);

    // SAFETY: AVX-512F only, unaligned accesses of 16 elements.
    #[allow(unsafe_code)]
    unsafe impl Lanes for Avx512 {
        const LANES: usize = 16;
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: the caller vouches for AVX-512F.
            Self(unsafe { _mm512_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the caller vouches for AVX-512F and the pointer.
            Self(unsafe { _mm512_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the caller vouches for AVX-512F and the pointer.
            unsafe { _mm512_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        unsafe fn add_product(self, a: Self, b: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512F.
            Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
        }
        #[inline(always)]
        unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
            // SAFETY: the caller vouches for AVX-512F and both squares.
            unsafe {
                // Pairs of rows, then fours: a[4 k + j] holds column 4 l + j of rows 4 k.. in its quarter l.
                let mut pairs = [_mm512_setzero_ps(); 16];
                for pair in 0..8 {
                    let above = _mm512_loadu_ps(from.add(2 * pair * from_stride));
                    let below = _mm512_loadu_ps(from.add((2 * pair + 1) * from_stride));
                    pairs[2 * pair] = _mm512_unpacklo_ps(above, below);
                    pairs[2 * pair + 1] = _mm512_unpackhi_ps(above, below);
                }
                let mut a = [_mm512_setzero_ps(); 16];
                for k in 0..4 {
                    for high in 0..2 {
                        let above = _mm512_castps_pd(pairs[4 * k + high]);
                        let below = _mm512_castps_pd(pairs[4 * k + 2 + high]);
                        a[4 * k + 2 * high] = _mm512_castpd_ps(_mm512_unpacklo_pd(above, below));
                        a[4 * k + 2 * high + 1] =
                            _mm512_castpd_ps(_mm512_unpackhi_pd(above, below));
                    }
                }
                // Quarters of the same column together; 0x88 takes the even ones of two vectors, 0xdd the odd ones.
                for j in 0..4 {
                    let even = _mm512_shuffle_f32x4::<0x88>(a[j], a[4 + j]);
                    let even_below = _mm512_shuffle_f32x4::<0x88>(a[8 + j], a[12 + j]);
                    let odd = _mm512_shuffle_f32x4::<0xdd>(a[j], a[4 + j]);
                    let odd_below = _mm512_shuffle_f32x4::<0xdd>(a[8 + j], a[12 + j]);
                    let columns = [
                        _mm512_shuffle_f32x4::<0x88>(even, even_below),
                        _mm512_shuffle_f32x4::<0x88>(odd, odd_below),
                        _mm512_shuffle_f32x4::<0xdd>(even, even_below),
                        _mm512_shuffle_f32x4::<0xdd>(odd, odd_below),
                    ];
                    for (quarter, column) in columns.into_iter().enumerate() {
                        _mm512_storeu_ps(to.add((4 * quarter + j) * to_stride), column);
                    }
                }
            }
        }
    }
}

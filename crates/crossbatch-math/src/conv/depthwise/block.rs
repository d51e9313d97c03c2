//! A block of rows in registers.

use crate::lanes::{Masked, WIDEST};

/// A plane that is read.
pub(super) struct Plane<'a> {
    pub(super) pixels: &'a [f32],
    pub(super) width: usize,
}

impl Plane<'_> {
    /// A place in it, or outside.
    #[inline(always)]
    fn at(&self, row: isize, column: isize) -> *const f32 {
        self.pixels.as_ptr().wrapping_offset(row * self.width as isize + column)
    }
}

/// The most rows that a block reads: seven results two apart under seven taps.
const ROWS: usize = 19;

/// Where a block reads: the first row, and for each from there on the elements of a vector that lie inside the image.
pub(super) struct Rows {
    first: isize,
    masks: [u32; ROWS],
}

impl Rows {
    /// From row `first` of an image of `[height, width]` on, `group` rows a vector.
    pub(super) fn new(first: isize, [height, width]: [usize; 2], group: usize) -> Self {
        let mask = |row| row_mask(first + row as isize, group, height, width);
        Self { first, masks: std::array::from_fn(mask) }
    }
}

/// The elements of a vector of `group` rows from `row` on whose rows lie inside an image.
pub(super) fn row_mask(row: isize, group: usize, height: usize, width: usize) -> u32 {
    let inside = |row: isize| (0..height as isize).contains(&row);
    if group == 1 {
        return if inside(row) { u32::MAX } else { 0 };
    }
    let one = (1 << width) - 1;
    let masks = (0..group).filter(|after| inside(row + *after as isize));
    masks.map(|after| one << (after * width)).sum()
}

/// Neighbouring columns of the result.
pub(super) struct Strip {
    /// The first of them.
    pub(super) first: usize,
    /// The elements of a vector that there are.
    pub(super) store: u32,
    /// Where each of the kernel's columns reads in a row, and which elements of the vector lie inside the image. With a
    /// stride of 2 where the first of them does, and which elements of two vectors do.
    pub(super) taps: Vec<(isize, u32)>,
}

/// A vector of sums for each tap, column by column.
pub(super) type Sums = [[f32; WIDEST]; 49];

/// Runs `$body!(r)` for every row `r` of a block, each a literal, so that arrays indexed by it stay in registers.
macro_rules! for_rows {
    ($body:ident) => {
        $body!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18)
    };
}

/// As [`for_rows`], for the results of a block.
macro_rules! for_results {
    ($body:ident, $row:literal) => {
        $body!($row: 0 1 2 3 4 5 6)
    };
}

/// Adds to `R` results, `G` rows apart, the products of `K` rows of each tap's column; weights column by column.
///
/// # Safety
///
/// The CPU must have the instructions of `L`, and the taps' and rows' masks must be those of the plane.
#[inline(always)]
#[allow(unsafe_code)]
pub(super) unsafe fn accumulate<L: Masked, const K: usize, const R: usize, const G: usize>(
    sums: &mut [L; R],
    plane: &Plane<'_>,
    rows: &Rows,
    taps: &[(isize, u32)],
    weights: &[f32],
) {
    let mut own = *sums;
    for ((offset, mask), weights) in taps.iter().zip(weights.chunks_exact(K)) {
        let from = plane.at(rows.first, *offset);
        // SAFETY: the caller vouches for the instructions and the masks.
        unsafe {
            let weights: [L; K] = std::array::from_fn(|row| L::splat(weights[row]));
            macro_rules! add {
                ($row:literal: $($result:literal)*) => {
                    |sums: &mut [L; R], pixels: L| {
                        $(
                            if $result < R && $row >= G * $result && $row - G * $result < K {
                                let weight = weights[$row - G * $result];
                                sums[$result] = sums[$result].add_product(pixels, weight);
                            }
                        )*
                    }
                };
            }
            macro_rules! row {
                ($($row:literal)*) => {
                    $(
                        let inside = mask & rows.masks[$row];
                        if $row < (R - 1) * G + K && inside != 0 {
                            let at = from.wrapping_add($row * plane.width);
                            for_results!(add, $row)(&mut own, L::load_masked(at, inside));
                        }
                    )*
                };
            }
            for_rows!(row);
        }
    }
    *sums = own;
}

/// As [`accumulate`] for a stride of 2: a row's columns are read once, and each tap picks every second one of them.
///
/// # Safety
///
/// As [`accumulate`]; `mask` has a bit for each of two vectors' columns.
#[inline(always)]
#[allow(unsafe_code)]
pub(super) unsafe fn accumulate_halves<L: Masked, const K: usize, const R: usize>(
    sums: &mut [L; R],
    plane: &Plane<'_>,
    rows: &Rows,
    (offset, mask): (isize, u32),
    weights: &[f32],
) {
    let mut own = *sums;
    let from = plane.at(rows.first, offset);
    assert!(weights.len() >= K * K);
    // SAFETY: the caller vouches for the instructions and the masks.
    unsafe {
        macro_rules! add {
            ($row:literal: $($result:literal)*) => {
                |sums: &mut [L; R], columns: &[L; K]| {
                    $(
                        if $result < R && $row >= 2 * $result && $row - 2 * $result < K {
                            for column in 0..K {
                                let weight = L::splat(weights[column * K + $row - 2 * $result]);
                                sums[$result] = sums[$result].add_product(columns[column], weight);
                            }
                        }
                    )*
                }
            };
        }
        macro_rules! row {
            ($($row:literal)*) => {
                $(
                    let inside = mask & rows.masks[$row];
                    if $row < (R - 1) * 2 + K && inside != 0 {
                        let columns = halves::<L, K>(from.wrapping_add($row * plane.width), inside);
                        for_results!(add, $row)(&mut own, &columns);
                    }
                )*
            };
        }
        for_rows!(row);
    }
    *sums = own;
}

/// Adds to each tap's sums the products of `R` vectors, `G` rows apart, and what the tap reads for them.
///
/// # Safety
///
/// As [`accumulate`].
#[inline(always)]
#[allow(unsafe_code)]
pub(super) unsafe fn accumulate_products<
    L: Masked,
    const K: usize,
    const R: usize,
    const G: usize,
>(
    sums: &mut Sums,
    factors: &[L; R],
    plane: &Plane<'_>,
    rows: &Rows,
    taps: &[(isize, u32)],
) {
    let factors = *factors;
    for ((offset, mask), places) in taps.iter().zip(sums.chunks_exact_mut(K)) {
        let from = plane.at(rows.first, *offset);
        // SAFETY: the caller vouches for the instructions and the masks, and a place holds the widest vector.
        unsafe {
            let mut own: [L; K] = std::array::from_fn(|row| L::load(places[row].as_ptr()));
            macro_rules! add {
                ($row:literal: $($result:literal)*) => {
                    |own: &mut [L; K], pixels: L| {
                        $(
                            if $result < R && $row >= G * $result && $row - G * $result < K {
                                let tap = $row - G * $result;
                                own[tap] = own[tap].add_product(pixels, factors[$result]);
                            }
                        )*
                    }
                };
            }
            macro_rules! row {
                ($($row:literal)*) => {
                    $(
                        let inside = mask & rows.masks[$row];
                        if $row < (R - 1) * G + K && inside != 0 {
                            let at = from.wrapping_add($row * plane.width);
                            for_results!(add, $row)(&mut own, L::load_masked(at, inside));
                        }
                    )*
                };
            }
            for_rows!(row);
            for (own, place) in own.iter().zip(places) {
                own.store(place.as_mut_ptr());
            }
        }
    }
}

/// As [`accumulate_products`] for a stride of 2.
///
/// # Safety
///
/// As [`accumulate_halves`].
#[inline(always)]
#[allow(unsafe_code)]
pub(super) unsafe fn accumulate_half_products<L: Masked, const K: usize, const R: usize>(
    sums: &mut Sums,
    factors: &[L; R],
    plane: &Plane<'_>,
    rows: &Rows,
    (offset, mask): (isize, u32),
) {
    let factors = *factors;
    let from = plane.at(rows.first, offset);
    // SAFETY: the caller vouches for the instructions and the masks, and a place holds the widest vector.
    unsafe {
        let mut own: [[L; K]; K] = std::array::from_fn(|column| {
            std::array::from_fn(|row| L::load(sums[column * K + row].as_ptr()))
        });
        macro_rules! add {
            ($row:literal: $($result:literal)*) => {
                |own: &mut [[L; K]; K], columns: &[L; K]| {
                    $(
                        if $result < R && $row >= 2 * $result && $row - 2 * $result < K {
                            let tap = $row - 2 * $result;
                            for column in 0..K {
                                own[column][tap] =
                                    own[column][tap].add_product(columns[column], factors[$result]);
                            }
                        }
                    )*
                }
            };
        }
        macro_rules! row {
            ($($row:literal)*) => {
                $(
                    let inside = mask & rows.masks[$row];
                    if $row < (R - 1) * 2 + K && inside != 0 {
                        let columns = halves::<L, K>(from.wrapping_add($row * plane.width), inside);
                        for_results!(add, $row)(&mut own, &columns);
                    }
                )*
            };
        }
        for_rows!(row);
        for (own, places) in own.iter().zip(sums.chunks_exact_mut(K)) {
            for (own, place) in own.iter().zip(places) {
                own.store(place.as_mut_ptr());
            }
        }
    }
}

/// Every second column from each of `K` neighbouring ones on.
///
/// # Safety
///
/// As [`accumulate_halves`].
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn halves<L: Masked, const K: usize>(at: *const f32, mask: u32) -> [L; K] {
    // SAFETY: as the caller's.
    unsafe {
        let near = L::load_masked(at, mask & ((1 << L::LANES) - 1));
        let rest = mask >> L::LANES;
        let far = match rest {
            0 => L::splat(0.0),
            _ => L::load_masked(at.wrapping_add(L::LANES), rest),
        };
        std::array::from_fn(|first| L::every_second(near, far, first))
    }
}

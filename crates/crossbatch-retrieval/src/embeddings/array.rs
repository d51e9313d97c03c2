//! An array as NumPy and safetensors keep it: an element type, a shape, and bytes.

use std::io::Read;

use half::{bf16, f16};

use super::{FileError, Labels, error::Place};
use crate::Values;

/// What an element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    F16,
    Bf16,
    F32,
    F64,
    /// Width in bytes, and whether there are negative numbers.
    Integer(usize, bool),
    /// NumPy's `S`: so many bytes of text, zeros at the end.
    Bytes(usize),
    /// NumPy's `U`: so many characters of four bytes, zeros at the end.
    Unicode(usize),
}

impl Element {
    pub(super) fn width(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::Integer(width, _) | Self::Bytes(width) => width,
            Self::Unicode(characters) => characters.saturating_mul(4),
        }
    }

    pub(super) fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::Bf16 | Self::F32 | Self::F64)
    }
}

/// The description of an array; its bytes are elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Array {
    pub(super) element: Element,
    pub(super) big_endian: bool,
    /// Columns one after the other, instead of rows.
    pub(super) fortran: bool,
    pub(super) shape: Vec<usize>,
}

/// What can be vectors, for errors.
pub(super) const EXPECTED_VECTORS: &str = "expected vectors [N, D] of f16, bf16, f32 or f64";
/// What can be labels, for errors.
const EXPECTED_LABELS: &str = "expected one integer or text a row";

/// Bytes that are read at once where elements need work.
const PIECE: usize = 1 << 18;

impl Array {
    /// Rows in memory order, little-endian: what most files hold.
    pub(super) fn plain(element: Element, shape: Vec<usize>) -> Self {
        Self { element, big_endian: false, fortran: false, shape }
    }

    /// Elements in all; `None` if that overflows.
    pub(super) fn len(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side))
    }

    /// Bytes in all; `None` if that overflows.
    pub(super) fn bytes(&self) -> Option<usize> {
        self.len()?.checked_mul(self.element.width())
    }

    /// N and D of vectors.
    pub(super) fn vector_shape(&self, place: Place<'_>) -> Result<(usize, usize), FileError> {
        match self.shape[..] {
            _ if !self.element.is_float() => {
                Err(place.error(format!("the values are {}", self.element), EXPECTED_VECTORS))
            }
            [rows, dim] if rows > 0 && dim > 0 => Ok((rows, dim)),
            _ => Err(place.error(format!("the shape is {:?}", self.shape), EXPECTED_VECTORS)),
        }
    }

    /// Values of floats that lie in `bytes`, as f32. There are as many of them as `out` has room for.
    pub(super) fn decode(&self, bytes: &[u8], out: &mut [f32]) {
        fn each<const W: usize>(bytes: &[u8], out: &mut [f32], value: impl Fn([u8; W]) -> f32) {
            let elements = bytes.as_chunks::<W>().0.iter();
            out.iter_mut().zip(elements).for_each(|(out, &bytes)| *out = value(bytes));
        }
        match (self.element, self.big_endian) {
            (Element::F16, false) => each(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
            (Element::F16, true) => each(bytes, out, |b| f16::from_be_bytes(b).to_f32()),
            (Element::Bf16, false) => each(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
            (Element::Bf16, true) => each(bytes, out, |b| bf16::from_be_bytes(b).to_f32()),
            (Element::F64, false) => each(bytes, out, |b| f64::from_le_bytes(b) as f32),
            (Element::F64, true) => each(bytes, out, |b| f64::from_be_bytes(b) as f32),
            (_, false) => each(bytes, out, f32::from_le_bytes),
            (_, true) => each(bytes, out, f32::from_be_bytes),
        }
    }

    /// Reads vectors `[N, D]`, row after row. The caller has made sure that `input` holds as many bytes.
    pub(super) fn read_vectors(
        &self,
        input: &mut dyn Read,
        place: Place<'_>,
    ) -> Result<Values, FileError> {
        let (rows, dim) = self.vector_shape(place)?;
        let count = rows * dim;
        let fail = |error| place.io(error);
        Ok(match self.element {
            Element::F16 => {
                let values = self.read_pod::<u16>(count, input).map_err(fail)?;
                let values = values.into_iter().map(|bits| f16::from_bits(self.in_order_16(bits)));
                self.by_rows(values.collect(), rows, dim).into()
            }
            Element::Bf16 => {
                let values = self.read_pod::<u16>(count, input).map_err(fail)?;
                let values = values.into_iter().map(|bits| bf16::from_bits(self.in_order_16(bits)));
                self.by_rows(values.collect(), rows, dim).into()
            }
            Element::F32 => {
                let mut values = self.read_pod::<f32>(count, input).map_err(fail)?;
                if self.big_endian != cfg!(target_endian = "big") {
                    values.iter_mut().for_each(|value| {
                        *value = f32::from_bits(value.to_bits().swap_bytes());
                    });
                }
                self.by_rows(values, rows, dim).into()
            }
            _ => {
                let mut values = Vec::with_capacity(count);
                self.for_each(count, input, |bytes| {
                    let mut eight = [0; 8];
                    eight.copy_from_slice(bytes);
                    values.push(f64::from_le_bytes(eight) as f32);
                })
                .map_err(fail)?;
                self.by_rows(values, rows, dim).into()
            }
        })
    }

    /// Reads a label a row, `[N]` or `[N, 1]`.
    pub(super) fn read_labels(
        &self,
        input: &mut dyn Read,
        place: Place<'_>,
    ) -> Result<Labels, FileError> {
        let (&[count] | &[count, 1]) = &self.shape[..] else {
            return Err(place.error(format!("the shape is {:?}", self.shape), EXPECTED_LABELS));
        };
        match self.element {
            Element::Integer(_, signed) => {
                let mut values: Vec<i128> = Vec::with_capacity(count);
                self.for_each(count, input, |bytes| values.push(integer(bytes, signed)))
                    .map_err(|error| place.io(error))?;
                Ok(Labels::from_integers(values))
            }
            Element::Bytes(_) | Element::Unicode(_) => {
                let mut values = Vec::with_capacity(count);
                self.for_each(count, input, |bytes| values.push(self.text(bytes)))
                    .map_err(|error| place.io(error))?;
                let broken = values.iter().position(Option::is_none);
                if let Some(row) = broken {
                    return Err(place.error(format!("row {row} is no valid text"), EXPECTED_LABELS));
                }
                Ok(Labels::from_text(values.into_iter().flatten()))
            }
            element => Err(place.error(
                format!("the values are {element}"),
                format!(
                    "{EXPECTED_LABELS}: convert them, in NumPy with `labels.astype(\"int64\")`"
                ),
            )),
        }
    }

    /// Values as they lie in the input, without a copy.
    fn read_pod<T: bytemuck::Pod>(
        &self,
        count: usize,
        input: &mut dyn Read,
    ) -> std::io::Result<Vec<T>> {
        let mut values = vec![T::zeroed(); count];
        input.read_exact(bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }

    fn in_order_16(&self, bits: u16) -> u16 {
        if self.big_endian { u16::from_be(bits) } else { u16::from_le(bits) }
    }

    /// Calls `take` with the bytes of each element, least significant first where it is a number.
    fn for_each(
        &self,
        count: usize,
        input: &mut dyn Read,
        mut take: impl FnMut(&[u8]),
    ) -> std::io::Result<()> {
        let width = self.element.width();
        if width == 0 {
            (0..count).for_each(|_| take(&[]));
            return Ok(());
        }
        let reverse =
            self.big_endian && !matches!(self.element, Element::Bytes(_) | Element::Unicode(_));
        let at_once = (PIECE / width).max(1);
        let mut buffer = vec![0; at_once.min(count) * width];
        let mut left = count;
        while left > 0 {
            let piece = &mut buffer[..at_once.min(left) * width];
            input.read_exact(piece)?;
            for bytes in piece.chunks_exact_mut(width) {
                if reverse {
                    bytes.reverse();
                }
                take(bytes);
            }
            left -= at_once.min(left);
        }
        Ok(())
    }

    /// The text of an element; `None` if it is none.
    fn text(&self, bytes: &[u8]) -> Option<String> {
        let text = if let Element::Bytes(_) = self.element {
            str::from_utf8(bytes).ok()?.to_owned()
        } else {
            let number = |four: &[u8; 4]| match self.big_endian {
                true => u32::from_be_bytes(*four),
                false => u32::from_le_bytes(*four),
            };
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|four| char::from_u32(number(four)))
                .collect::<Option<_>>()?
        };
        Some(text.trim_end_matches('\0').to_owned())
    }

    /// Rows one after the other, whichever way the values came.
    fn by_rows<T: Copy>(&self, values: Vec<T>, rows: usize, dim: usize) -> Vec<T> {
        if !self.fortran {
            return values;
        }
        let value = |at: usize| values[at % dim * rows + at / dim];
        (0..values.len()).map(value).collect()
    }
}

impl std::fmt::Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::F16 => write!(f, "f16"),
            Self::Bf16 => write!(f, "bf16"),
            Self::F32 => write!(f, "f32"),
            Self::F64 => write!(f, "f64"),
            Self::Integer(width, true) => write!(f, "i{}", width * 8),
            Self::Integer(width, false) => write!(f, "u{}", width * 8),
            Self::Bytes(_) | Self::Unicode(_) => write!(f, "text"),
        }
    }
}

/// A number of up to eight bytes, least significant first.
fn integer(bytes: &[u8], signed: bool) -> i128 {
    let negative = signed && bytes.last().is_some_and(|&last| last >= 0x80);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    i128::from_le_bytes(wide)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn place() -> Place<'static> {
        Place::file(Path::new("x"))
    }

    #[test]
    fn integers_keep_their_sign() {
        assert_eq!(integer(&[0xff], true), -1);
        assert_eq!(integer(&[0xff], false), 255);
        assert_eq!(integer(&u64::MAX.to_le_bytes(), false), i128::from(u64::MAX));
        assert_eq!(integer(&i64::MIN.to_le_bytes(), true), i128::from(i64::MIN));
    }

    #[test]
    fn columns_first_and_big_ends_are_put_in_order() {
        let mut array = Array::plain(Element::F32, vec![2, 3]);
        (array.fortran, array.big_endian) = (true, true);
        let bytes: Vec<u8> =
            [1.0f32, 4.0, 2.0, 5.0, 3.0, 6.0].iter().flat_map(|v| v.to_be_bytes()).collect();
        let values = array.read_vectors(&mut &bytes[..], place()).unwrap();
        assert_eq!(values, Values::F32(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        array.element = Element::F64;
        let bytes: Vec<u8> =
            [1.0f64, 4.0, 2.0, 5.0, 3.0, 6.0].iter().flat_map(|v| v.to_be_bytes()).collect();
        assert_eq!(array.read_vectors(&mut &bytes[..], place()).unwrap(), values);
    }

    #[test]
    fn pieces_make_no_difference() {
        let values: Vec<i64> = (0..100_000).map(|i| i % 1000 - 500).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let array = Array::plain(Element::Integer(8, true), vec![100_000]);
        let labels = array.read_labels(&mut &bytes[..], place()).unwrap();
        assert_eq!(labels, Labels::from_integers(values));
    }

    #[test]
    fn too_few_bytes_are_said_to_be_so() {
        let array = Array::plain(Element::F32, vec![2, 2]);
        let error = array.read_vectors(&mut &[0u8; 15][..], place()).unwrap_err().to_string();
        assert!(error.contains("end too early") && error.contains("truncated"), "{error}");
    }
}

//! NumPy's format: a line that describes the array, then its bytes.
//!
//! Versions 1 to 3 are read (NEP 1 and `numpy.lib.format`), version 1 is written.

use std::{
    io::{self, Read, Write},
    path::Path,
};

use super::{
    Embeddings, FileError, Labels,
    array::{Array, Element},
    error::Place,
    little_endian,
};

const MAGIC: &[u8] = b"\x93NUMPY";

/// The array starts here or at a multiple, so that it can be mapped into memory.
const ALIGNMENT: usize = 64;

/// No description of one array comes near this many bytes.
const LONGEST_HEADER: usize = 1 << 16;

/// Reads the description, and leaves `input` where the array begins. Also returns how many bytes that took.
pub(super) fn read_header(
    input: &mut dyn Read,
    place: Place<'_>,
) -> Result<(Array, usize), FileError> {
    let fail = |error| place.io(error);
    let mut start = [0; 8];
    input.read_exact(&mut start).map_err(fail)?;
    if !start.starts_with(MAGIC) {
        return Err(place.error("it does not begin as a NumPy file", "save it with numpy.save"));
    }
    let (length, prefix) = match start[6] {
        1 => {
            let mut two = [0; 2];
            input.read_exact(&mut two).map_err(fail)?;
            (usize::from(u16::from_le_bytes(two)), 10)
        }
        2 | 3 => {
            let mut four = [0; 4];
            input.read_exact(&mut four).map_err(fail)?;
            (u32::from_le_bytes(four) as usize, 12)
        }
        version => {
            let found = format!("NumPy format version {version}");
            return Err(place.error(found, "expected 1, 2 or 3: save it with a current NumPy"));
        }
    };
    if length > LONGEST_HEADER {
        let found = format!("a header of {length} bytes");
        return Err(place.error(found, format!("expected at most {LONGEST_HEADER}: it is damaged")));
    }
    let mut header = vec![0; length];
    input.read_exact(&mut header).map_err(fail)?;
    let header = String::from_utf8_lossy(&header);
    Ok((parse_header(&header, place)?, prefix + length))
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`
fn parse_header(header: &str, place: Place<'_>) -> Result<Array, FileError> {
    let damaged = || place.error(format!("the header is `{}`", header.trim()), "save it again");
    let value = |key: &str| {
        let (_, rest) = header.split_once(&format!("'{key}':"))?;
        Some(rest.trim_start())
    };
    let described = value("descr").ok_or_else(damaged)?;
    let Some(described) = described.strip_prefix('\'').and_then(|text| text.split('\'').next())
    else {
        let advice = "expected one number a value: save the field that holds the vectors";
        return Err(place.error("the values are records", advice));
    };
    let (element, big_endian) = element(described).ok_or_else(|| {
        let found = format!("the values are `{described}`");
        place.error(found, advice(described))
    })?;
    let fortran = match value("fortran_order").ok_or_else(damaged)? {
        text if text.starts_with("True") => true,
        text if text.starts_with("False") => false,
        _ => return Err(damaged()),
    };
    let shape = value("shape").and_then(|text| text.strip_prefix('(')?.split(')').next());
    let sides = shape.ok_or_else(damaged)?.split(',').map(str::trim);
    let sides = sides.filter(|side| !side.is_empty()).map(str::parse::<usize>);
    let shape = sides.collect::<Result<Vec<_>, _>>().map_err(|_| damaged())?;
    let array = Array { element, big_endian, fortran, shape };
    if array.bytes().is_none() {
        return Err(place.error(format!("the shape is {:?}", array.shape), "it is damaged"));
    }
    Ok(array)
}

/// The meaning of NumPy's type string, and whether the most significant byte comes first.
fn element(described: &str) -> Option<(Element, bool)> {
    let mut letters = described.chars();
    let big_endian = match letters.next()? {
        '<' | '|' => false,
        '>' => true,
        '=' => cfg!(target_endian = "big"),
        _ => return None,
    };
    let kind = letters.next()?;
    let width: usize = letters.as_str().parse().ok()?;
    let element = match (kind, width) {
        ('f', 2) => Element::F16,
        ('f', 4) => Element::F32,
        ('f', 8) => Element::F64,
        ('i', 1 | 2 | 4 | 8) => Element::Integer(width, true),
        ('u', 1 | 2 | 4 | 8) | ('b', 1) => Element::Integer(width, false),
        ('S', _) => Element::Bytes(width),
        ('U', _) => Element::Unicode(width),
        _ => return None,
    };
    Some((element, big_endian))
}

fn advice(described: &str) -> &'static str {
    if described.contains('O') {
        "Python objects are not read, for that can run code: convert them before saving, vectors with \
         `x.astype(\"float32\")`, labels with `labels.astype(str)`"
    } else {
        "expected f2, f4 or f8 for vectors, integers or text for labels: convert them with `x.astype(\"float32\")`"
    }
}

/// Where the array of a file begins, after a check that it is all there.
pub(super) fn locate(file: &mut fs_err::File, path: &Path) -> Result<(Array, u64), FileError> {
    let place = Place::file(path);
    let length = file.metadata()?.len();
    let (array, start) = read_header(file, place)?;
    let expected = array.bytes().unwrap_or(usize::MAX) as u64;
    let found = length.saturating_sub(start as u64);
    if found != expected {
        return Err(place.error(
            format!("{found} bytes of data for the shape {:?} of {}", array.shape, array.element),
            format!(
                "expected {expected}: the file is truncated or damaged, copy or write it again"
            ),
        ));
    }
    Ok((array, start as u64))
}

/// Vectors `[N, D]`.
pub(super) fn read(path: &Path) -> Result<Embeddings, FileError> {
    let mut file = fs_err::File::open(path)?;
    let (array, _) = locate(&mut file, path)?;
    let place = Place::file(path);
    let (_, dim) = array.vector_shape(place)?;
    Embeddings::checked(array.read_vectors(&mut file, place)?, dim, None, place)
}

/// What a file says of its vectors, without them.
pub(super) fn read_rest(path: &Path) -> Result<Embeddings, FileError> {
    let (array, _) = locate(&mut fs_err::File::open(path)?, path)?;
    let place = Place::file(path);
    let (rows, dim) = array.vector_shape(place)?;
    Embeddings::without_vectors(rows, dim, place)
}

/// Labels `[N]`.
pub(super) fn read_labels(path: &Path) -> Result<Labels, FileError> {
    let mut file = fs_err::File::open(path)?;
    let (array, _) = locate(&mut file, path)?;
    array.read_labels(&mut file, Place::file(path))
}

/// Writes the vectors, `[N, D]`; bf16, which NumPy does not know, as f32.
pub(super) fn write(embeddings: &Embeddings, file: &mut dyn Write) -> io::Result<()> {
    let shape = (embeddings.len(), embeddings.dim());
    let described = match embeddings.values() {
        crate::Values::F16(_) => "<f2",
        crate::Values::F32(_) | crate::Values::Bf16(_) => "<f4",
    };
    let mut header =
        format!("{{'descr': '{described}', 'fortran_order': False, 'shape': {shape:?}, }}");
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.push_str(&" ".repeat(unpadded.next_multiple_of(ALIGNMENT) - unpadded));
    header.push('\n');
    file.write_all(MAGIC)?;
    file.write_all(&[1, 0])?;
    // Two numbers and a few words never fill 65,535 bytes.
    file.write_all(&(header.len() as u16).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    match embeddings.values() {
        crate::Values::Bf16(values) => {
            values.iter().try_for_each(|value| file.write_all(&value.to_f32().to_le_bytes()))
        }
        values => little_endian(values, file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Values;

    fn header(text: &str) -> Result<Array, String> {
        let file = Path::new("x.npy");
        parse_header(text, Place::file(file)).map_err(|error| error.to_string())
    }

    #[test]
    fn headers_as_numpy_writes_them() {
        let array = header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n");
        assert_eq!(array, Ok(Array::plain(Element::F32, vec![2, 3])));
        let array = header("{'descr': '>i8', 'fortran_order': True, 'shape': (7,), }").unwrap();
        assert_eq!(array.element, Element::Integer(8, true));
        assert!(array.big_endian && array.fortran && array.shape == [7]);
        let array = header("{'descr': '<U12', 'fortran_order': False, 'shape': (), }").unwrap();
        assert_eq!((array.element, array.len()), (Element::Unicode(12), Some(1)));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let of = |described: &str, shape: &str| {
            header(&format!("{{'descr': {described}, 'fortran_order': False, 'shape': {shape}, }}"))
                .unwrap_err()
        };
        let found = of("'|O'", "(3,)");
        assert!(found.contains("`|O`") && found.contains("can run code"), "{found}");
        assert!(of("'<c8'", "(3,)").contains("`<c8`"));
        assert!(of("'<f16'", "(3,)").contains("float32"));
        assert!(of("[('a', '<f4')]", "(3,)").contains("records"));
        assert!(of("'<f4'", "(3, -1)").contains("header is"));
        assert!(of("'<f4'", "(9999999999999, 9999999999999)").contains("damaged"));
        assert!(of("'<f4'", "3").contains("save it again"));
    }

    #[test]
    fn a_written_header_is_what_numpy_writes() {
        let values = Values::F32(vec![1.0, -2.0, 0.5, 0.0, 3.0, 4.0]);
        let mut bytes = Vec::new();
        write(&Embeddings::new(values, 3).unwrap(), &mut bytes).unwrap();
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let header = str::from_utf8(&bytes[10..128]).unwrap();
        assert!(
            header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  ")
        );
        assert!(header.ends_with(" \n"));
        assert_eq!(bytes.len(), 128 + 24);
        assert_eq!(bytes[128..136], [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
    }
}

//! Bytes to values. Every length is checked against what is there before anything is taken from it.

use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

use super::Value;

const HEADER: usize = 128;
/// Largest content of one compressed element.
const LARGEST_ELEMENT: usize = 256 << 20;
/// Largest content of all of them.
const LARGEST_FILE: usize = 512 << 20;
/// Cells in cells, at most.
const DEEPEST: usize = 16;
/// Values in a file, at most: an empty array takes a few bytes on disk and many in memory.
const MOST_VALUES: usize = 1 << 24;

const COMPRESSED: u32 = 15;
const MATRIX: u32 = 14;

/// The variables of a file, in order. The message says where and what is wrong.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<(String, Value)>, String> {
    let mut room = Room { bytes: LARGEST_FILE, values: MOST_VALUES };
    if bytes.starts_with(b"MATLAB 7.3") || bytes.starts_with(b"\x89HDF") {
        return Err("it is a MAT-file of version 7.3 (HDF5); save it with `-v7`".to_owned());
    }
    let swapped = match bytes.get(126..HEADER) {
        Some(b"IM") => false,
        Some(b"MI") => true,
        _ => return Err("it is no MAT-file of version 5 (no byte order mark at byte 126)".into()),
    };
    let mut input = Input { bytes: &bytes[HEADER..], swapped, start: HEADER };
    let mut variables = Vec::new();
    while !input.bytes.is_empty() {
        let at = input.offset(bytes.len());
        variable(&mut input, &mut variables, &mut room)
            .map_err(|fault| format!("the element at byte {at}: {fault}"))?;
    }
    Ok(variables)
}

/// What may still be taken.
struct Room {
    bytes: usize,
    values: usize,
}

/// Bytes that are still to be read.
#[derive(Clone, Copy)]
struct Input<'a> {
    bytes: &'a [u8],
    swapped: bool,
    start: usize,
}

type Fault = String;

fn variable(
    input: &mut Input<'_>,
    variables: &mut Vec<(String, Value)>,
    room: &mut Room,
) -> Result<(), Fault> {
    let (kind, data) = input.element()?;
    match kind {
        COMPRESSED => {
            let limit = LARGEST_ELEMENT.min(room.bytes);
            let content = decompress_to_vec_zlib_with_limit(data, limit).map_err(|error| {
                use miniz_oxide::inflate::TINFLStatus::{FailedCannotMakeProgress, HasMoreOutput};
                match error.status {
                    HasMoreOutput => "its content is larger than 256 MiB".to_owned(),
                    FailedCannotMakeProgress => "it ends within its compressed content".to_owned(),
                    _ => "its compressed content is damaged".to_owned(),
                }
            })?;
            room.bytes -= content.len();
            let mut inner = Input { bytes: &content, start: 0, ..*input };
            let (kind, data) = inner.element()?;
            if kind != MATRIX {
                return Err(format!("a compressed element of type {kind}, expected an array"));
            }
            variables.push(matrix(Input { bytes: data, ..*input }, 0, room)?);
        }
        MATRIX => variables.push(matrix(Input { bytes: data, ..*input }, 0, room)?),
        // Other elements at the top are no variables.
        _ => {}
    }
    Ok(())
}

fn matrix(mut input: Input<'_>, depth: usize, room: &mut Room) -> Result<(String, Value), Fault> {
    room.values = room.values.checked_sub(1).ok_or("the file holds more than 2^24 values")?;
    if input.bytes.is_empty() {
        // An empty array may be left out wholly.
        return Ok((String::new(), Value::Numbers { dims: vec![0, 0], values: Vec::new() }));
    }
    if depth > DEEPEST {
        return Err(format!("cells or structs lie more than {DEEPEST} deep"));
    }
    let (kind, flags) = input.element()?;
    if kind != 6 || flags.len() != 8 {
        return Err("an array without its flags".to_owned());
    }
    let flags = input.u32(flags) & 0xFF;
    if flags == 17 {
        // An opaque object has no dimensions.
        return Ok((String::new(), Value::Other("an opaque object")));
    }
    let (_, dims) = input.element()?;
    if dims.len() % 4 != 0 || !(8..=128).contains(&dims.len()) {
        return Err("an array's dimensions are damaged".to_owned());
    }
    let dims: Vec<usize> = dims.chunks(4).map(|four| input.u32(four) as usize).collect();
    let count = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    let count = count.ok_or_else(|| format!("an array of {dims:?} values"))?;
    let (_, name) = input.element()?;
    let name = String::from_utf8_lossy(name).into_owned();
    let value = match flags {
        1 => Value::Cells { cells: values(&mut input, count, depth, room)?, dims },
        2 => structs(&mut input, dims, count, depth, room)?,
        4 => text(&mut input, count)?,
        3 => Value::Other("an object"),
        5 => Value::Other("a sparse matrix"),
        6..=15 => Value::Numbers { values: numbers(&mut input, count)?, dims },
        16 => Value::Other("a function"),
        class => return Err(format!("an array of the unknown class {class}")),
    };
    Ok((name, value))
}

fn values(
    input: &mut Input<'_>,
    count: usize,
    depth: usize,
    room: &mut Room,
) -> Result<Vec<Value>, Fault> {
    // Each takes a tag of eight bytes at least.
    if count > input.bytes.len() / 8 {
        return Err(format!(
            "{count} values are announced, but only {} bytes follow",
            input.bytes.len()
        ));
    }
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        let (kind, data) = input.element()?;
        if kind != MATRIX {
            return Err(format!("an element of type {kind} in place of an array"));
        }
        values.push(matrix(Input { bytes: data, ..*input }, depth + 1, room)?.1);
    }
    Ok(values)
}

fn structs(
    input: &mut Input<'_>,
    dims: Vec<usize>,
    count: usize,
    depth: usize,
    room: &mut Room,
) -> Result<Value, Fault> {
    let (_, length) = input.element()?;
    let length = length.get(..4).map_or(0, |four| input.u32(four) as usize);
    let (_, names) = input.element()?;
    if length == 0 && !names.is_empty() || length != 0 && names.len() % length != 0 {
        return Err("the names of a struct's fields are damaged".to_owned());
    }
    let field = |name: &[u8]| {
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        String::from_utf8_lossy(&name[..end]).into_owned()
    };
    let fields: Vec<String> = names.chunks(length.max(1)).map(field).collect();
    if fields.is_empty() && count > 1 {
        return Err(format!("{count} structs without fields"));
    }
    let total = count.checked_mul(fields.len()).ok_or("too many structs")?;
    let mut all = values(input, total, depth, room)?.into_iter();
    let records = (0..count).map(|_| all.by_ref().take(fields.len()).collect()).collect();
    Ok(Value::Structs { dims, fields, records })
}

fn numbers(input: &mut Input<'_>, count: usize) -> Result<Vec<f64>, Fault> {
    let (kind, data) = input.element()?;
    let swapped = input.swapped;
    macro_rules! of {
        ($type:ty) => {{
            let (chunks, rest) = data.as_chunks::<{ size_of::<$type>() }>();
            if !rest.is_empty() || chunks.len() != count {
                return Err(format!(
                    "{count} numbers are announced, but {} bytes follow",
                    data.len()
                ));
            }
            let read = |bytes: &[u8; size_of::<$type>()]| match swapped {
                true => <$type>::from_be_bytes(*bytes) as f64,
                false => <$type>::from_le_bytes(*bytes) as f64,
            };
            chunks.iter().map(read).collect()
        }};
    }
    Ok(match kind {
        1 => of!(i8),
        2 => of!(u8),
        3 => of!(i16),
        4 => of!(u16),
        5 => of!(i32),
        6 => of!(u32),
        7 => of!(f32),
        9 => of!(f64),
        12 => of!(i64),
        13 => of!(u64),
        _ => return Err(format!("numbers of the unknown type {kind}")),
    })
}

fn text(input: &mut Input<'_>, count: usize) -> Result<Value, Fault> {
    let (kind, data) = input.element()?;
    let wide = |four: &[u8]| input.u32(four);
    let text = match kind {
        // Bytes are ASCII where they were written as numbers.
        1 | 2 | 16 => String::from_utf8_lossy(data).into_owned(),
        4 | 17 if data.len() % 2 == 0 => {
            let unit = |two: &[u8]| match input.swapped {
                true => u16::from_be_bytes([two[0], two[1]]),
                false => u16::from_le_bytes([two[0], two[1]]),
            };
            let units: Vec<u16> = data.chunks(2).map(unit).collect();
            String::from_utf16_lossy(&units)
        }
        6 | 18 if data.len() % 4 == 0 => data
            .chunks(4)
            .map(|four| char::from_u32(wide(four)).unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect(),
        _ => return Err(format!("text of the unknown type {kind}")),
    };
    // UTF-8 counts characters, not bytes; nobody writes more characters than bytes.
    if data.len() < count {
        return Err(format!("{count} characters are announced, but {} bytes follow", data.len()));
    }
    Ok(Value::Text(text))
}

impl<'a> Input<'a> {
    /// Where the rest begins in the file.
    fn offset(&self, total: usize) -> usize {
        (total - self.bytes.len()).max(self.start)
    }

    fn u32(&self, four: &[u8]) -> u32 {
        let four = [four[0], four[1], four[2], four[3]];
        if self.swapped { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    }

    /// The type and the bytes of the next element; padding is passed over.
    fn element(&mut self) -> Result<(u32, &'a [u8]), Fault> {
        let tag = self.bytes.get(..8).ok_or("it ends within a tag")?;
        let first = self.u32(tag);
        // A small element holds its length and at most four bytes in the tag itself.
        if first >> 16 != 0 {
            let (length, kind) = ((first >> 16) as usize, first & 0xFFFF);
            if length > 4 {
                return Err(format!("a small element of {length} bytes"));
            }
            self.bytes = &self.bytes[8..];
            return Ok((kind, &tag[4..4 + length]));
        }
        let length = self.u32(&tag[4..]) as usize;
        let rest = &self.bytes[8..];
        let data = rest.get(..length).ok_or_else(|| {
            format!("{length} bytes are announced, but {} follow; it is truncated", rest.len())
        })?;
        // Compressed elements are not padded; a last one may lack its padding.
        let padded = if first == COMPRESSED { length } else { length.next_multiple_of(8) };
        self.bytes = &rest[padded.min(rest.len())..];
        Ok((first, data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn array(class: u32, dims: [u32; 2], name: &str, rest: &[Vec<u8>]) -> Vec<u8> {
        let mut data = element(6, &[class.to_le_bytes(), [0; 4]].concat());
        data.extend(element(5, &dims.map(u32::to_le_bytes).concat()));
        data.extend(element(1, name.as_bytes()));
        data.extend(rest.concat());
        element(14, &data)
    }

    fn file(elements: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = b"MATLAB 5.0 MAT-file".to_vec();
        bytes.resize(124, b' ');
        bytes.extend([0, 1, b'I', b'M']);
        bytes.extend(elements.concat());
        bytes
    }

    #[test]
    fn numbers_text_cells_and_structs() {
        // A small element: two bytes of type 2 in the tag itself.
        let small = vec![2, 0, 2, 0, 7, 9, 0, 0];
        let wide =
            element(17, &"Bär".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
        let word = array(4, [1, 3], "", &[wide]);
        let number = array(9, [1, 2], "", &[small]);
        let cells = array(1, [1, 2], "cells", &[word.clone(), number.clone()]);
        let names = element(1, b"fname\0\0\0class\0\0\0");
        let fields =
            [element(5, &8u32.to_le_bytes()), names, word.clone(), number.clone()].concat();
        let structs = array(2, [1, 1], "s", &[fields]);
        let values = parse(&file(&[cells, structs])).unwrap();
        let word = Value::Text("Bär".to_owned());
        let number = Value::Numbers { dims: vec![1, 2], values: vec![7.0, 9.0] };
        assert_eq!(values[0].0, "cells");
        let cells = vec![word.clone(), number.clone()];
        assert_eq!(values[0].1, Value::Cells { dims: vec![1, 2], cells });
        let fields = vec!["fname".to_owned(), "class".to_owned()];
        let records = vec![vec![word, number]];
        assert_eq!(values[1].1, Value::Structs { dims: vec![1, 1], fields, records });
        assert_eq!(values[1].1.describe(), "1 x 1 structs with the fields fname, class");
    }

    #[test]
    fn what_is_announced_must_be_there() {
        let number = array(6, [1, 1], "x", &[element(9, &1.5f64.to_le_bytes())]);
        let whole = file(&[number]);
        assert_eq!(parse(&whole).unwrap()[0].1.number(), Some(1.5));
        for end in HEADER + 1..whole.len() {
            assert!(parse(&whole[..end]).is_err(), "{end}");
        }
        let many = array(1, [1 << 30, 1 << 30], "x", &[]);
        assert!(parse(&file(&[many])).unwrap_err().contains("announced"));
        let mut deep = array(6, [0, 0], "", &[element(9, &[])]);
        for _ in 0..20 {
            deep = array(1, [1, 1], "", &[deep]);
        }
        assert!(parse(&file(&[deep])).unwrap_err().contains("deep"));
        assert!(parse(b"MATLAB 7.3 MAT-file").unwrap_err().contains("-v7"));
        assert!(parse(b"hello").unwrap_err().contains("byte 126"));
    }
}

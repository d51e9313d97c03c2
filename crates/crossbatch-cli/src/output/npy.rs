//! NumPy's format, version 1: a line of text, then the array.

use super::Table;

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";

/// The array starts here or at a multiple, so that it can be mapped into memory.
const ALIGNMENT: usize = 64;

/// The embeddings as `float32 [N, D]`.
pub(super) fn file(table: &Table<'_>) -> Vec<u8> {
    let shape = (table.rows.len() / table.dim.max(1), table.dim);
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape:?}, }}");
    let unpadded = MAGIC.len() + 2 + header.len() + 1;
    header.push_str(&" ".repeat(unpadded.next_multiple_of(ALIGNMENT) - unpadded));
    header.push('\n');
    let mut bytes = Vec::with_capacity(unpadded + ALIGNMENT + table.rows.len() * 4);
    bytes.extend(MAGIC);
    // Two numbers and a few words never fill 65,535 bytes.
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(table.bytes());
    bytes
}

/// The names, one a line in the order of the rows; a line break within a name becomes a space.
pub(super) fn names(table: &Table<'_>) -> String {
    let line = |name: &str| name.replace(['\n', '\r'], " ") + "\n";
    table.names().into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_what_numpy_writes() {
        let bytes = file(&Table { rows: &[1.0, -2.0, 0.5, 0.0, 3.0, 4.0], dim: 3, items: &[] });
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

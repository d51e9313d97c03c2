//! The few message kinds of ONNX, as protocol buffers.
//!
//! Field numbers are those of `onnx.proto3`. A message is written inside out: its fields are bytes already.

/// A protocol buffer message in the making.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// Field number and wire type: 0 a varint, 2 bytes with their length, 5 four bytes.
    fn tag(&mut self, field: u64, wire: u64) {
        self.varint(field << 3 | wire);
    }

    pub(crate) fn int(mut self, field: u64, value: i64) -> Self {
        self.tag(field, 0);
        // Negative numbers take ten bytes, as the format wants it.
        self.varint(value as u64);
        self
    }

    pub(crate) fn float(mut self, field: u64, value: f32) -> Self {
        self.tag(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.tag(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    pub(crate) fn text(self, field: u64, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    pub(crate) fn message(self, field: u64, value: &Self) -> Self {
        self.bytes(field, &value.0)
    }

    pub(crate) fn messages(self, field: u64, values: &[Self]) -> Self {
        values.iter().fold(self, |message, value| message.message(field, value))
    }
}

/// An attribute of a node.
#[derive(Debug, Clone)]
pub(crate) enum Attribute<'a> {
    Float(&'a str, f32),
    Int(&'a str, i64),
    Ints(&'a str, Vec<i64>),
}

impl Attribute<'_> {
    pub(crate) fn message(&self) -> Message {
        // `type` (field 20) is FLOAT 1, INT 2, INTS 7.
        match self {
            Self::Float(name, value) => {
                Message::default().text(1, name).float(2, *value).int(20, 1)
            }
            Self::Int(name, value) => Message::default().text(1, name).int(3, *value).int(20, 2),
            Self::Ints(name, values) => {
                let message = Message::default().text(1, name);
                values.iter().fold(message, |message, &value| message.int(8, value)).int(20, 7)
            }
        }
    }
}

/// A tensor with its values; `kind` is FLOAT 1 or INT64 7.
pub(crate) fn tensor(name: &str, shape: &[usize], kind: i64, bytes: &[u8]) -> Message {
    let dims = shape.iter().fold(Message::default(), |message, &size| message.int(1, size as i64));
    dims.int(2, kind).text(8, name).bytes(9, bytes)
}

/// An input or output of the graph: its first dimension, the number of images, is free.
pub(crate) fn value(name: &str, rest: &[usize]) -> Message {
    let batch = Message::default().text(2, "N");
    let dims = rest.iter().map(|&size| Message::default().int(1, size as i64));
    let dims: Vec<Message> = [batch].into_iter().chain(dims).collect();
    let shape = Message::default().messages(1, &dims);
    let tensor = Message::default().int(1, 1).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_format() {
        // Protocol Buffers, "Encoding": 150 in field 1, and "testing" in field 2.
        let message = Message::default().int(1, 150).text(2, "testing");
        assert_eq!(message.into_bytes(), b"\x08\x96\x01\x12\x07testing");
        let negative = Message::default().int(1, -1).into_bytes();
        assert_eq!(negative, [8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
        assert_eq!(Message::default().float(2, 1.0).into_bytes(), [0x15, 0, 0, 0x80, 0x3F]);
    }
}

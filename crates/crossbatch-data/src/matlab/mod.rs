//! MATLAB's MAT-files, version 5: what annotation files are made of.
//!
//! Read: numbers of every size, text, cells, structs and arrays of structs, compressed or not, of either
//! byte order. Not read: sparse matrices, objects and functions, which become [`Value::Other`], and
//! version 7.3, which is HDF5.
//!
//! A number keeps its value whatever type holds it: files store each in the smallest that fits, so that
//! the type changes from record to record.
//!
//! Source: "MAT-File Format", The MathWorks, chapter 1 (level 5).

mod reader;

pub(crate) use reader::parse;

/// An array. Elements are in MATLAB's order, the first dimension fastest.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Numbers; integers beyond 2^53 are rounded. Of complex ones the real part.
    Numbers { dims: Vec<usize>, values: Vec<f64> },
    /// Characters; of a matrix in MATLAB's order.
    Text(String),
    /// A cell array.
    Cells { dims: Vec<usize>, cells: Vec<Value> },
    /// Structs of the same fields; `records[i]` holds the values of one, in the order of `fields`.
    Structs { dims: Vec<usize>, fields: Vec<String>, records: Vec<Vec<Value>> },
    /// Something that is not read, by its name.
    Other(&'static str),
}

impl Value {
    /// The value of a 1 x 1 array of numbers.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Numbers { values, .. } if values.len() == 1 => Some(values[0]),
            _ => None,
        }
    }

    /// Text, as it is or in a cell of its own.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Cells { cells, .. } if cells.len() == 1 => cells[0].text(),
            _ => None,
        }
    }

    /// "1 x 196 cells", for messages.
    pub(crate) fn describe(&self) -> String {
        let shape =
            |dims: &[usize]| dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
        match self {
            Self::Numbers { dims, .. } => format!("{} numbers", shape(dims)),
            Self::Text(text) => format!("text of {} characters", text.chars().count()),
            Self::Cells { dims, .. } => format!("{} cells", shape(dims)),
            Self::Structs { dims, fields, .. } => {
                format!("{} structs with the fields {}", shape(dims), fields.join(", "))
            }
            Self::Other(name) => (*name).to_owned(),
        }
    }
}

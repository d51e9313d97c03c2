//! Embeddings with their labels, and gradients, as safetensors.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, anyhow, bail};
use burn::tensor::{DType, TensorData, bf16, f16};
use crossbatch::Interner;
use crossbatch_models::{Dtype, RawTensor, serialize};
use crossbatch_train::write_atomically;
use safetensors::{SafeTensors, tensor::TensorView};

use super::{Inputs, Labelled};

/// What a file must hold.
const EXPECTED: &str = "expected `embeddings` [N, D] (F32, F16, BF16 or F64) and `labels` [N] (any integers), or \
                        a run's checkpoint with a memory";

/// Reads anchors and bank, or only the bank and takes `batch` of its rows for anchors.
///
/// # Errors
///
/// If a file cannot be read, or does not hold what is expected; the message names it.
pub(crate) fn read(anchors: Option<&Path>, bank: &Path, batch: usize) -> anyhow::Result<Inputs> {
    let rows = Rows::read(bank)?;
    let (anchors, bank) = match anchors {
        Some(path) => {
            let anchors = Rows::read(path)?;
            if anchors.dim != rows.dim {
                bail!(
                    "the embeddings in {} have {} numbers, those in {} have {}; anchors and bank must be as wide",
                    path.display(),
                    anchors.dim,
                    bank.display(),
                    rows.dim
                );
            }
            (anchors, rows)
        }
        None if rows.labels.len() <= batch => bail!(
            "cannot take {batch} anchors out of the {} embeddings in {}; give a smaller --batch, or --anchors",
            rows.labels.len(),
            bank.display()
        ),
        None => rows.take_out(batch),
    };
    let mut interner = Interner::new();
    let mut labelled = |rows: Rows| Labelled {
        embeddings: TensorData::new(rows.values, [rows.labels.len(), rows.dim]),
        labels: interner.intern_all(rows.labels),
    };
    Ok(Inputs { anchors: labelled(anchors), bank: labelled(bank) })
}

/// Embeddings as f32, labels as they are in the file.
struct Rows {
    values: Vec<f32>,
    dim: usize,
    labels: Vec<i128>,
}

impl Rows {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let bytes = fs_err::read(path).with_context(|| format!("cannot read {name}"))?;
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|error| anyhow!("{name} is not a readable safetensors file: {error}"))?;
        let tensor = |short: &str| {
            // A run's checkpoint keeps the memory under `memory.`.
            let found = file.tensor(short).or_else(|_| file.tensor(&format!("memory.{short}")));
            found.map_err(|_| {
                let mut names = file.names();
                names.sort_unstable();
                let names = names.join(", ");
                anyhow!("{name} has no tensor `{short}`; {EXPECTED}; found: {names}")
            })
        };
        let (embeddings, labels) = (tensor("embeddings")?, tensor("labels")?);

        let &[rows, dim] = embeddings.shape() else {
            bail!("`embeddings` in {name} has the shape {:?}; {EXPECTED}", embeddings.shape());
        };
        if rows == 0 || dim == 0 {
            bail!("`embeddings` in {name} is empty ({rows} x {dim}); {EXPECTED}");
        }
        let (shape, dtype) = (labels.shape(), labels.dtype());
        if shape != [rows] {
            bail!(
                "`labels` in {name} has the shape {shape:?} beside {rows} embeddings; {EXPECTED}"
            );
        }
        let labels = integers(&labels)
            .ok_or_else(|| anyhow!("`labels` in {name} are {dtype}; {EXPECTED}"))?;
        let dtype = embeddings.dtype();
        let values = floats(&embeddings)
            .ok_or_else(|| anyhow!("`embeddings` in {name} are {dtype}; {EXPECTED}"))?;
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            bail!("row {} of `embeddings` in {name} is infinite or NaN", at / dim);
        }
        Ok(Self { values, dim, labels })
    }

    /// `batch` rows, spread evenly, and the others.
    fn take_out(self, batch: usize) -> (Self, Self) {
        let part = |rows: usize| Self {
            values: Vec::with_capacity(rows * self.dim),
            dim: self.dim,
            labels: Vec::with_capacity(rows),
        };
        let count = self.labels.len();
        let (mut taken, mut left) = (part(batch), part(count - batch));
        for (index, row) in self.values.chunks(self.dim).enumerate() {
            let next = taken.labels.len();
            let side =
                if next < batch && index == next * count / batch { &mut taken } else { &mut left };
            side.values.extend_from_slice(row);
            side.labels.push(self.labels[index]);
        }
        (taken, left)
    }
}

fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::F32 => bytemuck::pod_collect_to_vec(bytes),
        Dtype::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
        Dtype::BF16 => {
            bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect()
        }
        _ => return None,
    })
}

fn integers(view: &TensorView<'_>) -> Option<Vec<i128>> {
    let (width, signed) = match view.dtype() {
        Dtype::I8 => (1, true),
        Dtype::I16 => (2, true),
        Dtype::I32 => (4, true),
        Dtype::I64 => (8, true),
        Dtype::U8 => (1, false),
        Dtype::U16 => (2, false),
        Dtype::U32 => (4, false),
        Dtype::U64 => (8, false),
        _ => return None,
    };
    let number = |bytes: &[u8]| {
        let negative = signed && bytes[width - 1] >= 0x80;
        let mut wide = [if negative { 0xff } else { 0 }; 16];
        wide[..width].copy_from_slice(bytes);
        i128::from_le_bytes(wide)
    };
    Some(view.data().chunks_exact(width).map(number).collect())
}

/// Writes rows as they are stored, and their labels as `I64`.
///
/// # Errors
///
/// If the file cannot be written.
pub(crate) fn write_rows(path: &Path, rows: &Labelled) -> anyhow::Result<()> {
    let labels: Vec<i64> = rows.labels.iter().map(|&label| i64::from(label)).collect();
    let labels = RawTensor {
        name: "labels".to_owned(),
        dtype: Dtype::I64,
        shape: vec![labels.len()],
        bytes: bytemuck::cast_slice(&labels),
    };
    write(path, vec![raw("embeddings", &rows.embeddings), labels])
}

/// Writes one tensor.
///
/// # Errors
///
/// If the file cannot be written.
pub(crate) fn write_tensor(path: &Path, name: &str, data: &TensorData) -> anyhow::Result<()> {
    write(path, vec![raw(name, data)])
}

fn raw<'a>(name: &str, data: &'a TensorData) -> RawTensor<'a> {
    RawTensor {
        name: name.to_owned(),
        dtype: match data.dtype() {
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            DType::F32 => Dtype::F32,
            other => unreachable!("nothing here is stored as {other:?}"),
        },
        shape: data.shape().to_vec(),
        bytes: data.bytes(),
    }
}

fn write(path: &Path, tensors: Vec<RawTensor<'_>>) -> anyhow::Result<()> {
    Ok(write_atomically(path, &serialize(tensors, HashMap::new())?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_taken_out_are_spread_and_nothing_is_lost() {
        let rows = Rows {
            values: (0..20).map(|value| value as f32).collect(),
            dim: 2,
            labels: (0..10).collect(),
        };
        let (taken, left) = rows.take_out(4);
        assert_eq!(taken.labels, [0, 2, 5, 7]);
        assert_eq!(left.labels, [1, 3, 4, 6, 8, 9]);
        assert_eq!(taken.values, [0.0, 1.0, 4.0, 5.0, 10.0, 11.0, 14.0, 15.0]);
        assert_eq!(left.values.len(), 12);
    }

    #[test]
    fn every_integer_type_keeps_its_values() {
        let read = |dtype, bytes: &[u8], count| {
            integers(&TensorView::new(dtype, vec![count], bytes).unwrap())
        };
        assert_eq!(read(Dtype::I8, &[0xff, 5], 2).unwrap(), [-1, 5]);
        assert_eq!(read(Dtype::U8, &[0xff, 5], 2).unwrap(), [255, 5]);
        assert_eq!(read(Dtype::I16, &(-300i16).to_le_bytes(), 1).unwrap(), [-300]);
        assert_eq!(read(Dtype::I32, &i32::MIN.to_le_bytes(), 1).unwrap(), [i128::from(i32::MIN)]);
        assert_eq!(read(Dtype::I64, &(-7i64).to_le_bytes(), 1).unwrap(), [-7]);
        assert_eq!(read(Dtype::U64, &u64::MAX.to_le_bytes(), 1).unwrap(), [i128::from(u64::MAX)]);
        assert_eq!(read(Dtype::F32, &1f32.to_le_bytes(), 1), None);
    }

    #[test]
    fn every_float_type_becomes_f32() {
        let read = |dtype, bytes: &[u8]| floats(&TensorView::new(dtype, vec![1], bytes).unwrap());
        assert_eq!(read(Dtype::F64, &0.5f64.to_le_bytes()).unwrap(), [0.5]);
        assert_eq!(read(Dtype::F32, &0.5f32.to_le_bytes()).unwrap(), [0.5]);
        assert_eq!(read(Dtype::F16, &f16::from_f32(0.5).to_le_bytes()).unwrap(), [0.5]);
        assert_eq!(read(Dtype::BF16, &bf16::from_f32(0.5).to_le_bytes()).unwrap(), [0.5]);
        assert_eq!(read(Dtype::I64, &1i64.to_le_bytes()), None);
    }
}

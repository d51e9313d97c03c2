//! The CPU kernel: `crossbatch_math::pair_rows` on the tensors' own memory.

use super::program::FIELDS;
use super::{PairRowsOps, PairRowsOptions, reference};
use crate::flex::{all_f32, ordered, tensor, values};
use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::DType;
use crossbatch_math::pair_rows::{self, Bank, Problem, Rows};
use half::{bf16, f16};
use std::borrow::Cow;

/// The tensors of the operation, in order.
struct Inputs {
    anchors: FlexTensor,
    references: FlexTensor,
    thresholds: FlexTensor,
    codes: FlexTensor,
    labels: FlexTensor,
    ids: FlexTensor,
    weights: FlexTensor,
    options: PairRowsOptions,
}

impl Inputs {
    fn with<R>(&self, body: impl FnOnce(&Problem<'_>) -> R) -> R {
        let (codes, labels, ids) =
            (integers(&self.codes), integers(&self.labels), integers(&self.ids));
        body(&Problem {
            program: self.options.program,
            dim: self.anchors.layout().shape()[1],
            anchors: values(&self.anchors),
            codes: &codes,
            thresholds: values(&self.thresholds),
            references: bank(&self.references).expect("the type was looked at"),
            labels: &labels,
            ids: &ids,
            weights: self.options.weighted.then(|| values(&self.weights)),
            filled: self.options.filled,
            drop_same_image: self.options.drop_same_image,
            screen: self.options.screen.as_deref(),
        })
    }
}

/// The rows as they are stored, where the kernel reads that type.
fn bank(tensor: &FlexTensor) -> Option<Bank<'_>> {
    Some(match tensor.dtype() {
        DType::F32 => Bank::F32(tensor.as_slice::<f32>()?),
        DType::F16 => Bank::F16(tensor.as_slice::<f16>()?),
        DType::BF16 => Bank::Bf16(tensor.as_slice::<bf16>()?),
        _ => return None,
    })
}

/// The rows in order; nothing is copied where they are.
fn rows_in_order(tensor: FlexTensor) -> FlexTensor {
    if bank(&tensor).is_some() { tensor } else { tensor.to_contiguous() }
}

/// Whole numbers as i32; nothing is copied where they are.
fn integers(tensor: &FlexTensor) -> Cow<'_, [i32]> {
    if let Some(values) = tensor.as_slice::<i32>() {
        return Cow::Borrowed(values);
    }
    let narrow = |value: i64| i32::try_from(value).expect("labels, ids and slots fit 31 bits");
    let tensor = tensor.to_contiguous();
    if let Some(values) = tensor.as_slice::<i32>() {
        return Cow::Owned(values.to_vec());
    }
    let values = tensor.as_slice::<i64>().expect("whole numbers are i32 or i64");
    Cow::Owned(values.iter().map(|value| narrow(*value)).collect())
}

impl PairRowsOps for Flex {
    fn pair_rows_forward(
        anchors: FloatTensor<Self>,
        references: FloatTensor<Self>,
        thresholds: FloatTensor<Self>,
        codes: IntTensor<Self>,
        labels: IntTensor<Self>,
        ids: IntTensor<Self>,
        weights: FloatTensor<Self>,
        options: PairRowsOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let readable = matches!(references.dtype(), DType::F32 | DType::F16 | DType::BF16);
        if !readable || !all_f32(&[&anchors, &thresholds, &weights]) {
            return reference::forward::<Self>(
                anchors, references, thresholds, codes, labels, ids, weights, options,
            );
        }
        let inputs = Inputs {
            anchors: ordered(anchors),
            references: rows_in_order(references),
            thresholds: ordered(thresholds),
            codes,
            labels,
            ids,
            weights: ordered(weights),
            options,
        };
        let rows = inputs.with(pair_rows::forward);
        let [batch, dim] = inputs.anchors.layout().shape().dims::<2>();
        (
            tensor(rows.values, [batch, 2]),
            tensor(rows.fields, [batch, FIELDS]),
            tensor(rows.positive, [batch, dim]),
            tensor(rows.negative, [batch, dim]),
        )
    }

    fn pair_rows_reference_gradient(
        upstream: FloatTensor<Self>,
        anchors: FloatTensor<Self>,
        references: FloatTensor<Self>,
        thresholds: FloatTensor<Self>,
        codes: IntTensor<Self>,
        labels: IntTensor<Self>,
        ids: IntTensor<Self>,
        weights: FloatTensor<Self>,
        row_values: FloatTensor<Self>,
        fields: FloatTensor<Self>,
        options: PairRowsOptions,
    ) -> FloatTensor<Self> {
        if !all_f32(&[&upstream, &anchors, &references, &thresholds, &weights]) {
            return reference::reference_gradient::<Self>(
                upstream, anchors, references, thresholds, codes, labels, ids, weights, row_values,
                fields, options,
            );
        }
        let inputs = Inputs {
            anchors: ordered(anchors),
            references: rows_in_order(references),
            thresholds: ordered(thresholds),
            codes,
            labels,
            ids,
            weights: ordered(weights),
            options,
        };
        let (upstream, row_values, fields) =
            (ordered(upstream), ordered(row_values), ordered(fields));
        let rows = Rows {
            values: values(&row_values).to_vec(),
            fields: values(&fields).to_vec(),
            positive: Vec::new(),
            negative: Vec::new(),
        };
        let mut gradient =
            inputs.with(|problem| pair_rows::reference_gradient(problem, values(&upstream), &rows));
        let [capacity, dim] = inputs.references.layout().shape().dims::<2>();
        gradient.resize(capacity * dim, 0.0);
        tensor(gradient, [capacity, dim])
    }
}

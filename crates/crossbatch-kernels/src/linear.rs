//! The affine map of rows.

use burn::tensor::Tensor;

/// `input · weightᵀ + bias`; input `[.., in]`, weight `[out, in]` as in PyTorch, bias `[out]`, output `[.., out]`.
///
/// # Panics
///
/// If the input's last size is not the weight's, or the bias's length not the output's.
#[must_use]
pub fn linear<const D: usize>(
    input: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let mut shape = input.dims();
    let [outputs, inputs] = weight.dims();
    assert_eq!(shape[D - 1], inputs, "input has {} columns, weight {inputs}", shape[D - 1]);
    let rows = shape[..D - 1].iter().product();
    shape[D - 1] = outputs;
    let output = input.reshape([rows, inputs]).matmul(weight.transpose());
    let output = match bias {
        Some(bias) => {
            let [length] = bias.dims();
            assert_eq!(length, outputs, "bias has {length} elements for {outputs} outputs");
            output + bias.reshape([1, outputs])
        }
        None => output,
    };
    output.reshape(shape)
}

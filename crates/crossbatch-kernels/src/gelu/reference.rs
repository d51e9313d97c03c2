//! The Gaussian error linear unit in ordinary operations.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use std::f64::consts::{PI, SQRT_2};

/// `Φ(x) = (1 + erf(x / √2)) / 2`.
fn below<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let erf = B::float_erf(B::float_div_scalar(x, SQRT_2.into()));
    B::float_mul_scalar(B::float_add_scalar(erf, 1.0.into()), 0.5.into())
}

pub(super) fn forward<B: Backend>(input: FloatTensor<B>) -> FloatTensor<B> {
    B::float_mul(input.clone(), below::<B>(input))
}

/// `g · (Φ(x) + x · φ(x))`, `φ` being the density.
pub(super) fn gradient<B: Backend>(
    gradient: FloatTensor<B>,
    input: FloatTensor<B>,
) -> FloatTensor<B> {
    let square = B::float_mul(input.clone(), input.clone());
    let bell = B::float_exp(B::float_mul_scalar(square, (-0.5).into()));
    let density = B::float_mul_scalar(bell, (1.0 / (2.0 * PI).sqrt()).into());
    let slope = B::float_add(below::<B>(input.clone()), B::float_mul(input, density));
    B::float_mul(gradient, slope)
}

//! The little linear algebra that health and principal components need, in f64.

mod eigen;
mod moments;

pub(crate) use eigen::{Eigen, eigenvalues, symmetric};
pub(crate) use moments::Moments;

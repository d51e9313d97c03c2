//! What stands for the reading of Parquet files where the feature `parquet` is off.

use std::path::Path;

use super::{Embeddings, FileError, Labels, error::Place};

pub(super) fn read(path: &Path) -> Result<Embeddings, FileError> {
    Err(left_out(path))
}

pub(super) fn read_labels(path: &Path) -> Result<Labels, FileError> {
    Err(left_out(path))
}

fn left_out(path: &Path) -> FileError {
    Place::file(path).error(
        "this build reads no Parquet",
        "build it with `--features parquet`, or save the vectors as .safetensors, .npz or .npy",
    )
}

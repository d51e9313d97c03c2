//! `pair_rows` and its reference body against plain loops in f64.

mod cases;
mod edges;
mod host;
mod in_batch;
mod judge;
mod large;
mod sweep;

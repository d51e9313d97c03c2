//! `pair_rows` and its reference body against plain loops in f64.

mod cases;
mod host;
mod judge;
mod sweep;

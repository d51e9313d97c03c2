//! Integration tests of the crate: whole data sets on disk, and properties of the plans.

mod archives;
mod data_folder;
mod decoding;
mod folder;
mod formats;
mod glyphs;
mod lists;
mod loader;
mod malformed;
mod mutations;
mod omniglot;
mod real_data;
mod resize;
mod sampler;
mod spoilt;
mod support;
mod transforms;

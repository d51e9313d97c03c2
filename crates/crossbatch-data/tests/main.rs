//! Integration tests of the crate: whole data sets on disk, and properties of the plans.

mod data_folder;
mod decoding;
mod folder;
mod glyphs;
mod lists;
mod loader;
mod omniglot;
mod real_data;
mod resize;
mod sampler;
mod support;
mod transforms;

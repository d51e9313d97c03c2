//! Everything that is checked through the public interface.

mod definitions;
mod embeddings;
mod golden;
mod measures;
mod metrics;
mod naive;
#[cfg(feature = "parquet")]
mod parquet;
mod search;
mod threads;

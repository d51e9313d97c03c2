//! Everything that is checked through the public interface.

mod embeddings;
mod golden;
mod metrics;
mod naive;
mod search;
mod threads;

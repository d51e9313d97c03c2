//! Everything that is checked through the public interface.

mod definitions;
mod embeddings;
mod golden;
mod measures;
mod metrics;
mod naive;
mod search;
mod threads;

//! Everything that is checked through the public interface.

mod definitions;
mod golden;
mod measures;
mod metrics;
mod naive;
mod search;
mod threads;

//! Same or not the same: how well a threshold on the similarity of two items tells.
//!
//! Every pair of a set, or every pair of a query and a gallery item, is positive (same label) or negative. A threshold
//! takes a pair for positive if its similarity reaches it. FMR, the false match rate, is the share of negative pairs that
//! reach the threshold; FNMR, the false non-match rate, is the share of positive pairs that do not (ISO/IEC 19795-1).

mod curve;
mod pairs;

pub use curve::{OperatingPoint, VerificationCurve};
pub use pairs::{VerificationConfig, verify, verify_related, verify_within};

//! Who searches what: the protocols of the field's data sets, as rows that are queries, rows that are gallery, and a rule.
//!
//! | data set | protocol |
//! |---|---|
//! | SOP, CUB, Cars196, Omniglot | [`held_out_classes`]: every test row searches all other test rows |
//! | In-Shop Clothes | [`query_gallery`]: query rows search gallery rows |
//! | VehicleID, metric-learning papers | [`vehicle_id`] with [`VehicleIdCount::OneSet`] |
//! | VehicleID, re-identification | [`vehicle_id`] with [`VehicleIdCount::OneGalleryRow`]: averaged over draws |
//!
//! ```
//! use crossbatch_retrieval::{MetricsConfig, Options, Similarity, Vectors};
//! use crossbatch_retrieval::protocol::{evaluate_trials, one_gallery_row};
//!
//! let rows = Vectors::new(vec![0.0, 0.2, 5.0, 5.3, 5.1], 1, Similarity::Euclidean)?;
//! let labels = [7, 7, 9, 9, 9];
//! let trials = one_gallery_row(&labels, 10, 0); // ten draws of a gallery of two rows
//! let found = evaluate_trials(&rows, &labels, &trials, &MetricsConfig::default(), &Options::default())?;
//! assert_eq!(found.mean.recall(1), Some(1.0));
//! assert_eq!(found.each.len(), 10);
//! # Ok::<(), crossbatch_retrieval::Error>(())
//! ```

mod evaluate;
mod split;
mod vehicle_id;

pub use evaluate::{TrialMetrics, evaluate_trials};
pub use split::{Role, Trial, held_out_classes, leave_one_out, query_gallery};
pub use vehicle_id::{VehicleIdCount, VehicleIdSet, one_gallery_row, vehicle_id};

//! Which data set, and how it is split.

use std::path::PathBuf;

use crate::dataset::Kind;
use crate::error::Error;
use crate::glyphs::GlyphsConfig;

/// Which data set to [`open`](crate::open).
#[derive(Debug, Clone, PartialEq)]
pub struct DataConfig {
    /// Folder or list; none means the built-in glyphs.
    pub path: Option<PathBuf>,
    /// Forces a kind; none means to look.
    pub kind: Option<Kind>,
    /// A list of training images, together with `test_list`.
    pub train_list: Option<PathBuf>,
    /// A list of test images, together with `train_list`.
    pub test_list: Option<PathBuf>,
    /// Fraction of the classes to test on, where the data set has no split of its own. At 0 all train,
    /// at 1 all test.
    pub test_fraction: f64,
    /// Fraction of the training classes to hold out for validation.
    pub validation: f64,
    /// Decides which classes go where.
    pub split_seed: u64,
    /// Size and difficulty of the glyphs.
    pub glyphs: GlyphsConfig,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            path: None,
            kind: None,
            train_list: None,
            test_list: None,
            test_fraction: 0.5,
            validation: 0.0,
            split_seed: 0,
            glyphs: GlyphsConfig::default(),
        }
    }
}

impl DataConfig {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !(0.0..=1.0).contains(&self.test_fraction) {
            let expected = "a fraction from 0 (train on all) to 1 (test on all)".to_owned();
            return Err(Error::Setting {
                key: "data.test-fraction",
                value: self.test_fraction.to_string(),
                expected,
            });
        }
        if !(0.0..1.0).contains(&self.validation) {
            let expected = "a fraction of the training classes, at least 0 and below 1".to_owned();
            return Err(Error::Setting {
                key: "data.validation",
                value: self.validation.to_string(),
                expected,
            });
        }
        Ok(())
    }
}

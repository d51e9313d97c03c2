//! Which data set, and how it is split.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::dataset::{Kind, Protocol, Subset};
use crate::error::Error;
use crate::glyphs::GlyphsConfig;

/// Which data set to [`open`](crate::open).
#[derive(Debug, Clone, PartialEq)]
pub struct DataConfig {
    /// Folder, list or archive; none means the built-in glyphs.
    pub path: Option<PathBuf>,
    /// Forces a kind; none means to look.
    pub kind: Option<Kind>,
    /// A list of training images, together with `test_list`.
    pub train_list: Option<PathBuf>,
    /// A list of test images, together with `train_list`.
    pub test_list: Option<PathBuf>,
    /// The columns of lists, where they are not `path,label`.
    pub columns: Columns,
    /// Fraction of the classes to test on, where the data set has no split of its own. At 0 all train,
    /// at 1 all test.
    pub test_fraction: f64,
    /// Fraction of the training classes to hold out for validation.
    pub validation: f64,
    /// Parts into which the training classes are cut for class-disjoint cross-validation; 0 for none.
    pub folds: usize,
    /// The part that validates, from 0.
    pub fold: usize,
    /// Decides which classes go where.
    pub split_seed: u64,
    /// Who searches whom among the test images; none means what the data set's papers do.
    pub protocol: Option<Protocol>,
    /// Which test list of VehicleID.
    pub subset: Subset,
    /// Whether Omniglot's training characters turned by 90, 180 and 270 degrees are further classes.
    pub rotations: bool,
    /// What the data set must hold.
    pub expected: Expected,
    /// Whether images are looked for. Without, a data set opens from its lists alone, and its images
    /// are missed when they are read.
    pub images: bool,
    /// Size and difficulty of the glyphs.
    pub glyphs: GlyphsConfig,
}

/// Names (of a list with a line of column names) or numbers from 1 of a list's columns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Columns {
    /// Paths of images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// `train`, `validation`, `test`, `query` or `gallery`; then one list holds every split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Further columns to carry along, such as a camera or a category.
    pub groups: Vec<String>,
}

impl Columns {
    /// Whether none is named: lists are `path,label`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a data set must hold in all, every split together. What is not given is not checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Expected {
    /// Classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// Images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<usize>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            path: None,
            kind: None,
            train_list: None,
            test_list: None,
            columns: Columns::default(),
            test_fraction: 0.5,
            validation: 0.0,
            folds: 0,
            fold: 0,
            split_seed: 0,
            protocol: None,
            subset: Subset::Small,
            rotations: false,
            expected: Expected::default(),
            images: true,
            glyphs: GlyphsConfig::default(),
        }
    }
}

impl DataConfig {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |key, value: String, expected: &str| {
            Err(Error::Setting { key, value, expected: expected.to_owned() })
        };
        if !(0.0..=1.0).contains(&self.test_fraction) {
            let expected = "a fraction from 0 (train on all) to 1 (test on all)";
            return wrong("data.test-fraction", self.test_fraction.to_string(), expected);
        }
        if !(0.0..1.0).contains(&self.validation) {
            let expected = "a fraction of the training classes, at least 0 and below 1";
            return wrong("data.validation", self.validation.to_string(), expected);
        }
        if self.folds == 1 {
            return wrong("data.folds", "1".to_owned(), "0 (none) or at least 2");
        }
        if self.fold > 0 && self.fold >= self.folds {
            let expected = format!("a number below `data.folds = {}`", self.folds);
            return wrong("data.fold", self.fold.to_string(), &expected);
        }
        if self.folds > 0 && self.validation > 0.0 {
            let expected = "0 where `data.folds` says which classes validate";
            return wrong("data.validation", self.validation.to_string(), expected);
        }
        if self.columns.path.is_some() != self.columns.label.is_some() {
            let expected = "both `data.columns.path` and `data.columns.label`, or neither";
            return wrong("data.columns", format!("{:?}", self.columns), expected);
        }
        if self.columns.path.is_none() && !self.columns.is_empty() {
            let expected = "`data.columns.path` and `data.columns.label` besides";
            return wrong("data.columns", format!("{:?}", self.columns), expected);
        }
        Ok(())
    }
}

//! The words that a user types.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The part that a class plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Trained on.
    Train,
    /// Held out of the training classes; chooses what is best.
    Validation,
    /// Judges, and never chooses anything.
    Test,
}

impl Split {
    /// All of them, in the order of a run.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    pub(crate) fn adjective(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// What an image does in a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Searches, and is searched by the others.
    Both,
    /// Searches the gallery.
    Query,
    /// Is searched.
    Gallery,
}

/// Who searches whom among the test images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Every image searches all others.
    All,
    /// Query images search the gallery images, as the data set's list says.
    QueryGallery,
    /// One random image of each class makes the gallery and the others search it: the mean of ten draws.
    OneGallery,
}

/// The test lists of VehicleID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subset {
    /// 800 vehicles.
    Small,
    /// 1,600 vehicles.
    Medium,
    /// 2,400 vehicles.
    Large,
}

/// The kinds of data set. `docs/data.md` says of each what must lie on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Drawn on demand, see [`GlyphsConfig`](crate::GlyphsConfig).
    Glyphs,
    /// The handwritten characters of Lake, Salakhutdinov and Tenenbaum (2015).
    Omniglot,
    /// Stanford Online Products, Song et al. (2016).
    Sop,
    /// DeepFashion In-shop Clothes Retrieval, Liu et al. (2016).
    InShop,
    /// PKU VehicleID, Liu et al. (2016).
    VehicleId,
    /// CUB-200-2011, Wah et al. (2011).
    Cub,
    /// Stanford Cars, Krause et al. (2013).
    Cars196,
    /// iNaturalist 2018 with the class-disjoint lists of Brown et al. (2020).
    INaturalist,
    /// One or two lists of `path,label`.
    List,
    /// One folder of images a class.
    Folder,
}

impl Kind {
    /// All of them, in the order in which a path is recognised.
    pub const ALL: [Self; 10] = [
        Self::Glyphs,
        Self::Omniglot,
        Self::Sop,
        Self::InShop,
        Self::VehicleId,
        Self::Cub,
        Self::Cars196,
        Self::INaturalist,
        Self::List,
        Self::Folder,
    ];

    /// Whether its pictures are dark ink on white paper, to be inverted for a network.
    #[must_use]
    pub fn ink_on_paper(self) -> bool {
        matches!(self, Self::Glyphs | Self::Omniglot)
    }

    /// What lies at the path of one, in a few words.
    #[must_use]
    pub fn layout(self) -> &'static str {
        match self {
            Self::Glyphs => "built in: characters drawn by a stroke generator; no path",
            Self::Omniglot => {
                "a folder with images_background and images_evaluation, zips or folders"
            }
            Self::Sop => "Ebay_train.txt and Ebay_test.txt beside the images or a zip of them",
            Self::InShop => "list_eval_partition.txt (or Eval/…) beside img/",
            Self::VehicleId => "train_list.txt and test_list_800.txt … beside image/",
            Self::Cub => {
                "images.txt, image_class_labels.txt … beside images/, or an archive of all"
            }
            Self::Cars196 => "cars_annos.mat beside car_ims/, or the devkit beside cars_train/",
            Self::INaturalist => {
                "Inaturalist_train_set1.txt and …_test_set1.txt beside train_val2018/"
            }
            Self::List => {
                "lines `path,label` (txt, csv, tsv), or a folder with train.txt and test.txt"
            }
            Self::Folder => "a folder with one sub-folder of images per class",
        }
    }
}

macro_rules! words {
    ($type:ident, $key:literal, $($variant:ident = $word:literal),+) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $word),+ })
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(word: &str) -> Result<Self, Error> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(Error::Setting {
                        key: $key,
                        value: format!("{word:?}"),
                        expected: [$(concat!("\"", $word, "\"")),+].join(", "),
                    }),
                }
            }
        }
    };
}
pub(crate) use words;

words!(Split, "split", Train = "train", Validation = "validation", Test = "test");
words!(
    Kind,
    "data.kind",
    Glyphs = "glyphs",
    Omniglot = "omniglot",
    Sop = "sop",
    InShop = "inshop",
    VehicleId = "vehicleid",
    Cub = "cub",
    Cars196 = "cars196",
    INaturalist = "inaturalist",
    List = "list",
    Folder = "folder"
);
words!(Role, "role", Both = "both", Query = "query", Gallery = "gallery");
words!(
    Protocol,
    "data.protocol",
    All = "all",
    QueryGallery = "query-gallery",
    OneGallery = "one-gallery"
);
words!(Subset, "data.subset", Small = "small", Medium = "medium", Large = "large");

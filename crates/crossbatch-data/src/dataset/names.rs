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

/// The kinds of data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Drawn on demand, see [`GlyphsConfig`](crate::GlyphsConfig).
    Glyphs,
    /// The handwritten characters of Lake, Salakhutdinov and Tenenbaum (2015).
    Omniglot,
    /// One or two lists of `path,label`.
    List,
    /// One folder of images a class.
    Folder,
}

impl Kind {
    /// Whether its pictures are dark ink on white paper, to be inverted for a network.
    #[must_use]
    pub fn ink_on_paper(self) -> bool {
        matches!(self, Self::Glyphs | Self::Omniglot)
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
    List = "list",
    Folder = "folder"
);

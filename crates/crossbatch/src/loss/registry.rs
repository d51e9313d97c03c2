//! The losses by name.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::PairLoss;

/// Registers each loss once: variant, type, and the file of its page.
macro_rules! losses {
    ($($variant:ident, $name:literal, $loss:ty, $page:literal $(, alias $alias:literal)?;)+) => {
        /// Which loss.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum LossKind {
            $(
                #[doc = concat!("See [`", stringify!($loss), "`].")]
                #[serde(rename = $name $(, alias = $alias)?)]
                $variant,
            )+
        }

        impl LossKind {
            /// Every loss.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name in recipes.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Another name that recipes may use.
            pub fn alias(self) -> Option<&'static str> {
                match self {
                    $(Self::$variant => None::<&'static str>$(.or(Some($alias)))?,)+
                }
            }

            /// Its page: equation, shapes, defaults, what to know with a memory, example, references; Markdown.
            pub fn page(self) -> &'static str {
                match self {
                    $(Self::$variant => include_str!($page),)+
                }
            }

            /// The loss with its default options.
            pub fn config(self) -> LossConfig {
                match self {
                    $(Self::$variant => LossConfig::$variant(Default::default()),)+
                }
            }
        }

        /// A loss with its options: a table with `kind` and, beside it, that loss's own keys.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        pub enum LossConfig {
            $(
                #[doc = concat!("See [`", stringify!($loss), "`].")]
                #[serde(rename = $name $(, alias = $alias)?)]
                $variant($loss),
            )+
        }

        impl LossConfig {
            /// Which loss it is.
            pub fn kind(&self) -> LossKind {
                match self {
                    $(Self::$variant(_) => LossKind::$variant,)+
                }
            }

            /// The loss.
            pub fn loss(&self) -> &dyn PairLoss {
                match self {
                    $(Self::$variant(loss) => loss,)+
                }
            }

            /// The loss, shared.
            pub fn build(&self) -> Arc<dyn PairLoss> {
                match self {
                    $(Self::$variant(loss) => Arc::new(*loss),)+
                }
            }
        }
    };
}

losses! {
    Contrastive, "contrastive", super::ContrastiveLoss, "contrastive.md";
    MultiSimilarity, "multi-similarity", super::MultiSimilarityLoss, "multi_similarity.md";
    NtXent, "nt-xent", super::NtXentLoss, "nt_xent.md", alias "infonce";
    Triplet, "triplet", super::TripletLoss, "triplet.md";
}

impl LossKind {
    /// The loss of a name or alias.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name || kind.alias() == Some(name))
    }

    /// What it does, in one sentence: the first line of its page.
    pub fn summary(self) -> &'static str {
        self.page().lines().next().unwrap_or_default()
    }
}

impl std::fmt::Display for LossKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Default for LossConfig {
    fn default() -> Self {
        Self::Contrastive(Default::default())
    }
}

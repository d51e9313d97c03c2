//! Losses and miners by name.

/// Declares, for a family of types that serde reads from a table of options, the enumeration of their kinds, and the
/// one of the types themselves with the kind as tag. Each entry names variant, name, type and page.
macro_rules! registry {
    (
        $(#[$kind_doc:meta])* kind $kind:ident;
        $(#[$config_doc:meta])* config $config:ident;
        $(#[$get_doc:meta])* get $get:ident -> $trait:ident;
        $($variant:ident, $name:literal, $type:ty, $page:literal $(, alias $alias:literal)?;)+
    ) => {
        $(#[$kind_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $kind {
            $(
                #[doc = concat!("See [`", stringify!($type), "`].")]
                #[serde(rename = $name $(, alias = $alias)?)]
                $variant,
            )+
        }

        impl $kind {
            /// Every one.
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

            /// The one of a name or alias.
            pub fn from_name(name: &str) -> Option<Self> {
                let named = |kind: &Self| kind.name() == name || kind.alias() == Some(name);
                Self::ALL.iter().copied().find(named)
            }

            /// What it does, in one sentence: the first line of its page.
            pub fn summary(self) -> &'static str {
                self.page().lines().next().unwrap_or_default()
            }

            /// Its page, as Markdown: what it computes, shapes, defaults, what to know with a memory, an example,
            /// references.
            pub fn page(self) -> &'static str {
                match self {
                    $(Self::$variant => include_str!($page),)+
                }
            }

            /// It with its default options.
            pub fn config(self) -> $config {
                match self {
                    $(Self::$variant => $config::$variant(Default::default()),)+
                }
            }
        }

        impl std::fmt::Display for $kind {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.name())
            }
        }

        $(#[$config_doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "kind")]
        pub enum $config {
            $(
                #[doc = concat!("See [`", stringify!($type), "`].")]
                #[serde(rename = $name $(, alias = $alias)?)]
                $variant($type),
            )+
        }

        impl $config {
            /// Which one it is.
            pub fn kind(&self) -> $kind {
                match self {
                    $(Self::$variant(_) => $kind::$variant,)+
                }
            }

            $(#[$get_doc])*
            pub fn $get(&self) -> &dyn $trait {
                match self {
                    $(Self::$variant(inner) => inner,)+
                }
            }

            /// The same, to be shared.
            pub fn build(&self) -> std::sync::Arc<dyn $trait> {
                match self {
                    $(Self::$variant(inner) => std::sync::Arc::new(*inner),)+
                }
            }
        }
    };
}

pub(crate) use registry;

//! A term of the objective as a table of settings.

use std::collections::BTreeMap;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        Error, IntoDeserializer, Visitor,
        value::{MapDeserializer, StringDeserializer},
    },
};

use crate::{
    loss::{LossConfig, LossKind},
    miner::MinerConfig,
    pair_loss::{PairTerm, TermError},
    reduction::Reduction,
};

/// A [`PairTerm`] as a table: `kind` names the loss, whose own options stand beside it, and may be left out for the
/// contrastive loss. Keys that the loss does not have are refused.
///
/// # Example
///
/// ```
/// use crossbatch::{Reduction, TermConfig};
///
/// let term: TermConfig = toml::from_str(r#"
///     kind = "multi-similarity"
///     beta = 50
///     reduction = "pair-mean"
///
///     [miner]
///     kind = "age-window"
///     steps = 500
/// "#).unwrap();
/// assert_eq!(term.reduction, Reduction::PairMean);
/// assert_eq!(term.build().unwrap().loss.name(), "multi-similarity");
///
/// let error = toml::from_str::<TermConfig>("margin = 0.5\nbeta = 50").unwrap_err();
/// assert!(error.to_string().contains("unknown field `beta`"));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TermConfig {
    /// The loss. Default contrastive, as released.
    #[serde(flatten)]
    pub loss: LossConfig,
    /// How its terms become one number. Default `sum` (the paper's).
    pub reduction: Reduction,
    /// Factor of the reduced loss. Default 1.
    pub weight: f32,
    /// What pairs are mined by. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub miner: Option<MinerConfig>,
}

impl Default for TermConfig {
    fn default() -> Self {
        Self {
            loss: LossConfig::default(),
            reduction: Reduction::Sum,
            weight: 1.0,
            miner: None,
        }
    }
}

impl TermConfig {
    /// The term.
    ///
    /// # Errors
    ///
    /// If an option is out of its range, or the miner does not go with the loss.
    pub fn build(&self) -> Result<PairTerm, TermError> {
        let term = PairTerm {
            loss: self.loss.build(),
            miners: self.miner.iter().map(MinerConfig::build).collect(),
            reduction: self.reduction,
            weight: self.weight,
        };
        term.check()?;
        Ok(term)
    }
}

impl<'de> Deserialize<'de> for TermConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The term's own keys; what is left is the loss's.
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Table {
            #[serde(default)]
            kind: LossKind,
            #[serde(default)]
            reduction: Reduction,
            #[serde(default = "one")]
            weight: f32,
            miner: Option<MinerConfig>,
            #[serde(flatten)]
            options: BTreeMap<String, OptionValue>,
        }

        fn one() -> f32 {
            1.0
        }

        let Table { kind, reduction, weight, miner, mut options } =
            Table::deserialize(deserializer)?;
        options.insert("kind".to_owned(), OptionValue::Text(kind.name().to_owned()));
        let loss = LossConfig::deserialize(MapDeserializer::new(options.into_iter()))?;
        Ok(Self { loss, reduction, weight, miner })
    }
}

/// The value of an option, whatever its loss.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
enum OptionValue {
    Switch(bool),
    Whole(i64),
    Number(f64),
    Text(String),
}

impl<'de, E: Error> IntoDeserializer<'de, E> for OptionValue {
    type Deserializer = OptionDeserializer<E>;

    fn into_deserializer(self) -> Self::Deserializer {
        OptionDeserializer { value: self, error: std::marker::PhantomData }
    }
}

struct OptionDeserializer<E> {
    value: OptionValue,
    error: std::marker::PhantomData<E>,
}

impl<'de, E: Error> Deserializer<'de> for OptionDeserializer<E> {
    type Error = E;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        match self.value {
            OptionValue::Switch(value) => visitor.visit_bool(value),
            OptionValue::Whole(value) => visitor.visit_i64(value),
            OptionValue::Number(value) => visitor.visit_f64(value),
            OptionValue::Text(value) => visitor.visit_string(value),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, E> {
        match self.value {
            OptionValue::Text(value) => {
                let text: StringDeserializer<E> = value.into_deserializer();
                text.deserialize_enum(name, variants, visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

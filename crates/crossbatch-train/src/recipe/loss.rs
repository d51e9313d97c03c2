//! `[loss]`: what is minimised.

use crossbatch::{Kernel, LossConfig, MinerConfig, OptionError, PairTerm, Reduction};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use toml::{Table, Value};

/// `[loss]`: `kind` with that loss's own keys (`crossbatch losses NAME` lists them), and what every loss has.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LossRecipe {
    /// Which loss, and its options. Default `"contrastive"`.
    #[serde(flatten)]
    pub loss: LossConfig,
    /// `"sum"` (the paper's), `"anchor-mean"`, `"pair-mean"` or `"mean-nonzero"`. Default `"sum"`.
    pub reduction: Reduction,
    /// Factor of this loss beside those of `further`. Default 1.
    pub weight: f32,
    /// Learning rate of what the loss itself learns, such as the margin loss's β: plain gradient descent. Default 0.0005.
    pub parameter_lr: f64,
    /// What computes its pairs: `"fused"` (the device's kernel) or `"reference"` (ordinary operations over every pair in
    /// f64, slow and large, to judge a kernel by). Default `"fused"`.
    pub kernel: Kernel,
    /// What pairs are mined by, each a table with `kind`; a pair must pass them all. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub miners: Vec<MinerConfig>,
    /// Further losses that are added, each a table like this one. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<LossRecipe>,
}

impl Default for LossRecipe {
    fn default() -> Self {
        Self {
            loss: LossConfig::default(),
            reduction: Reduction::Sum,
            weight: 1.0,
            parameter_lr: 5e-4,
            kernel: Kernel::Fused,
            miners: Vec::new(),
            further: Vec::new(),
        }
    }
}

impl<'de> Deserialize<'de> for LossRecipe {
    /// What every loss has is taken out; the rest is the loss's own, which refuses what it does not know.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        fn take<'de, T: Deserialize<'de>, E: serde::de::Error>(
            table: &mut Table,
            key: &str,
            default: T,
        ) -> Result<T, E> {
            let parsed = table.remove(key).map(T::deserialize).transpose();
            parsed.map(|value| value.unwrap_or(default)).map_err(|error| E::custom(error.message()))
        }
        let mut table = Table::deserialize(deserializer)?;
        let default = Self::default();
        let reduction = take(&mut table, "reduction", default.reduction)?;
        let weight = take(&mut table, "weight", default.weight)?;
        let parameter_lr = take(&mut table, "parameter-lr", default.parameter_lr)?;
        let kernel = take(&mut table, "kernel", default.kernel)?;
        let miners = take(&mut table, "miners", default.miners)?;
        let further = take(&mut table, "further", default.further)?;
        table.entry("kind").or_insert_with(|| Value::String(default.loss.kind().name().to_owned()));
        let loss =
            LossConfig::deserialize(table).map_err(|error| D::Error::custom(error.message()))?;
        Ok(Self { loss, reduction, weight, parameter_lr, kernel, miners, further })
    }
}

impl LossRecipe {
    /// This loss and those that are added.
    pub fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.further)
    }

    /// The objective's terms.
    pub fn terms(&self) -> Vec<PairTerm> {
        self.all()
            .map(|recipe| {
                let mut term = PairTerm::shared(recipe.loss.build())
                    .with_reduction(recipe.reduction)
                    .with_weight(recipe.weight)
                    .with_kernel(recipe.kernel);
                term.miners = recipe.miners.iter().map(MinerConfig::build).collect();
                term
            })
            .collect()
    }

    /// Checks the options of every loss and miner, and that they go together.
    pub(super) fn check(&self) -> Result<(), OptionError> {
        for recipe in self.all() {
            recipe.loss.loss().check()?;
            let rule = |holds: bool, option, value: &dyn ToString, expected| {
                if holds {
                    Ok(())
                } else {
                    Err(OptionError { option, value: value.to_string(), expected })
                }
            };
            rule(recipe.weight.is_finite(), "weight", &recipe.weight, "a number")?;
            rule(
                recipe.parameter_lr.is_finite() && recipe.parameter_lr >= 0.0,
                "parameter-lr",
                &recipe.parameter_lr,
                "0 or more",
            )?;
        }
        rule_no_nesting(self)?;
        self.terms().iter().try_for_each(PairTerm::check)
    }
}

fn rule_no_nesting(recipe: &LossRecipe) -> Result<(), OptionError> {
    match recipe.further.iter().find(|inner| !inner.further.is_empty()) {
        None => Ok(()),
        Some(inner) => Err(OptionError {
            option: "further",
            value: format!("{} inside a further loss", inner.further.len()),
            expected: "all losses in one list",
        }),
    }
}

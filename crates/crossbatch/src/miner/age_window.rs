use super::Miner;

#[doc = include_str!("age_window.md")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AgeWindowMiner {
    /// Largest age that counts, in steps. Default 1000.
    pub steps: u64,
}

impl Default for AgeWindowMiner {
    fn default() -> Self {
        Self { steps: 1000 }
    }
}

impl Miner for AgeWindowMiner {
    fn name(&self) -> &'static str {
        "age-window"
    }

    fn weigh(&self, age: u64) -> f32 {
        if age <= self.steps { 1.0 } else { 0.0 }
    }

    fn weighs(&self) -> bool {
        true
    }
}

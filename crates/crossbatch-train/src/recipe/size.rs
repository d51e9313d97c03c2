use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Slots of a memory, as a number or as a share of the training images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MemorySize {
    /// So many slots; 0 is no memory.
    Count(usize),
    /// This percentage of the training images.
    Percent(f64),
}

impl MemorySize {
    /// Slots for a training set of `images`, at least 1 where a share is asked for.
    pub fn slots(self, images: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => ((images as f64 * percent / 100.0).round() as usize).max(1),
        }
    }

    /// Whether there is a memory at all.
    pub fn is_on(self) -> bool {
        self != Self::Count(0)
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(formatter, "{count}"),
            Self::Percent(percent) => write!(formatter, "{percent}%"),
        }
    }
}

impl Serialize for MemorySize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u64(*count as u64),
            Self::Percent(_) => serializer.serialize_str(&self.to_string()),
        }
    }
}

impl<'de> Deserialize<'de> for MemorySize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = MemorySize;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(
                    "a whole number of slots such as 9640, a share of the training images such as \"50%\", or 0 for no memory",
                )
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<MemorySize, E> {
                Ok(MemorySize::Count(value as usize))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<MemorySize, E> {
                let wrong = || E::invalid_value(de::Unexpected::Signed(value), &self);
                usize::try_from(value).map(MemorySize::Count).map_err(|_| wrong())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<MemorySize, E> {
                let wrong = || E::invalid_value(de::Unexpected::Str(text), &self);
                let percent = text.strip_suffix('%').ok_or_else(wrong)?;
                let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
                let fits = percent.is_finite() && percent > 0.0;
                fits.then_some(MemorySize::Percent(percent)).ok_or_else(wrong)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Holder {
        size: MemorySize,
    }

    fn read(text: &str) -> Result<MemorySize, String> {
        let holder: Result<Holder, _> = toml::from_str(&format!("size = {text}"));
        holder.map(|holder| holder.size).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn counts_and_shares() {
        assert_eq!(read("9640").unwrap().slots(100), 9640);
        assert_eq!(read("\"50%\"").unwrap().slots(19_280), 9640);
        assert!(!read("0").unwrap().is_on());
    }

    #[test]
    fn anything_else_says_what_is_expected() {
        for text in ["\"60k\"", "-1", "\"-5%\"", "\"0%\"", "\"%\"", "true", "1.5"] {
            let message = read(text).unwrap_err();
            assert!(message.contains("such as \"50%\""), "{text}: {message}");
        }
    }
}

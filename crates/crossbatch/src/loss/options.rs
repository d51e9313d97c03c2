//! Checks of options that types cannot say.

/// An option out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use `{option} = {value}`: expected {expected}")]
pub struct OptionError {
    /// The option, as recipes spell it.
    pub option: &'static str,
    /// Its value.
    pub value: String,
    /// What would do.
    pub expected: &'static str,
}

/// An error that says `expected`, unless `holds`.
pub(crate) fn rule(
    holds: bool,
    option: &'static str,
    value: impl ToString,
    expected: &'static str,
) -> Result<(), OptionError> {
    if holds { Ok(()) } else { Err(OptionError { option, value: value.to_string(), expected }) }
}

pub(crate) fn finite(option: &'static str, value: f32) -> Result<(), OptionError> {
    rule(value.is_finite(), option, value, "a number")
}

pub(crate) fn above_zero(option: &'static str, value: f32) -> Result<(), OptionError> {
    rule(value.is_finite() && value > 0.0, option, value, "a number above 0")
}

pub(crate) fn from_zero(option: &'static str, value: f32) -> Result<(), OptionError> {
    rule(value.is_finite() && value >= 0.0, option, value, "0 or more")
}

//! Defaults < recipe file < `--set`, with every key accounted for.

use serde::Deserialize;
use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use crossbatch::LossKind;

use super::{MemorySize, Recipe};

/// Where a value came from, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A recipe file and line.
    File(String, usize),
    /// `--set`.
    Set,
}

impl std::fmt::Display for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(name, line) => write!(formatter, "{name}, line {line}"),
            Self::Set => formatter.write_str("--set"),
        }
    }
}

/// Why a recipe cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// Not TOML.
    #[error("{name} is not valid TOML:\n{message}")]
    Syntax {
        /// The file.
        name: String,
        /// The parser's account, with the line.
        message: String,
    },
    /// A key that does not exist.
    #[error("there is no key `{key}` ({source_}){}", hint(.nearest))]
    UnknownKey {
        /// The key as written.
        key: String,
        /// Where it was written.
        source_: Source,
        /// The existing key that is spelled most like it.
        nearest: Option<String>,
    },
    /// A value of the wrong type, or not one of the allowed ones.
    #[error("cannot use `{key} = {value}` ({source_}): {message}")]
    Value {
        /// The key.
        key: String,
        /// The value as written.
        value: String,
        /// Where it was written.
        source_: Source,
        /// What was expected.
        message: String,
    },
    /// A value out of its range.
    #[error("cannot use `{key} = {value}`: expected {expected}")]
    Range {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// The range.
        expected: &'static str,
    },
    /// An option of a loss or a miner is out of its range, or they do not go together.
    #[error("[loss]: {0}")]
    Loss(crossbatch::OptionError),
    /// A key of `[images]` is out of its range; the message names it.
    #[error("{0}")]
    Images(String),
    /// Options of the network that do not go together.
    #[error("[model]: {0}")]
    Model(String),
    /// `--set` without `key=value`.
    #[error("`--set {0}` is not of the form key=value, such as `--set memory.size=9640`")]
    Set(String),
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|key| format!("; did you mean `{key}`?")).unwrap_or_default()
}

impl Recipe {
    /// Lays a recipe file (its text and name) and `key=value` settings over the defaults.
    ///
    /// A file that does not say `name` is named after itself.
    ///
    /// # Errors
    ///
    /// If the file is no TOML, a key is unknown (the nearest is suggested), or a value has the wrong
    /// type or range; each error says where the value was written.
    pub fn from_sources(
        file: Option<(&str, &str)>,
        settings: &[String],
    ) -> Result<Self, RecipeError> {
        let known = schema();
        let mut table = Table::new();
        if let Some((text, name)) = file {
            let syntax = |error: toml::de::Error| RecipeError::Syntax {
                name: name.to_owned(),
                message: error.to_string().trim_end().to_owned(),
            };
            let parsed = DeTable::parse(text).map_err(syntax)?;
            let mut leaves = leaves(parsed.get_ref(), text, name, &known)?;
            kinds_first(&mut leaves);
            for leaf in leaves {
                set(&mut table, leaf)?;
            }
        }
        let mut leaves = Vec::new();
        for setting in settings {
            let (key, value) =
                setting.split_once('=').ok_or_else(|| RecipeError::Set(setting.clone()))?;
            let (key, value) = (key.trim(), value.trim());
            let leaf = Leaf { key: key.to_owned(), value: parse_value(value), source: Source::Set };
            check_known(&leaf.key, &leaf.source, &known)?;
            leaves.push(leaf);
        }
        kinds_first(&mut leaves);
        for leaf in leaves {
            set(&mut table, leaf)?;
        }
        let mut recipe = Self::deserialize(table.clone()).map_err(|error| RecipeError::Syntax {
            name: file.map_or("the recipe", |(_, name)| name).to_owned(),
            message: error.to_string(),
        })?;
        if let (Some((_, name)), false) = (file, table.contains_key("name")) {
            let stem = std::path::Path::new(name).file_stem().unwrap_or_default();
            recipe.name = stem.to_string_lossy().into_owned();
        }
        recipe.check()?;
        Ok(recipe)
    }
}

/// One `key = value` with its full dotted key.
struct Leaf {
    key: String,
    value: Value,
    source: Source,
}

/// A value that may hold tables, as TOML's own type.
fn plain_value(value: &DeValue<'_>, text: &str) -> Value {
    match value {
        DeValue::Array(values) => {
            Value::Array(values.iter().map(|value| plain_spanned(value, text)).collect())
        }
        DeValue::Table(table) => Value::Table(
            table
                .iter()
                .map(|(key, value)| (key.get_ref().to_string(), plain_spanned(value, text)))
                .collect(),
        ),
        _ => unreachable!("scalars have text of their own"),
    }
}

fn plain_spanned(value: &toml::Spanned<DeValue<'_>>, text: &str) -> Value {
    match value.get_ref() {
        inner @ (DeValue::Array(_) | DeValue::Table(_)) => plain_value(inner, text),
        _ => parse_value(&text[value.span()]),
    }
}

/// What other keys there are hangs on the kind of a thing.
fn kinds_first(leaves: &mut [Leaf]) {
    leaves.sort_by_key(|leaf| !leaf.key.ends_with(".kind"));
}

/// Every leaf of a parsed file, in order, or the first key that does not exist.
fn leaves(
    table: &DeTable<'_>,
    text: &str,
    name: &str,
    known: &[String],
) -> Result<Vec<Leaf>, RecipeError> {
    let mut found = Vec::new();
    let mut pending: Vec<(String, &DeTable<'_>)> = vec![(String::new(), table)];
    while let Some((prefix, table)) = pending.pop() {
        for (key, value) in table {
            let line = text[..key.span().start].lines().count().max(1)
                + usize::from(text[..key.span().start].ends_with('\n'));
            let source = Source::File(name.to_owned(), line);
            let key = format!("{prefix}{}", key.get_ref());
            check_known(&key, &source, known)?;
            match value.get_ref() {
                DeValue::Table(inner) => pending.push((format!("{key}."), inner)),
                _ if !known.contains(&key) => {
                    return Err(RecipeError::Value {
                        message: format!("expected a table, [{key}], with keys of its own"),
                        value: text[value.span()].to_owned(),
                        key,
                        source_: source,
                    });
                }
                inner => {
                    // An array of tables has no text of its own.
                    let value = match inner {
                        DeValue::Array(_) => plain_value(inner, text),
                        _ => parse_value(&text[value.span()]),
                    };
                    found.push(Leaf { key, value, source });
                }
            }
        }
    }
    Ok(found)
}

/// Puts a leaf into `table` and checks that a recipe can still be read from it, so that a wrong type
/// is blamed on this very value.
fn set(table: &mut Table, leaf: Leaf) -> Result<(), RecipeError> {
    let Leaf { key, value, source } = leaf;
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().expect("split gives at least one part");
    let mut inner = &mut *table;
    for part in parts {
        let entry = inner.entry(part).or_insert_with(|| Value::Table(Table::new()));
        inner = entry.as_table_mut().expect("known keys have tables above them");
    }
    inner.insert(last.to_owned(), value.clone());
    Recipe::deserialize(table.clone()).map(|_| ()).map_err(|error| RecipeError::Value {
        key,
        value: value.to_string(),
        source_: source,
        message: plain(error.message()),
    })
}

/// A type mismatch without the names of Rust's types.
fn plain(message: &str) -> String {
    let words = [
        ("expected u64", "expected a whole number, 0 or more"),
        ("expected u32", "expected a whole number, 0 or more"),
        ("expected usize", "expected a whole number, 0 or more"),
        ("expected f64", "expected a number"),
        ("expected f32", "expected a number"),
        ("expected path string", "expected a path in quotes"),
        ("expected a string", "expected text in quotes"),
        ("expected a boolean", "expected true or false"),
    ];
    words.iter().fold(message.trim_end().to_owned(), |text, (from, to)| text.replace(from, to))
}

/// A TOML value, or the text itself where it is none (`--set memory.size=50%`).
fn parse_value(text: &str) -> Value {
    let parsed: Result<Table, _> = toml::from_str(&format!("value = {text}"));
    parsed
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn check_known(key: &str, source: &Source, known: &[String]) -> Result<(), RecipeError> {
    let is_table =
        known.iter().any(|name| name.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')));
    // A table itself is no value: `--set memory=1` must not replace all of it.
    if known.iter().any(|name| name == key) || (is_table && *source != Source::Set) {
        return Ok(());
    }
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |name: &&String| {
        // The same last part in another table (`lr` for `optimizer.lr`) is the likeliest slip.
        let whole = strsim::damerau_levenshtein(key, name);
        whole.min(strsim::damerau_levenshtein(&last(key), &last(name)) * 2 + 1)
    };
    let nearest =
        known.iter().min_by_key(distance).filter(|name| distance(name) <= 2 + key.len() / 3);
    Err(RecipeError::UnknownKey {
        key: key.to_owned(),
        source_: source.clone(),
        nearest: nearest.cloned(),
    })
}

/// Every key of a recipe, dotted.
fn schema() -> Vec<String> {
    let mut full = Recipe::default();
    // Optional keys must be present to be seen.
    full.data.path = Some("x".into());
    full.data.kind = Some(crossbatch_data::Kind::Glyphs);
    full.data.train_list = Some("x".into());
    full.data.test_list = Some("x".into());
    full.data.channels = Some(1);
    full.data.invert = Some(true);
    full.data.protocol = Some(crossbatch_data::Protocol::All);
    full.data.columns.path = Some("x".to_owned());
    full.data.columns.label = Some("x".to_owned());
    full.data.columns.split = Some("x".to_owned());
    full.data.expected.classes = Some(0);
    full.data.expected.images = Some(0);
    full.images.mean = Some([0.0; 3]);
    full.images.std = Some([1.0; 3]);
    full.images.bgr = Some(false);
    full.images.white = Some(1.0);
    full.images.cache_dir = Some("x".into());
    full.model.pooling = Some(crossbatch_models::Pooling::Average);
    full.model.weights = Some("x".into());
    full.memory.size = MemorySize::Count(0);
    full.memory.half_life = Some(1.0);
    full.memory.window = Some(1);
    full.memory.momentum = Some(0.5);

    let mut keys = Vec::new();
    let table = Table::try_from(full).expect("a recipe is plain tables and numbers");
    let mut pending = vec![(String::new(), table)];
    while let Some((prefix, table)) = pending.pop() {
        for (key, value) in table {
            match value {
                Value::Table(inner) => pending.push((format!("{prefix}{key}."), inner)),
                _ => keys.push(format!("{prefix}{key}")),
            }
        }
    }
    // Every loss has keys of its own; which of them goes with the kind is seen when the loss is read.
    keys.extend(["loss.miners".to_owned(), "loss.further".to_owned()]);
    for kind in LossKind::ALL {
        let table = Table::try_from(kind.config()).expect("a loss is a plain table");
        keys.extend(table.keys().map(|key| format!("loss.{key}")));
    }
    keys.sort();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, settings: &[&str]) -> Result<Recipe, String> {
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        Recipe::from_sources(Some((text, "dir/my.toml")), &settings)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn settings_win_over_the_file_and_the_file_over_defaults() {
        let recipe = read(
            "steps = 7\n[memory]\nsize = 100\nweight = 2",
            &[
                "memory.size=50%",
                "optimizer.lr = 1e-4",
                "data.kind=folder",
                "loss.reduction=pair-mean",
            ],
        )
        .unwrap();
        assert_eq!(recipe.steps, 7);
        assert_eq!(recipe.memory.size, MemorySize::Percent(50.0));
        assert_eq!(recipe.memory.weight, 2.0);
        assert_eq!(recipe.optimizer.lr, 1e-4);
        assert_eq!(recipe.seed, 0);
        assert_eq!(recipe.name, "my");
    }

    #[test]
    fn unknown_keys_are_refused_with_line_and_nearest_name() {
        let error = read("steps = 3\n\n[memory]\nsise = 3", &[]).unwrap_err();
        assert_eq!(
            error,
            "there is no key `memory.sise` (dir/my.toml, line 4); did you mean `memory.size`?"
        );
        let error = read("lr = 3", &[]).unwrap_err();
        assert!(error.ends_with("did you mean `optimizer.lr`?"), "{error}");
        let error = read("", &["memory.strat=3"]).unwrap_err();
        assert!(error.contains("(--set)") && error.contains("`memory.start`"), "{error}");
        let error = read("[zzzzzzzzzz]\na = 1", &[]).unwrap_err();
        assert_eq!(error, "there is no key `zzzzzzzzzz` (dir/my.toml, line 1)");
        assert!(read("", &["memory=1"]).is_err());
    }

    #[test]
    fn wrong_types_name_key_value_and_place() {
        let error = read("[memory]\nsize = \"60k\"", &[]).unwrap_err();
        assert!(
            error.starts_with("cannot use `memory.size = \"60k\"` (dir/my.toml, line 2)"),
            "{error}"
        );
        let error = read("", &["steps=many"]).unwrap_err();
        assert!(error.contains("`steps = \"many\"` (--set)"), "{error}");
        let error = read("", &["loss.reduction=mean"]).unwrap_err();
        assert!(error.contains("pair-mean"), "{error}");
        for text in ["memory = 3", "memory = [64]", "[[memory]]\nsize = 3"] {
            let error = read(text, &["memory.size=64"]).unwrap_err();
            assert!(error.contains("cannot use `memory = "), "{error}");
            assert!(error.contains("expected a table, [memory]"), "{error}");
        }
        let error = read("", &["steps=1.5"]).unwrap_err();
        assert!(error.contains("expected a whole number"), "{error}");
    }

    #[test]
    fn broken_toml_points_at_the_line() {
        let error = read("steps = 3\nseed = = 4", &[]).unwrap_err();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn ranges_are_checked() {
        let error = read("[optimizer]\nlr = -1.0", &[]).unwrap_err();
        assert!(error.contains("optimizer.lr") && error.contains("above 0"), "{error}");
        assert!(read("", &["train.report=best"]).unwrap_err().contains("data.validation"));
        assert!(read("format-version = 9", &[]).unwrap_err().contains("format-version"));
    }

    #[test]
    fn every_key_is_documented() {
        let text = include_str!("../../../../docs/recipe.md");
        for key in schema() {
            assert!(text.contains(&format!("`{key}`")), "docs/recipe.md says nothing of `{key}`");
        }
    }
}

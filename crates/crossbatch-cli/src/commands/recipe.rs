//! The recipe that `train` and `plan` are about.

use std::path::Path;

use anyhow::Context;
use crossbatch_train::Recipe;

use crate::args::Common;

/// `--set`, `--data` and the common options as settings of a recipe.
pub(super) fn settings(
    set: &[String],
    data: Option<&Path>,
    common: &Common,
) -> anyhow::Result<Vec<String>> {
    let mut settings = set.to_vec();
    settings.extend(common.settings());
    if let Some(data) = data {
        settings.push(path_setting("data.path", data)?);
    }
    Ok(settings)
}

/// `key = "path"`, as a TOML string, so that no character of a path is taken for syntax.
pub(super) fn path_setting(key: &str, path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().with_context(|| {
        format!("cannot use the path {}: a recipe is UTF-8 text; rename it", path.display())
    })?;
    Ok(format!("{key}={}", serde_json::to_string(text).context("a path is text")?))
}

/// Keys that point at somebody's own data.
const OWN_DATA: [&str; 4] = ["data.path", "data.kind", "data.train-list", "data.test-list"];

/// The recipe in a file, or the built-in one, with `settings` laid over it.
pub(super) fn read(path: Option<&Path>, settings: &[String]) -> anyhow::Result<Recipe> {
    let key = |setting: &String| setting.split('=').next().unwrap_or_default().trim().to_owned();
    let own_data = settings.iter().any(|setting| OWN_DATA.contains(&&key(setting)[..]));
    let recipe = match path {
        Some(path) => {
            let text = fs_err::read_to_string(path)
                .with_context(|| format!("cannot read the recipe {}", path.display()))?;
            Recipe::from_sources(Some((&text, &path.to_string_lossy())), settings)?
        }
        // The built-in recipe is for the built-in data; other data is recognised.
        None if own_data => {
            let text = Recipe::BUILT_IN.replace("kind = \"glyphs\"\n", "");
            let mut recipe = Recipe::from_sources(Some((&text, "built-in recipe")), settings)?;
            recipe.name = data_name(&recipe);
            recipe
        }
        None => Recipe::from_sources(Some((Recipe::BUILT_IN, "glyphs")), settings)?,
    };
    Ok(recipe)
}

/// A run on somebody's own data is called after it.
fn data_name(recipe: &Recipe) -> String {
    let data = &recipe.data;
    let path = data.path.as_deref().or(data.train_list.as_deref()).unwrap_or(Path::new("glyphs"));
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    path.file_stem().map_or("run".to_owned(), |name| name.to_string_lossy().into_owned())
}

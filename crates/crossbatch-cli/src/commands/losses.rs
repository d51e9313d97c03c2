//! `crossbatch losses`

use crossbatch::LossKind;
use serde_json::json;

use crate::{
    args::{Format, LossesArgs},
    printer::Printer,
    table::{self, Align},
};

pub(crate) fn run(args: &LossesArgs, printer: &Printer) -> anyhow::Result<()> {
    let kinds = args.name.as_ref().map_or(LossKind::ALL, std::slice::from_ref);
    let text = match args.format {
        Format::Table => match args.name {
            Some(kind) => format!("\n# {kind}\n\n{}\n", kind.page().trim_end()),
            None => list(kinds),
        },
        Format::Json => json(kinds)?,
        Format::Csv => csv(kinds)?,
    };
    Ok(printer.result(&text)?)
}

/// A loss's name and, where it has one, its other name.
fn names(kind: LossKind) -> String {
    kind.alias().map_or_else(|| kind.to_string(), |alias| format!("{kind} ({alias})"))
}

fn list(kinds: &[LossKind]) -> String {
    let row = |kind: &LossKind| vec![names(*kind), kind.summary().to_owned()];
    let rows: Vec<Vec<String>> = kinds.iter().map(row).collect();
    format!(
        "\n{}\n `crossbatch losses NAME` prints a page with equation, defaults and sources\n",
        table::columns(&rows, &[Align::Left, Align::Left])
    )
}

fn json(kinds: &[LossKind]) -> anyhow::Result<String> {
    let losses: Vec<_> = kinds
        .iter()
        .map(|kind| {
            json!({
                "name": kind.name(),
                "alias": kind.alias(),
                "summary": kind.summary(),
                "defaults": kind.config(),
                "page": kind.page(),
            })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&json!({ "format_version": 1, "losses": losses }))? + "\n")
}

fn csv(kinds: &[LossKind]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["name", "alias", "summary"])?;
    for kind in kinds {
        writer.write_record([kind.name(), kind.alias().unwrap_or(""), kind.summary()])?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// The loss of a name or alias.
///
/// # Errors
///
/// If there is none; the nearest name is suggested.
pub(crate) fn parse(name: &str) -> Result<LossKind, String> {
    LossKind::from_name(name).ok_or_else(|| {
        let names = || LossKind::ALL.iter().flat_map(|kind| [Some(kind.name()), kind.alias()]);
        let distance = |known: &&str| strsim::damerau_levenshtein(name, known);
        let nearest = names().flatten().min_by_key(distance);
        let nearest = nearest.filter(|known| distance(known) <= 1 + name.chars().count() / 3);
        let hint = nearest.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
        format!("no loss is called `{name}`{hint} (`crossbatch losses` lists them)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_gets_a_suggestion_and_nonsense_none() {
        assert_eq!(parse("contrastive"), Ok(LossKind::Contrastive));
        let error = parse("multisimilarity").unwrap_err();
        assert!(error.contains("did you mean `multi-similarity`?"), "{error}");
        let error = parse("x").unwrap_err();
        assert!(!error.contains("mean") && error.contains("lists them"), "{error}");
    }
}

//! `crossbatch models`

use crossbatch_models::{BackboneFacts, BackboneKind, PUBLISHED};
use serde_json::json;

use crate::{
    args::{Format, ModelsArgs},
    printer::Printer,
    table::{self, Align},
};

pub(crate) fn run(args: &ModelsArgs, printer: &Printer) -> anyhow::Result<()> {
    let models: Vec<_> = BackboneKind::ALL.into_iter().map(|kind| (kind, kind.facts())).collect();
    let text = match args.format {
        Format::Table => list(&models),
        Format::Json => json(&models)?,
        Format::Csv => csv(&models)?,
    };
    Ok(printer.result(&text)?)
}

/// Names of a backbone's published weights.
fn weights(kind: BackboneKind) -> Vec<&'static str> {
    PUBLISHED.iter().filter(|file| file.backbone == kind).map(|file| file.name).collect()
}

fn list(models: &[(BackboneKind, BackboneFacts)]) -> String {
    let header = ["", "parameters", "GFLOP", "image", "features", "what", "published weights"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(models.iter().map(|(kind, facts)| {
        let names = weights(*kind);
        let short = |name: &str| name.split_once('.').map_or(name, |(_, end)| end).to_owned();
        vec![
            kind.to_string(),
            format!("{:.2} M", facts.parameters as f64 / 1e6),
            format!("{:.2}", facts.forward_flops as f64 / 1e9),
            facts.size.to_string(),
            facts.features.to_string(),
            kind.summary().to_owned(),
            names.into_iter().map(short).collect::<Vec<_>>().join(", "),
        ]
    }));
    let (left, right) = (Align::Left, Align::Right);
    format!(
        "\n{}\n `crossbatch weights list` says where published weights are\n",
        table::columns(&rows, &[left, right, right, right, right, left, left])
    )
}

fn json(models: &[(BackboneKind, BackboneFacts)]) -> anyhow::Result<String> {
    let models: Vec<_> = models
        .iter()
        .map(|(kind, facts)| {
            json!({
                "name": kind.name(),
                "summary": kind.summary(),
                "parameters": facts.parameters,
                "forward_flops": facts.forward_flops,
                "image_size": facts.size,
                "features": facts.features,
                "smallest_image": kind.smallest_image(),
                "multiple_of": kind.patch(),
                "pooling": kind.usual_pooling(),
                "stages": kind.stages(),
                "weights": weights(*kind),
            })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&json!({ "format_version": 1, "models": models }))? + "\n")
}

fn csv(models: &[(BackboneKind, BackboneFacts)]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "name",
        "parameters",
        "forward_flops",
        "image_size",
        "features",
        "weights",
    ])?;
    for (kind, facts) in models {
        writer.write_record([
            kind.name(),
            &facts.parameters.to_string(),
            &facts.forward_flops.to_string(),
            &facts.size.to_string(),
            &facts.features.to_string(),
            &weights(*kind).join(" "),
        ])?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

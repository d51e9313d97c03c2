//! `crossbatch weights`

use crossbatch_models::PUBLISHED;
use serde_json::json;

pub(crate) use crate::download::fetch;
use crate::{
    args::{Format, WeightsListArgs},
    printer::Printer,
    table::{self, Align},
};

pub(crate) fn list(args: &WeightsListArgs, printer: &Printer) -> anyhow::Result<()> {
    let text = match args.format {
        Format::Table => text(),
        Format::Json => {
            serde_json::to_string_pretty(&json!({ "format_version": 1, "weights": PUBLISHED }))?
                + "\n"
        }
        Format::Csv => csv()?,
    };
    Ok(printer.result(&text)?)
}

fn checksum(sha256: Option<&str>) -> String {
    sha256.map_or_else(|| "not stated".to_owned(), |digits| format!("{digits}…"))
}

fn text() -> String {
    let header = ["", "MiB", "SHA-256", "image", "mean", "deviation", "licence", "from"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(PUBLISHED.iter().map(|file| {
        vec![
            file.name.to_owned(),
            file.mib.map_or_else(|| "?".to_owned(), |mib| format!("{mib:.0}")),
            checksum(file.sha256),
            format!("{} of {}", file.size, file.resize),
            format!("{:?}", file.mean),
            format!("{:?}", file.deviation),
            if file.licence.len() > 12 { "see --format json" } else { file.licence }.to_owned(),
            file.url.to_owned(),
        ]
    }));
    let left = Align::Left;
    format!(
        "\n{}\n Give a file to `crossbatch train --weights FILE`. torchvision states the first digits of SHA-256 in its names.\n",
        table::columns(&rows, &[left, Align::Right, left, left, left, left, left, left])
    )
}

fn csv() -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer
        .write_record(["name", "backbone", "url", "mib", "sha256", "licence", "size", "resize"])?;
    for file in &PUBLISHED {
        writer.write_record([
            file.name,
            file.backbone.name(),
            file.url,
            &file.mib.map(|mib| mib.to_string()).unwrap_or_default(),
            file.sha256.unwrap_or_default(),
            file.licence,
            &file.size.to_string(),
            &file.resize.to_string(),
        ])?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

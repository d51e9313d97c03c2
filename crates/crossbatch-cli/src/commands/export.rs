//! `crossbatch export`

use std::collections::HashMap;

use anyhow::{Context, bail};
use crossbatch_models::{StateDict, to_safetensors};
use crossbatch_train::Observer;

use super::open_model;
use crate::{
    args::{Common, ExportArgs, ExportFormat},
    printer::Printer,
};

pub(crate) fn run(args: &ExportArgs, common: &Common, printer: &Printer) -> anyhow::Result<()> {
    if args.backbone && args.format == ExportFormat::Onnx {
        bail!("--backbone goes with --format safetensors; an ONNX file holds the whole network");
    }
    let (recipe, model, _) = open_model(&args.run, args.weights, common)?;
    let bytes = match args.format {
        ExportFormat::Safetensors => {
            let mut state = model.embedder.state_dict();
            if args.backbone {
                state = without_prefix(state);
            }
            let metadata = HashMap::from([
                ("format".to_owned(), "pt".to_owned()),
                ("backbone".to_owned(), recipe.model.backbone.to_string()),
            ]);
            to_safetensors(&state, metadata)?
        }
        ExportFormat::Onnx => model.embedder.to_onnx(&recipe.embedder_config())?,
    };
    fs_err::write(&args.output, &bytes)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    printer.note(&format!("{} bytes in {}", bytes.len(), args.output.display()));
    Ok(())
}

/// The backbone's tensors, by the names that its own library knows.
fn without_prefix(state: StateDict) -> StateDict {
    state
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("backbone.")?.to_owned(), tensor)))
        .collect()
}

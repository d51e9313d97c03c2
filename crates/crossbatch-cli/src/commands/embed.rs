//! `crossbatch embed`

use anyhow::bail;
use crossbatch_train::{Observer, Report};

use super::{open_model, report};
use crate::{
    args::{Common, EmbedArgs},
    embedding::embed_items,
    images::{gather, identity},
    output::Output,
    printer::Printer,
};

pub(crate) fn run(args: &EmbedArgs, common: &Common, printer: &Printer) -> anyhow::Result<()> {
    let output = Output::new(&args.output)?;
    let target = identity(&args.output);
    if args.images.iter().any(|path| identity(path) == target) {
        bail!(
            "{} is one of the inputs and would be overwritten; give the output another name",
            args.output.display()
        );
    }
    let (recipe, model, _) = open_model(&args.run, args.weights, common)?;
    let items = gather(&args.images, recipe.data.kind)?;
    output.check_names(&items)?;
    let total = items.len();
    let mut embedded = embed_items(&model, items, "images", common.verbose, printer)?;

    let weights = match report(args.weights, &recipe) {
        Report::Last => "last weights",
        Report::Best => "best weights",
    };
    let embeddings = output
        .embeddings(&mut embedded)?
        .with_metadata("similarity", "cosine")
        .with_metadata("model", &args.run.display().to_string())
        .with_metadata("weights", weights);
    let place = output.write(&embeddings)?;
    let count = embedded.items.len();
    printer.note(&format!("{count} embeddings of {} numbers in {place}", embedded.dim));
    let unlabelled = embedded.items.iter().filter(|item| item.label.is_none()).count();
    if output.wants_all_labels() && unlabelled > 0 && unlabelled < count {
        printer.note(&format!(
            "no `labels` in the file: {unlabelled} of {count} images have no known label"
        ));
    }
    match embedded.unreadable {
        0 => Ok(()),
        unreadable if args.skip_unreadable => {
            printer.note(&format!("{unreadable} of {total} images left out"));
            Ok(())
        }
        unreadable => bail!(
            "{unreadable} of {total} images could not be read; the embeddings of the other {count} are written. With --skip-unreadable that is no error"
        ),
    }
}

//! Embeddings of images on disk, with the pixels of one batch in memory at a time.

use anyhow::bail;
use crossbatch_data::Error;
use crossbatch_train::{Observer, TrainedModel, embed_pixels};
use rayon::prelude::*;

use crate::{images::Item, printer::Printer};

/// Unreadable images that are named without `--verbose`.
const NAMED: usize = 10;

/// The readable images, and their embeddings.
pub(crate) struct Embedded {
    /// The images that could be read, in the order given.
    pub(crate) items: Vec<Item>,
    /// One row an image, of length 1: `[N, D]`.
    pub(crate) rows: Vec<f32>,
    /// D.
    pub(crate) dim: usize,
    /// Number of images that could not be read.
    pub(crate) unreadable: usize,
}

/// Embeds all images that can be read and warns of the others: of all with `verbose`, else of the
/// first few and their number.
///
/// `what` names the images in progress and errors ("gallery images").
pub(crate) fn embed_items(
    model: &TrainedModel,
    items: Vec<Item>,
    what: &str,
    verbose: bool,
    printer: &Printer,
) -> anyhow::Result<Embedded> {
    let spec = model.spec;
    let dim = model.recipe.model.embedding_size;
    let total = items.len();
    let stage = format!("embedding {what}");
    let mut embedded =
        Embedded { items: Vec::with_capacity(total), rows: Vec::new(), dim, unreadable: 0 };
    let mut first_failure = String::new();
    let mut items = items.into_iter();
    let mut done = 0;
    printer.progress(&stage, 0, total);
    while done < total {
        let batch: Vec<Item> = items.by_ref().take(model.recipe.evaluation.batch.max(1)).collect();
        done += batch.len();
        let decoded: Vec<_> = batch.par_iter().map(|item| item.listed.decode(spec)).collect();
        let mut pixels = Vec::with_capacity(batch.len() * spec.len());
        let first = embedded.items.len();
        for (item, decoded) in batch.into_iter().zip(decoded) {
            match decoded {
                Ok(bytes) => {
                    spec.extend_values(&bytes, &mut pixels);
                    embedded.items.push(item);
                }
                Err(error) => {
                    let failure = format!("{}: {}", item.name, reason(error));
                    if verbose || embedded.unreadable < NAMED {
                        printer.warn(&format!("cannot read {failure}"));
                    }
                    if embedded.unreadable == 0 {
                        first_failure = failure;
                    }
                    embedded.unreadable += 1;
                }
            }
        }
        let count = embedded.items.len() - first;
        if count > 0 {
            let rows = embed_pixels(&model.embedder, pixels, count, spec);
            if let Some(at) = rows.iter().position(|value| !value.is_finite()) {
                bail!(
                    "the embedding of {} is not finite; the weights are damaged, train again",
                    embedded.items[first + at / dim].name
                );
            }
            embedded.rows.extend(rows);
        }
        printer.progress(&stage, done, total);
    }
    if embedded.items.is_empty() {
        bail!("none of the {total} {what} could be read; the first is {first_failure}");
    }
    let unnamed = embedded.unreadable.saturating_sub(NAMED);
    if unnamed > 0 && !verbose {
        printer.warn(&format!("cannot read {unnamed} more; --verbose lists them all"));
    }
    Ok(embedded)
}

fn reason(error: Error) -> String {
    match error {
        Error::Image { reason, .. } => reason,
        other => other.to_string(),
    }
}

//! What is known of rows besides their embeddings.

/// Labels and sample ids of some rows, dense (interned to `0..n` by whoever read the data).
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// Class of each row.
    pub labels: &'a [u32],
    /// Image of each row.
    pub ids: &'a [u32],
}

impl Rows<'_> {
    pub(crate) fn assert_len(&self, rows: usize) {
        let (labels, ids) = (self.labels.len(), self.ids.len());
        assert_eq!(labels, rows, "{labels} labels for {rows} embeddings");
        assert_eq!(ids, rows, "{ids} sample ids for {rows} embeddings");
    }
}

/// What becomes of older memory entries of the anchor's own image.
///
/// They are no self-pairs: the network saw the image at another step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SameImage {
    /// They stay positives, as in the released code.
    #[default]
    Keep,
    /// They are left out.
    Drop,
}

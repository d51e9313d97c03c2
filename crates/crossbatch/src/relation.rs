//! Which pairs are positive, which negative, and which are left out.

use burn::tensor::{Bool, DType, Int, Tensor, TensorData};

use crate::memory::{Memory, int_tensor};

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

/// The pairs of `B` anchors with `M` references, as masks.
///
/// A pair is positive where the labels agree, negative where they differ, and left out where it is
/// the anchor with itself. A self-pair is known by *identity* (the batch's diagonal; the slot that
/// this very row was enqueued to), not by a similarity near 1, which would drop true duplicates and
/// fails in half precision.
///
/// # Shapes
///
/// Both masks are `[B, M]`.
#[derive(Debug, Clone)]
pub struct Relation {
    /// Same label, self-pairs excepted.
    pub positive: Tensor<2, Bool>,
    /// Different labels.
    pub negative: Tensor<2, Bool>,
}

impl Relation {
    /// Pairs within a batch; the diagonal is left out.
    ///
    /// # Panics
    ///
    /// If `rows` has unequal numbers of labels and ids.
    pub fn within_batch(rows: Rows<'_>, device: &burn::tensor::Device) -> Self {
        rows.assert_len(rows.labels.len());
        let labels = int_tensor(rows.labels, device);
        let own: Vec<i32> = (0..rows.labels.len() as i32).collect();
        Self::of(&labels, labels.clone(), own_columns(&own, rows.labels.len(), device))
    }

    /// Pairs of a batch with the memory; `own_slots` are the slots that
    /// [`Memory::enqueue`] wrote these rows to in this step.
    ///
    /// # Panics
    ///
    /// If `own_slots` has not one entry for each row.
    pub fn with_memory(
        rows: Rows<'_>,
        memory: &Memory,
        own_slots: &[i32],
        same_image: SameImage,
    ) -> Self {
        rows.assert_len(own_slots.len());
        let labels = memory.device_labels();
        let device = labels.device();
        let own = own_columns(own_slots, memory.len(), &device);
        let mut relation = Self::of(&int_tensor(rows.labels, &device), labels, own);
        if same_image == SameImage::Drop {
            let other_image =
                outer_equal(&int_tensor(rows.ids, &device), memory.device_ids()).bool_not();
            relation.positive = relation.positive.bool_and(other_image);
        }
        relation
    }

    fn of(anchors: &Tensor<1, Int>, references: Tensor<1, Int>, own: Tensor<2, Bool>) -> Self {
        let same = outer_equal(anchors, references);
        Self { negative: same.clone().bool_not(), positive: same.bool_and(own.bool_not()) }
    }
}

/// `[B, M]`: whether `anchors[i] == references[j]`.
fn outer_equal(anchors: &Tensor<1, Int>, references: Tensor<1, Int>) -> Tensor<2, Bool> {
    let [rows] = anchors.dims();
    let [columns] = references.dims();
    let anchors = anchors.clone().unsqueeze_dim::<2>(1).expand([rows, columns]);
    anchors.equal(references.unsqueeze_dim::<2>(0).expand([rows, columns]))
}

/// `[B, M]`: whether column `j` is row `i`'s own.
fn own_columns(own: &[i32], columns: usize, device: &burn::tensor::Device) -> Tensor<2, Bool> {
    let index: Vec<u32> = (0..columns as u32).collect();
    let own = TensorData::new(own.to_vec(), [own.len()]);
    outer_equal(&Tensor::from_data(own, (device, DType::I32)), int_tensor(&index, device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn bools(mask: Tensor<2, Bool>) -> Vec<bool> {
        mask.int().into_data().iter::<i64>().map(|value| value != 0).collect()
    }

    #[test]
    fn the_diagonal_is_neither_positive_nor_negative() {
        let relation =
            Relation::within_batch(Rows { labels: &[3, 3, 4], ids: &[0, 0, 1] }, &Device::flex());
        // Two different rows of the same image (ids 0, 0) are a true positive pair.
        assert_eq!(
            bools(relation.positive),
            [false, true, false, true, false, false, false, false, false]
        );
        assert_eq!(
            bools(relation.negative),
            [false, false, true, false, false, true, true, true, false]
        );
    }

    #[test]
    fn only_the_slot_just_written_is_a_self_pair() {
        let device = Device::flex();
        let mut memory = Memory::new(4, 1, &device);
        let rows = Rows { labels: &[1, 2], ids: &[10, 20] };
        let embeddings = Tensor::<2>::ones([2, 1], &device);
        memory.enqueue(embeddings.clone(), rows, 0).unwrap();
        let own = memory.enqueue(embeddings, rows, 1).unwrap();
        assert_eq!(own, [2, 3]);

        let keep = Relation::with_memory(rows, &memory, &own, SameImage::Keep);
        // Slot 0 is the same image from an older step: a positive; slot 2 is the row itself.
        assert_eq!(bools(keep.positive), [true, false, false, false, false, true, false, false]);
        let drop = Relation::with_memory(rows, &memory, &own, SameImage::Drop);
        assert_eq!(bools(drop.positive), [false; 8]);
        assert_eq!(bools(keep.negative), bools(drop.negative));
    }
}

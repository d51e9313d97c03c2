//! How the rows of a loss become one number.

use burn::tensor::Tensor;

/// How a loss's terms become one number.
///
/// A loss has one or more [`Part`]s, such as its positive and its negative pairs, which are never averaged together:
/// each is reduced by itself and the results are added. Over what a part averages, its loss says ("pairs", "anchors",
/// "triplets").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Sum of all terms divided by the number of anchors: the paper's. For losses over pairs it grows with the memory.
    #[default]
    Sum,
    /// Per anchor the mean over its terms (0 without any), averaged over all anchors.
    AnchorMean,
    /// Mean over all terms of the batch: positives and active negatives each over their own number.
    PairMean,
    /// Mean over the terms above 0.
    MeanNonzero,
}

/// One part of a loss: terms summed a row, and how many there are. All `[B]`.
#[derive(Debug, Clone)]
pub struct Part {
    /// Sum of the row's terms.
    pub values: Tensor<1>,
    /// How many terms the row has; without gradient.
    pub counts: Tensor<1>,
    /// How many of them are above 0; without gradient.
    pub nonzero: Tensor<1>,
}

impl Part {
    /// Terms of pairs, all of them above 0.
    pub fn of_pairs(values: Tensor<1>, counts: Tensor<1>) -> Self {
        Self { values, nonzero: counts.clone(), counts }
    }

    /// One term for each anchor.
    pub fn of_anchors(values: Tensor<1>) -> Self {
        let fixed = values.clone().detach();
        Self { values, counts: fixed.ones_like(), nonzero: fixed.greater_scalar(0.0).float() }
    }

    /// One term for each anchor that `exists` (1, else 0) marks; the others' values must be 0.
    pub fn of_some_anchors(values: Tensor<1>, exists: Tensor<1>) -> Self {
        let nonzero = values.clone().detach().greater_scalar(0.0).float();
        Self { values, counts: exists, nonzero }
    }

    /// The part as one number, `[1]`.
    pub fn reduce(self, reduction: Reduction) -> Tensor<1> {
        let [batch] = self.values.dims();
        let Self { values, counts, nonzero } = self;
        // Counts are whole numbers, so clamping at 1 only guards the empty part.
        match reduction {
            Reduction::Sum => values.sum() / batch as f32,
            Reduction::AnchorMean => (values / counts.clamp_min(1.0)).sum() / batch as f32,
            Reduction::PairMean => values.sum() / counts.sum().clamp_min(1.0),
            Reduction::MeanNonzero => values.sum() / nonzero.sum().clamp_min(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn reduced(reduction: Reduction) -> f32 {
        let column = |values: [f32; 3]| Tensor::<1>::from_data(values, &Device::flex());
        let part = Part {
            values: column([6.0, 4.0, 0.0]),
            counts: column([3.0, 1.0, 0.0]),
            nonzero: column([1.0, 1.0, 0.0]),
        };
        part.reduce(reduction).into_scalar()
    }

    #[test]
    fn each_reduction_divides_by_what_it_says() {
        assert!((reduced(Reduction::Sum) - 10.0 / 3.0).abs() < 1e-6);
        assert!((reduced(Reduction::AnchorMean) - (2.0 + 4.0) / 3.0).abs() < 1e-6);
        assert!((reduced(Reduction::PairMean) - 10.0 / 4.0).abs() < 1e-6);
        assert!((reduced(Reduction::MeanNonzero) - 10.0 / 2.0).abs() < 1e-6);
    }

    #[test]
    fn nothing_is_zero() {
        for reduction in
            [Reduction::Sum, Reduction::AnchorMean, Reduction::PairMean, Reduction::MeanNonzero]
        {
            let none = Tensor::<1>::zeros([2], &Device::flex());
            let part = Part::of_pairs(none.clone(), none);
            assert_eq!(part.reduce(reduction).into_scalar::<f32>(), 0.0);
        }
    }
}

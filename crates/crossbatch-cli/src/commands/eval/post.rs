//! Steps between the vectors and their ranking.

use std::{path::Path, str::FromStr};

use anyhow::bail;
use crossbatch_retrieval::{
    Embeddings, Error, Ignore, Metric, Options, Ranking, Relation, Scores, Vectors, measure,
    postprocess::{
        Expansion, KReciprocal, KReciprocalConfig, Pca, PcaConfig, augment_database, expand_queries,
    },
    rank,
};

/// One step of `--post`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Step {
    /// Principal components, perhaps whitened.
    Pca(PcaConfig),
    /// Each gallery vector joined by its neighbours.
    Augment(Expansion),
    /// Each query joined by its neighbours.
    Expand(Expansion),
    /// Neighbours that are mutual come first.
    Rerank(KReciprocalConfig),
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = match text.split_once('=') {
            Some((name, number)) => (name, Some(number)),
            None => (text, None),
        };
        let number = match number.map(str::parse::<usize>) {
            None => None,
            Some(Ok(number)) if number > 0 => Some(number),
            Some(_) => {
                return Err(format!("`{text}`: give a number of at least 1 after `{name}=`"));
            }
        };
        let expansion = || {
            let defaults = Expansion::default();
            Expansion { neighbours: number.unwrap_or(defaults.neighbours), ..defaults }
        };
        Ok(match name {
            "pca" => Self::Pca(PcaConfig { components: number, ..PcaConfig::default() }),
            "whiten" => {
                Self::Pca(PcaConfig { components: number, whiten: true, ..PcaConfig::default() })
            }
            "dba" => Self::Augment(expansion()),
            "qe" => Self::Expand(expansion()),
            "rerank" => {
                let defaults = KReciprocalConfig::default();
                let k1 = number.unwrap_or(defaults.k1);
                Self::Rerank(KReciprocalConfig { k1, k2: defaults.k2.min(k1), ..defaults })
            }
            _ => {
                return Err(format!(
                    "`{name}` is no step; there are pca, whiten, dba, qe and rerank"
                ));
            }
        })
    }
}

/// Vectors on their way to a ranking.
pub(super) struct Sides {
    pub(super) queries: Vectors,
    /// `None` where the queries search each other, as they are.
    pub(super) gallery: Option<Vectors>,
}

impl Sides {
    pub(super) fn gallery(&self) -> &Vectors {
        self.gallery.as_ref().unwrap_or(&self.queries)
    }

    /// Bytes of the vectors.
    pub(super) fn bytes(&self) -> usize {
        self.queries.bytes() + self.gallery.as_ref().map_or(0, Vectors::bytes)
    }

    /// Applies the steps that change vectors, in order.
    pub(super) fn apply(
        mut self,
        steps: &[Step],
        learn_from: Option<&Path>,
        ignore: &Ignore<'_>,
        options: &Options<'_>,
    ) -> anyhow::Result<Self> {
        let before = self.bytes();
        for step in steps {
            // What the vectors have grown by is no longer free.
            let options = &options.less(self.bytes().saturating_sub(before))?;
            match step {
                Step::Pca(config) => {
                    let (dim, wanted) = (self.queries.dim(), config.components.unwrap_or(1));
                    if wanted > dim {
                        bail!(
                            "`--post`: {wanted} components of vectors with {dim} numbers; give {dim} at most"
                        );
                    }
                    let pca = match learn_from {
                        None => Pca::fit(self.gallery(), config, options)?,
                        Some(path) => {
                            let rows = self.learnt(path)?;
                            Pca::fit(&rows, config, &options.less(rows.bytes())?)?
                        }
                    };
                    self.queries = pca.apply(&self.queries, options)?;
                    let apply = |rows: Vectors| pca.apply(&rows, options);
                    self.gallery = self.gallery.map(apply).transpose()?;
                }
                Step::Augment(expansion) => match &self.gallery {
                    None => self.queries = augment_database(&self.queries, expansion, options)?,
                    Some(gallery) => {
                        self.gallery = Some(augment_database(gallery, expansion, options)?);
                    }
                },
                Step::Expand(expansion) => {
                    let expanded =
                        expand_queries(&self.queries, self.gallery(), ignore, expansion, options)?;
                    let queries = std::mem::replace(&mut self.queries, expanded);
                    // The gallery stays as it was, also where it was the queries.
                    self.gallery.get_or_insert(queries);
                }
                Step::Rerank(_) => {}
            }
        }
        Ok(self)
    }

    /// Vectors to learn from, prepared as these are.
    fn learnt(&self, path: &Path) -> anyhow::Result<Vectors> {
        let mut rows = Embeddings::read(path)?;
        if rows.dim() != self.queries.dim() {
            bail!(
                "{} has vectors of {} numbers and the queries have {}; learn from the same network's",
                path.display(),
                rows.dim(),
                self.queries.dim()
            );
        }
        Ok(rows.take_vectors(self.queries.similarity())?)
    }

    /// The scores of all queries, after a last step that re-ranks, if there is one; the ranks behind them where these are
    /// wanted.
    pub(super) fn scores(
        &self,
        steps: &[Step],
        relation: &Relation<'_>,
        metrics: &[Metric],
        keep_ranks: bool,
        options: &Options<'_>,
    ) -> Result<(Scores, Option<Ranking>), Error> {
        if !keep_ranks && !matches!(steps.last(), Some(Step::Rerank(_))) {
            return Ok((measure(&self.queries, self.gallery(), relation, metrics, options)?, None));
        }
        let ranking = self.rank(steps, relation, options)?;
        Ok((Scores::of(&ranking, metrics)?, Some(ranking)))
    }

    /// The ranks of all positives, after a last step that re-ranks, if there is one.
    fn rank(
        &self,
        steps: &[Step],
        relation: &Relation<'_>,
        options: &Options<'_>,
    ) -> Result<Ranking, Error> {
        match (steps.last(), &self.gallery) {
            (Some(Step::Rerank(config)), None) => {
                KReciprocal::within(&self.queries, config, options)?.rank(relation, options)
            }
            (Some(Step::Rerank(config)), Some(gallery)) => {
                KReciprocal::between(&self.queries, gallery, config, options)?
                    .rank(relation, options)
            }
            _ => rank(&self.queries, self.gallery(), relation, options),
        }
    }
}

/// Refuses orders of steps that mean nothing.
pub(super) fn check(steps: &[Step], within: bool) -> anyhow::Result<()> {
    let reranks = |step: &Step| matches!(step, Step::Rerank(_));
    if let Some(at) = steps.iter().position(reranks)
        && at + 1 < steps.len()
    {
        bail!(
            "`--post`: rerank changes the ranking, no longer the vectors; let it be the last step"
        );
    }
    let expands = |step: &Step| matches!(step, Step::Expand(_));
    if within && steps.iter().any(reranks) && steps.iter().any(expands) {
        bail!(
            "`--post`: rerank looks for mutual neighbours, which expanded queries and the same rows unexpanded are not; leave out qe, or give --query and --gallery"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_words_with_a_number() {
        assert_eq!("qe".parse(), Ok(Step::Expand(Expansion::default())));
        let expected = Expansion { neighbours: 5, ..Expansion::default() };
        assert_eq!("dba=5".parse(), Ok(Step::Augment(expected)));
        let Ok(Step::Pca(config)) = "whiten=64".parse() else { panic!() };
        assert!(config.whiten && config.components == Some(64));
        let Ok(Step::Rerank(config)) = "rerank=4".parse() else { panic!() };
        assert_eq!((config.k1, config.k2), (4, 4));
        for (text, part) in [("qe=0", "at least 1"), ("qe=x", "at least 1"), ("lda", "no step")] {
            assert!(text.parse::<Step>().unwrap_err().contains(part));
        }
    }

    #[test]
    fn rerank_comes_last() {
        let steps = |text: &str| text.split(',').map(|s| s.parse().unwrap()).collect::<Vec<Step>>();
        assert!(check(&steps("pca,rerank"), true).is_ok());
        assert!(check(&steps("rerank,pca"), true).is_err());
        assert!(check(&steps("qe,rerank"), true).is_err());
        assert!(check(&steps("qe,rerank"), false).is_ok());
    }
}

//! PKU VehicleID: three test lists, and two ways of counting whose numbers do not compare.

use super::split::{Trial, leave_one_out};
use crate::random::Random;
use crate::{Error, Exclude};

/// The three test lists. The number of images is not checked: papers and the distributed lists differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VehicleIdSet {
    /// 800 vehicles.
    Small,
    /// 1,600 vehicles.
    Medium,
    /// 2,400 vehicles.
    Large,
}

impl VehicleIdSet {
    /// How many vehicles the list has.
    pub fn identities(self) -> usize {
        match self {
            Self::Small => 800,
            Self::Medium => 1600,
            Self::Large => 2400,
        }
    }
}

/// How VehicleID is counted. Say which with every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VehicleIdCount {
    /// The whole list is one set, each row searching all others: metric-learning papers, the cross-batch memory's too.
    OneSet,
    /// One random row of each vehicle makes the gallery, all other rows are queries, averaged over draws: papers on
    /// re-identification. Far harder: a query has one positive.
    OneGalleryRow {
        /// How many galleries are drawn. Papers take 10.
        draws: usize,
        /// Fixes the draws.
        seed: u64,
    },
}

/// The trials of a VehicleID test list.
///
/// # Errors
///
/// [`Error::Identities`] if the labels are not those of the set: 800, 1,600 or 2,400 vehicles.
pub fn vehicle_id(
    labels: &[u32],
    set: VehicleIdSet,
    count: VehicleIdCount,
) -> Result<Vec<Trial>, Error> {
    let (expected, found) = (set.identities(), by_label(labels).len());
    if found != expected {
        return Err(Error::Identities { expected, found });
    }
    Ok(match count {
        VehicleIdCount::OneSet => vec![leave_one_out(labels.len())],
        VehicleIdCount::OneGalleryRow { draws, seed } => one_gallery_row(labels, draws, seed),
    })
}

/// `draws` trials: in each, one random row of every label makes the gallery and the others are queries.
///
/// The only row of a label is always in the gallery. Galleries ascend by label.
pub fn one_gallery_row(labels: &[u32], draws: usize, seed: u64) -> Vec<Trial> {
    let groups = by_label(labels);
    let trial = |draw: usize| {
        let mut random = Random::new(seed, draw as u64);
        let gallery: Vec<u32> = groups.iter().map(|rows| rows[random.below(rows.len())]).collect();
        let mut drawn = vec![false; labels.len()];
        gallery.iter().for_each(|&row| drawn[row as usize] = true);
        let queries = (0..).zip(&drawn).filter(|(_, drawn)| !**drawn).map(|(row, _)| row).collect();
        Trial { queries, gallery, exclude: Exclude::Nothing }
    };
    (0..draws).map(trial).collect()
}

/// The rows of each label, ascending.
fn by_label(labels: &[u32]) -> Vec<Vec<u32>> {
    let mut order: Vec<u32> = (0..labels.len() as u32).collect();
    let label = |row: u32| labels[row as usize];
    order.sort_by_key(|&row| label(row));
    order.chunk_by(|&a, &b| label(a) == label(b)).map(<[u32]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vehicle_has_one_row_in_the_gallery() {
        let labels = [4, 9, 4, 4, 7, 9];
        let trials = one_gallery_row(&labels, 200, 3);
        let mut seen = [0; 6];
        for trial in &trials {
            let found: Vec<u32> = trial.gallery.iter().map(|&row| labels[row as usize]).collect();
            assert_eq!(found, [4, 7, 9]);
            trial.gallery.iter().for_each(|&row| seen[row as usize] += 1);
            let mut all = [trial.queries.clone(), trial.gallery.clone()].concat();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3, 4, 5]);
        }
        assert_eq!(seen[4], 200);
        assert!([0, 2, 3].iter().all(|&row| (40..95).contains(&seen[row])), "{seen:?}");
        assert_eq!(trials, one_gallery_row(&labels, 200, 3));
        assert_ne!(trials, one_gallery_row(&labels, 200, 4));
    }

    #[test]
    fn lists_of_another_size_are_refused() {
        let labels: Vec<u32> = (0..1600).map(|row| row / 2).collect();
        let draws = VehicleIdCount::OneGalleryRow { draws: 2, seed: 0 };
        let trials = vehicle_id(&labels, VehicleIdSet::Small, draws).unwrap();
        assert_eq!((trials.len(), trials[0].gallery.len()), (2, 800));
        let one = vehicle_id(&labels, VehicleIdSet::Small, VehicleIdCount::OneSet).unwrap();
        assert_eq!((one.len(), one[0].queries.len()), (1, 1600));
        let found = vehicle_id(&labels, VehicleIdSet::Large, VehicleIdCount::OneSet);
        assert_eq!(found, Err(Error::Identities { expected: 2400, found: 800 }));
    }
}

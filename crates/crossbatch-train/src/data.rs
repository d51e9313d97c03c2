//! From a recipe's `[data]` to images in memory.

use crossbatch_data::{
    self as data, DataConfig, Dataset, ImageSpec, Images, Protocol, Role, Split,
};

use crate::{error::Error, events::Observer, recipe::Recipe};

/// A recipe's data set and its decoded parts.
#[derive(Debug)]
pub struct TrainingData {
    /// The data set.
    pub dataset: Dataset,
    /// Training images.
    pub train: LoadedSplit,
    /// Validation images, where classes are held out.
    pub validation: Option<LoadedSplit>,
    /// Test images.
    pub test: LoadedSplit,
}

/// The readable images of one split, with dense labels.
#[derive(Debug)]
pub struct LoadedSplit {
    /// The images.
    pub images: Images,
    /// Class of each image, dense within the split.
    pub labels: Vec<u32>,
    /// Number of classes.
    pub classes: usize,
    /// Hash of the images' names and labels, in order: equal for equal data.
    pub fingerprint: String,
    /// Who searches whom.
    pub search: Search,
}

/// Who searches whom among the images of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Search {
    /// Every image searches all others.
    All,
    /// Some images search others, as the data set says: positions of both.
    QueryGallery {
        /// Images that search.
        queries: Vec<u32>,
        /// Images that are searched.
        gallery: Vec<u32>,
    },
    /// One random image of each class makes the gallery: the mean of several draws.
    OneGallery {
        /// Where the draws come from.
        seed: u64,
    },
}

/// How images of this recipe become network input: what the recipe says, else what fits the data.
pub fn image_spec(recipe: &Recipe, kind: data::Kind) -> ImageSpec {
    let ink = kind.ink_on_paper();
    let channels = recipe.data.channels.unwrap_or(if ink { 1 } else { 3 });
    let invert = recipe.data.invert.unwrap_or(ink);
    ImageSpec {
        fit: recipe.images.fit(),
        filter: recipe.images.filter,
        normalise: recipe.images.normalise(),
        decode: recipe.images.decode(),
        ..ImageSpec::new(recipe.data.image_size, channels, invert)
    }
}

/// Names of the classes of some samples, in the order of [`LoadedSplit`]'s dense labels.
pub fn class_names(dataset: &Dataset, indices: &[usize]) -> Vec<String> {
    let mut classes: Vec<u32> = indices.iter().map(|&index| dataset.samples[index].class).collect();
    classes.sort_unstable();
    classes.dedup();
    classes.into_iter().map(|class| dataset.classes[class as usize].clone()).collect()
}

/// The data set that a recipe names.
pub fn data_config(recipe: &Recipe) -> DataConfig {
    let data = recipe.data.clone();
    DataConfig {
        path: data.path,
        kind: data.kind,
        train_list: data.train_list,
        test_list: data.test_list,
        columns: data.columns,
        test_fraction: data.test_fraction,
        validation: data.validation,
        folds: data.folds,
        fold: data.fold,
        split_seed: data.split_seed,
        protocol: data.protocol,
        subset: data.subset,
        rotations: data.rotations,
        expected: data.expected,
        images: true,
        glyphs: data.glyphs,
    }
}

impl TrainingData {
    /// Opens the recipe's data set and says what was recognised.
    ///
    /// # Errors
    ///
    /// What [`crossbatch_data::open`] says.
    pub fn open(recipe: &Recipe, observer: &dyn Observer) -> Result<Dataset, Error> {
        let dataset = data::open(&data_config(recipe))?;
        Self::tell(&dataset, observer);
        Ok(dataset)
    }

    /// The same where its images may be missing: then it opens from its lists alone, which is said.
    ///
    /// # Errors
    ///
    /// What [`crossbatch_data::open`] says of the lists.
    pub fn open_lists(recipe: &Recipe, observer: &dyn Observer) -> Result<Dataset, Error> {
        let config = data_config(recipe);
        let dataset = match data::open(&config) {
            Err(missing @ data::Error::ListMissing { .. }) => {
                observer.warn(&format!("{missing}. This is from the lists alone"));
                data::open(&DataConfig { images: false, ..config })?
            }
            opened => opened?,
        };
        Self::tell(&dataset, observer);
        Ok(dataset)
    }

    fn tell(dataset: &Dataset, observer: &dyn Observer) {
        observer.note(&format!("data: {}", dataset.description));
        for warning in &dataset.warnings {
            observer.warn(warning);
        }
    }

    /// Opens the recipe's data set and decodes all of it once.
    ///
    /// # Errors
    ///
    /// If the data set cannot be opened, or nothing of a split can be read. Single unreadable images
    /// are left out with a counted warning.
    pub fn load(recipe: &Recipe, observer: &dyn Observer) -> Result<Self, Error> {
        let dataset = Self::open(recipe, observer)?;
        let spec = image_spec(recipe, dataset.kind);
        let load =
            |split| LoadedSplit::load(&dataset, split, spec, recipe.data.cache_mib, observer);
        let train = load(Split::Train)?;
        let has_validation = !dataset.indices(Split::Validation).is_empty();
        let validation = if has_validation { Some(load(Split::Validation)?) } else { None };
        let test = load(Split::Test)?;
        Ok(Self { dataset, train, validation, test })
    }
}

impl LoadedSplit {
    /// Decodes the images of one split.
    ///
    /// # Errors
    ///
    /// If none of them can be read.
    pub fn load(
        dataset: &Dataset,
        split: Split,
        spec: ImageSpec,
        cache_mib: usize,
        observer: &dyn Observer,
    ) -> Result<Self, Error> {
        let name = match split {
            Split::Train => "training",
            Split::Validation => "validation",
            Split::Test => "test",
        };
        let stage = format!("reading {name} images");
        let progress = |done, total| observer.progress(&stage, done, total);
        let indices = dataset.indices(split);
        let (images, unreadable) =
            data::load(dataset, &indices, spec, cache_mib.saturating_mul(1 << 20), &progress)?;
        let describe = |image: &data::Unreadable| format!("{} ({})", image.name, image.reason);
        if images.is_empty() {
            let first = unreadable.first().map_or_else(|| "there is none".to_owned(), describe);
            return Err(Error::NothingReadable {
                split: name,
                data: dataset.description.clone(),
                first,
            });
        }
        if !unreadable.is_empty() {
            let shown: Vec<String> = unreadable.iter().take(3).map(describe).collect();
            let more = if unreadable.len() > shown.len() { ", …" } else { "" };
            observer.warn(&format!(
                "left out {} unreadable {name} image(s): {}{more}",
                unreadable.len(),
                shown.join(", "),
            ));
        }
        let (labels, classes) = dense(&images.labels());
        let names = images.sample_indices().iter().map(|&index| &dataset.samples[index].name[..]);
        let fingerprint = fingerprint(names.zip(&labels));
        let search = Search::of(dataset, split, images.sample_indices());
        Ok(Self { images, labels, classes, fingerprint, search })
    }
}

impl Search {
    /// Of the samples that could be read. Classes held out of training have no roles and are searched by `All`.
    fn of(dataset: &Dataset, split: Split, samples: &[usize]) -> Self {
        let with = |role: Role| {
            let own = samples.iter().map(|&index| dataset.samples[index].role);
            (0u32..)
                .zip(own)
                .filter(|(_, own)| *own == role)
                .map(|(position, _)| position)
                .collect()
        };
        match (split, dataset.protocol) {
            (Split::Test, Protocol::QueryGallery) => {
                Self::QueryGallery { queries: with(Role::Query), gallery: with(Role::Gallery) }
            }
            (Split::Test, Protocol::OneGallery) => Self::OneGallery { seed: 0 },
            _ => Self::All,
        }
    }
}

/// FNV-1a over names and labels. It only has to notice changes, not to withstand an attacker.
fn fingerprint<'a>(rows: impl Iterator<Item = (&'a str, &'a u32)>) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for (name, label) in rows {
        for byte in name.bytes().chain([0]).chain(label.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

/// Classes renumbered `0..n` in ascending order.
pub(crate) fn dense(classes: &[u32]) -> (Vec<u32>, usize) {
    let mut distinct = classes.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let dense = |class| distinct.partition_point(|&other| other < class) as u32;
    (classes.iter().map(|&class| dense(class)).collect(), distinct.len())
}

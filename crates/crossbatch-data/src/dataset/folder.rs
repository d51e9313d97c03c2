//! `DIR/CLASS/…/IMAGE`: the first level of folders are the classes.

use std::path::Path;

use crate::dataset::split::split_classes;
use crate::dataset::walk::{Found, children, is_image, name_below};
use crate::dataset::{DataConfig, Dataset, ImageSource, Kind, Sample, Split};
use crate::error::Error;

pub(crate) fn open(path: &Path, config: &DataConfig) -> Result<Dataset, Error> {
    let mut dataset = Dataset::new(Kind::Folder);
    let (folders, files) = children(path)?;
    if folders.is_empty() && files.is_empty() {
        return Err(Error::EmptyFolder { path: path.to_owned() });
    }
    let mut odd = Found::default();
    let mut bare = Vec::new();
    for folder in &folders {
        let mut found = Found::default();
        found.walk(folder)?;
        odd.odd.append(&mut found.odd);
        if found.images.is_empty() {
            bare.push(name_below(path, folder));
            continue;
        }
        let class = dataset.classes.len() as u32;
        dataset.classes.push(name_below(path, folder));
        dataset.samples.extend(found.images.into_iter().map(|file| {
            let name = name_below(path, &file);
            Sample::new(name, class, Split::Train, ImageSource::File(file))
        }));
    }
    if dataset.samples.is_empty() {
        return Err(Error::NoImages { path: path.to_owned() });
    }
    let loose = files.iter().filter(|file| is_image(file)).count();
    if loose > 0 {
        dataset.warnings.push(format!(
            "{loose} image(s) lie in {} itself, in no class folder, and were left out",
            path.display()
        ));
    }
    if let Some(first) = bare.first() {
        dataset.warnings.push(format!(
            "{} folder(s) hold no image and are no class, first {first}",
            bare.len()
        ));
    }
    dataset.warnings.extend(odd.odd_warning());
    split_classes(&mut dataset, config.test_fraction, config.split_seed);
    dataset.description = format!("class folders in {}: {}", path.display(), dataset.counts());
    Ok(dataset)
}

//! The images that a command line names, and what they are called.

use std::path::{Path, PathBuf};

use anyhow::bail;
use crossbatch_data::{Error, Kind, Listed, list_images};

/// One image to embed.
pub(crate) struct Item {
    /// Where its pixels are.
    pub(crate) listed: Listed,
    /// The path as typed; in the only folder or list that was given, the path below that.
    pub(crate) name: String,
    /// What a list says, or a folder below the one that was given.
    pub(crate) label: Option<String>,
}

/// All images at some paths: files, folders (recursive, sorted) and lists, in the order given.
///
/// Folders are labels as in the data that the network was trained on: below the folder given, the first
/// one, or for Omniglot the path of the last one (alphabet and character).
pub(crate) fn gather(paths: &[PathBuf], kind: Option<Kind>) -> anyhow::Result<Vec<Item>> {
    let mut items = Vec::new();
    for path in paths {
        if !path.exists() {
            bail!(
                "there is nothing at {}; give images, folders of images, or list files (lines `path,label`)",
                path.display()
            );
        }
        let in_folder = path.is_dir();
        let found = match list_images(path) {
            Err(Error::NotADataset { .. }) if in_folder => bail!(
                "there is no image in {}; expected png, jpg, jpeg, webp, bmp or gif (images in a zip are found through a list beside it)",
                path.display()
            ),
            Err(Error::NotADataset { expected, .. }) => {
                bail!("cannot read {}: {expected}", path.display())
            }
            found => found?,
        };
        for listed in found {
            // Below several folders the same name may occur twice; the path as typed is unique.
            let name = if paths.len() == 1 && listed.path != *path {
                listed.name.clone()
            } else {
                listed.path.strip_prefix(".").unwrap_or(&listed.path).display().to_string()
            };
            let label = match kind {
                _ if !in_folder => listed.label.clone(),
                Some(Kind::Omniglot) => listed.name.rsplit_once('/').map(|(path, _)| path.into()),
                _ => listed.name.split_once('/').map(|(first, _)| first.into()),
            };
            items.push(Item { listed, name, label });
        }
    }
    Ok(items)
}

/// What two paths of one image have in common: where it really is. An image in a zip is below the
/// zip's real path.
pub(crate) fn identity(path: &Path) -> PathBuf {
    let real = path.ancestors().find_map(|above| {
        let below = path.strip_prefix(above).ok()?;
        Some(fs_err::canonicalize(above).ok()?.join(below))
    });
    real.unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, b"").unwrap();
        }
        folder
    }

    #[test]
    fn sub_folders_are_labels_and_one_folder_is_left_out_of_names() {
        let folder = folder_with(&["b/deep/2.png", "a/1.png", "loose.png", "b/notes.txt"]);
        let found = |kind| {
            let items = gather(&[folder.path().to_owned()], kind).unwrap().into_iter();
            items.map(|item| (item.name, item.label)).collect::<Vec<_>>()
        };
        let pair = |name: &str, label: &str| (name.to_owned(), Some(label.to_owned()));
        let loose = || ("loose.png".to_owned(), None);
        let expected = [pair("a/1.png", "a"), pair("b/deep/2.png", "b"), loose()];
        assert_eq!(found(Some(Kind::Folder)), expected);
        let expected = [pair("a/1.png", "a"), pair("b/deep/2.png", "b/deep"), loose()];
        assert_eq!(found(Some(Kind::Omniglot)), expected);
    }

    #[test]
    fn several_arguments_keep_their_paths_and_repeats() {
        let folder = folder_with(&["a/1.png"]);
        let file = folder.path().join("a/1.png");
        let items = gather(&[file.clone(), folder.path().to_owned(), file.clone()], None).unwrap();
        assert!(items.iter().all(|item| item.name == file.display().to_string()));
        assert_eq!(items.len(), 3);
        assert_eq!(items[1].label.as_deref(), Some("a"));
    }

    #[test]
    fn one_image_has_one_identity() {
        let folder = folder_with(&["a/1.png", "x.zip"]);
        let path = |name: &str| folder.path().join(name);
        assert_eq!(identity(&path("a/1.png")), identity(&path("a/../a/./1.png")));
        assert_eq!(identity(&path("x.zip/in/1.png")), identity(&path("a/../x.zip/in/1.png")));
        assert_ne!(identity(&path("a/1.png")), identity(&path("a/2.png")));
    }
}

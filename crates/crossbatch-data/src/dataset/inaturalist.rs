//! iNaturalist 2018 with class-disjoint lists: one path a line, whose two last folders are the class.
//!
//! Van Horn et al., CVPR 2018; the lists are those of Brown, Xie, Kalogeiton, Zisserman, "Smooth-AP", ECCV 2020.

use crate::dataset::builder::{Builder, Record, compare, strangers};
use crate::dataset::findings::Findings;
use crate::dataset::root::Root;
use crate::dataset::text::{fault, lines};
use crate::dataset::{DataConfig, Dataset, Kind, Role, Split};
use crate::error::Error;

const LISTS: [(Split, &[&str]); 2] = [
    (
        Split::Train,
        &["Inaturalist_train_set1.txt", "Inat_dataset_splits/Inaturalist_train_set1.txt"],
    ),
    (Split::Test, &["Inaturalist_test_set1.txt", "Inat_dataset_splits/Inaturalist_test_set1.txt"]),
];
/// As the paper counts them.
const FULL: [(Split, usize, usize); 2] =
    [(Split::Train, 5_690, 325_846), (Split::Test, 2_452, 136_093)];
const RECORD: &str = "a path `train_val2018/SUPERCLASS/CLASS/IMAGE.jpg`";

pub(crate) fn fits(root: &Root) -> bool {
    LISTS.iter().any(|(_, names)| root.file(names).is_some())
}

pub(crate) fn open(
    root: &Root,
    config: &DataConfig,
    findings: &mut Findings,
) -> Result<Dataset, Error> {
    let prefixes = ["", "train_val2018/"];
    let columns = ["superclass"];
    let mut builder =
        Builder::new(Kind::INaturalist, root, &prefixes, &columns, config.images, RECORD);
    for (split, names) in LISTS {
        let Some(list) = root.text(names)? else {
            findings.fault(Error::NoList { path: root.path().to_owned(), list: names[0] });
            continue;
        };
        for line in lines(&list.path, &list.bytes, RECORD, findings) {
            let parts: Vec<&str> = line.text.split('/').collect();
            let [.., superclass, class, _] = parts[..] else {
                let what = "no two folders above the image";
                findings.fault(fault(&list.path, line.number, line.text, what, RECORD));
                continue;
            };
            builder.add(
                &Record {
                    place: (&list.path, line.number),
                    path: line.text,
                    class: &format!("{superclass}/{class}"),
                    split,
                    role: Role::Both,
                    region: None,
                    groups: &[superclass],
                },
                findings,
            );
        }
    }
    let dataset = builder.finish("iNaturalist 2018", findings);
    compare(&dataset, &FULL, findings);
    strangers(root, |name| LISTS.iter().any(|(_, names)| names.contains(&name)), findings);
    Ok(dataset)
}

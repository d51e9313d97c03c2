//! Stanford Online Products: `image_id class_id super_class_id path`, apart by one blank.
//!
//! Song, Xiang, Jegelka, Savarese, "Deep Metric Learning via Lifted Structured Feature Embedding", CVPR 2016.

use std::collections::HashMap;

use crate::dataset::builder::{Builder, Record, compare, strangers};
use crate::dataset::findings::Findings;
use crate::dataset::root::Root;
use crate::dataset::text::{fault, lines};
use crate::dataset::{DataConfig, Dataset, Kind, Role, Split};
use crate::error::Error;

const LISTS: [(Split, &[&str]); 2] = [
    (Split::Train, &["Ebay_train.txt", "Stanford_Online_Products/Ebay_train.txt"]),
    (Split::Test, &["Ebay_test.txt", "Stanford_Online_Products/Ebay_test.txt"]),
];
const FULL: [(Split, usize, usize); 2] =
    [(Split::Train, 11_318, 59_551), (Split::Test, 11_316, 60_502)];
const RECORD: &str = "`image_id class_id super_class_id path`, apart by blanks";

pub(crate) fn fits(root: &Root) -> bool {
    root.file(LISTS[0].1).is_some() || root.file(LISTS[1].1).is_some()
}

pub(crate) fn open(
    root: &Root,
    config: &DataConfig,
    findings: &mut Findings,
) -> Result<Dataset, Error> {
    let prefixes = ["", "Stanford_Online_Products/"];
    let mut builder =
        Builder::new(Kind::Sop, root, &prefixes, &["category"], config.images, RECORD);
    for (split, names) in LISTS {
        let Some(list) = root.text(names)? else {
            findings.fault(Error::NoList { path: root.path().to_owned(), list: names[0] });
            continue;
        };
        let mut ids = HashMap::new();
        for line in lines(&list.path, &list.bytes, RECORD, findings) {
            if line.text.starts_with("image_id") {
                continue;
            }
            let bad = |what: &str| fault(&list.path, line.number, line.text, what, RECORD);
            let fields = line.fields();
            let &[image, class, category, path] = fields.as_slice() else {
                findings.fault(bad(&format!("{} fields", fields.len())));
                continue;
            };
            if [image, class, category].iter().any(|id| id.parse::<u32>().is_err()) {
                findings.fault(bad("an id that is no number"));
                continue;
            }
            let &mut (first, text) = ids.entry(image).or_insert((line.number, line.text));
            // A repeated row is a note, of the builder's; another image under the id is not.
            if text != line.text {
                findings.fault(bad(&format!("image id {image} is that of line {first} too")));
                continue;
            }
            // The folder tells more than the number.
            let folder = path.split('/').next().unwrap_or_default();
            let category = folder.strip_suffix("_final").unwrap_or(folder);
            builder.add(
                &Record {
                    place: (&list.path, line.number),
                    path,
                    class,
                    split,
                    role: Role::Both,
                    region: None,
                    groups: &[category],
                },
                findings,
            );
        }
    }
    let dataset = builder.finish("Stanford Online Products", findings);
    compare(&dataset, &FULL, findings);
    let known = ["Ebay_train.txt", "Ebay_test.txt", "Ebay_info.txt", "train.txt", "test.txt"];
    strangers(root, |name| known.contains(&name), findings);
    Ok(dataset)
}

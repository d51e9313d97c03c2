//! PKU VehicleID: `image vehicle`, the image without its ending and with its leading zeros.
//!
//! Liu, Tian, Yang, Wang, Huang, "Deep Relative Distance Learning", CVPR 2016. The distributed lists do not
//! have as many images as papers say; rows are counted.

use std::path::PathBuf;

use crate::dataset::builder::{Builder, Record, strangers};
use crate::dataset::findings::Findings;
use crate::dataset::root::{Root, Text};
use crate::dataset::text::{fault, lines};
use crate::dataset::{DataConfig, Dataset, Kind, Protocol, Role, Split, Subset};
use crate::error::Error;

const TRAIN: [&str; 2] = ["train_test_split/train_list.txt", "train_list.txt"];
const RECORD: &str = "`image vehicle`, two numbers apart by a blank";

impl Subset {
    /// Vehicles of the test list.
    fn vehicles(self) -> usize {
        match self {
            Self::Small => 800,
            Self::Medium => 1600,
            Self::Large => 2400,
        }
    }

    fn lists(self) -> [&'static str; 2] {
        match self {
            Self::Small => ["train_test_split/test_list_800.txt", "test_list_800.txt"],
            Self::Medium => ["train_test_split/test_list_1600.txt", "test_list_1600.txt"],
            Self::Large => ["train_test_split/test_list_2400.txt", "test_list_2400.txt"],
        }
    }
}

const SUBSETS: [Subset; 3] = [Subset::Small, Subset::Medium, Subset::Large];

pub(crate) fn fits(root: &Root) -> bool {
    SUBSETS.iter().any(|subset| root.file(&subset.lists()).is_some())
}

/// The training list by its official name; else a file whose name starts so.
fn train_list(root: &Root) -> Result<Option<Text>, Error> {
    let path = root.file(&TRAIN);
    let path = path.or_else(|| root.files_like("train_list", ".txt").into_iter().next());
    match path {
        Some(path) => Ok(Some(Text { bytes: fs_err::read(&path)?, path })),
        None => root.text(&TRAIN),
    }
}

pub(crate) fn open(
    root: &Root,
    config: &DataConfig,
    findings: &mut Findings,
) -> Result<Dataset, Error> {
    if config.protocol == Some(Protocol::QueryGallery) {
        return Err(Error::Setting {
            key: "data.protocol",
            value: "query-gallery".to_owned(),
            expected: "`all` or `one-gallery`; VehicleID's lists do not say who is in the gallery"
                .to_owned(),
        });
    }
    let prefixes = ["image/", "VehicleID_V1.0/image/", ""];
    let mut builder = Builder::new(Kind::VehicleId, root, &prefixes, &[], config.images, RECORD);
    let train = train_list(root)?;
    let test = root.text(&config.subset.lists())?;
    let lists = [(Split::Train, train, TRAIN[1]), (Split::Test, test, config.subset.lists()[1])];
    let mut used: Vec<PathBuf> = Vec::new();
    for (split, list, name) in lists {
        let Some(list) = list else {
            findings.fault(Error::NoList { path: root.path().to_owned(), list: name });
            continue;
        };
        if list.path.file_name() != Some(name.as_ref()) {
            findings
                .note(format!("the training list is called {}, not {name}", list.path.display()));
        }
        for line in lines(&list.path, &list.bytes, RECORD, findings) {
            let fields = line.fields();
            let bad = |what: String| fault(&list.path, line.number, line.text, what, RECORD);
            let &[image, vehicle] = fields.as_slice() else {
                findings.fault(bad(format!("{} fields", fields.len())));
                continue;
            };
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            if !digits(image) || !digits(vehicle) {
                findings.fault(bad("an id that is no number".to_owned()));
                continue;
            }
            builder.add(
                &Record {
                    place: (&list.path, line.number),
                    path: &format!("{image}.jpg"),
                    class: vehicle,
                    split,
                    role: Role::Both,
                    region: None,
                    groups: &[],
                },
                findings,
            );
        }
        used.push(list.path);
    }
    let subset = config.subset;
    let mut dataset = builder.finish(&format!("VehicleID with the {subset} test list"), findings);
    dataset.protocol = config.protocol.unwrap_or(Protocol::All);
    let vehicles = dataset.class_count(Split::Test);
    if vehicles != subset.vehicles() {
        findings
            .note(format!("{vehicles} test vehicles; the {subset} list has {}", subset.vehicles()));
    }
    let trained = dataset.class_count(Split::Train);
    if trained != 13_134 {
        findings.note(format!("{trained} training vehicles; the full list has 13134"));
    }
    let known =
        |name: &str| name.starts_with("test_list_") || used.iter().any(|own| own.ends_with(name));
    strangers(root, known, findings);
    Ok(dataset)
}

//! Every loss and miner by its name: options, pages, checks.

use burn::tensor::Device;
use crossbatch::{
    ContrastiveLoss, LossConfig, LossKind, MinerConfig, MinerKind, PairTerm, Pairs, Reduction,
    Rows, SupConLoss, TripletLoss,
};

use crate::common::{matrix, numbers, unit, values};

const HEADINGS: [&str; 7] = [
    "# Shapes",
    "# Defaults",
    "# With a memory",
    "# Panics",
    "# Example",
    "# References",
    "```rust",
];

fn check_page(page: &str, options: &serde_json::Value, name: &str) {
    let first = page.lines().next().unwrap();
    assert!(first.ends_with('.') && first.len() < 121, "{name}: {first}");
    for heading in HEADINGS {
        assert!(page.lines().any(|line| line == heading), "{name} has no {heading}");
    }
    assert!(page.contains("\n# Equation\n") || page.contains("\n# Selects\n"), "{name}");
    for key in options.as_object().unwrap().keys().filter(|key| *key != "kind") {
        assert!(page.contains(&format!("`{key}`")), "the page of {name} says nothing of {key}");
    }
}

#[test]
fn every_loss_has_a_page_and_reads_back() {
    for &kind in LossKind::ALL {
        let config = kind.config();
        assert_eq!(config.loss().name(), kind.name());
        assert_eq!(LossKind::from_name(kind.name()), Some(kind));
        config.loss().check().unwrap();
        let table = serde_json::to_value(&config).unwrap();
        check_page(kind.page(), &table, kind.name());
        assert_eq!(serde_json::from_value::<LossConfig>(table).unwrap(), config);
        assert!(kind.page().starts_with(kind.summary()));
    }
    assert_eq!(LossKind::from_name("infonce"), Some(LossKind::NtXent));
}

#[test]
fn every_miner_has_a_page_and_reads_back() {
    for &kind in MinerKind::ALL {
        let config = kind.config();
        assert_eq!(config.miner().name(), kind.name());
        config.miner().check().unwrap();
        let table = serde_json::to_value(&config).unwrap();
        check_page(kind.page(), &table, kind.name());
        assert_eq!(serde_json::from_value::<MinerConfig>(table).unwrap(), config);
    }
}

#[test]
fn unknown_options_are_refused_and_ranges_checked() {
    let read = |text: &str| toml::from_str::<LossConfig>(text);
    let error = read("kind = \"contrastive\"\nbeta = 3").unwrap_err().to_string();
    assert!(error.contains("unknown field `beta`") && error.contains("`margin`"), "{error}");
    assert!(read("kind = \"contrastiv\"").unwrap_err().to_string().contains("`contrastive`"));

    let check = |text: &str| read(text).unwrap().loss().check().unwrap_err().to_string();
    assert_eq!(
        check("kind = \"nt-xent\"\ntemperature = 0"),
        "cannot use `temperature = 0`: expected a number above 0"
    );
    // A distance turns the margins round.
    let text = "kind = \"contrastive\"\nform = \"hinge\"\nsimilarity = \"euclidean\"";
    let error = check(text);
    assert!(error.starts_with("cannot use `positive-margin = 1`"), "{error}");
    read(&format!("{text}\nmargin = 1\npositive-margin = 0")).unwrap().loss().check().unwrap();
    let text =
        "kind = \"contrastive\"\nsimilarity = \"euclidean\"\nmargin = 1\npositive-margin = 0";
    assert!(check(text).contains("\"hinge\""));
}

#[test]
fn miners_that_do_not_fit_are_refused_beforehand() {
    let term = |loss: LossConfig, miner: MinerConfig| {
        let mut term = PairTerm::shared(loss.build());
        term.miners.push(miner.build());
        term.check().map_err(|error| error.to_string())
    };
    let read = |text: &str| toml::from_str::<MinerConfig>(text).unwrap();
    let triplets = LossConfig::Triplet(TripletLoss::default());
    let error = term(triplets.clone(), MinerKind::PairMargin.config()).unwrap_err();
    assert!(error.contains("miners = pair-margin") && error.contains("`triplets`"), "{error}");
    let easy = read("kind = \"triplets\"\ntriplets = \"easy\"");
    assert!(term(triplets.clone(), easy.clone()).is_err());
    assert!(term(LossConfig::Contrastive(ContrastiveLoss::default()), easy).is_ok());
    let other = read("kind = \"triplets\"\ntriplets = \"semi-hard\"\nmargin = 0.3");
    assert!(term(triplets, other).is_err());
}

/// Whatever the loss, the reduction and the miner, a batch without negatives, without positives, or of one image gives a
/// number, and a gradient of numbers.
#[test]
fn degenerate_batches_give_numbers() {
    let device = Device::flex().autodiff();
    for &kind in LossKind::ALL {
        for labels in [&[0, 0, 0][..], &[0, 1, 2], &[0]] {
            for miner in [None, Some(MinerKind::TopK), Some(MinerKind::DistanceWeighted)] {
                let mut term =
                    PairTerm::shared(kind.config().build()).with_reduction(Reduction::PairMean);
                term.miners.extend(miner.map(|miner| miner.config().build()));
                let ids: Vec<u32> = (0..labels.len() as u32).collect();
                let leaf = matrix(&unit(numbers(labels.len() * 4, 9), 4), 4, &device);
                let leaf = leaf.require_grad();
                let pairs = Pairs::within_batch(leaf.clone(), Rows { labels, ids: &ids });
                let parameters = term.loss.initial_parameters(3);
                let parameters = (!parameters.is_empty())
                    .then(|| burn::tensor::Tensor::<1>::from_data(&parameters[..], &device));
                let value = term.evaluate(&pairs, parameters.as_ref()).value;
                let what = format!("{kind}, {labels:?}, {miner:?}");
                assert!(values(value.clone())[0].is_finite(), "{what}");
                let gradients = (value + leaf.clone().sum() * 0.0).backward();
                let gradient = values(leaf.grad(&gradients).unwrap());
                assert!(gradient.iter().all(|value| value.is_finite()), "{what}: {gradient:?}");
            }
        }
    }
}

#[test]
fn an_anchor_without_a_positive_costs_supcon_nothing() {
    let embeddings = matrix(&[1.0, 0.0, 0.8, 0.6, 0.6, 0.8], 2, &Device::flex());
    let pairs = Pairs::within_batch(embeddings, Rows { labels: &[0, 0, 1], ids: &[0, 1, 2] });
    let value = |reduction| {
        let term = PairTerm::new(SupConLoss::default()).with_reduction(reduction);
        values(term.evaluate(&pairs, None).value)[0]
    };
    let (mean, sum) = (value(Reduction::PairMean), value(Reduction::Sum));
    assert!((mean * 2.0 - sum * 3.0).abs() < 1e-5, "{mean}, {sum}");
}

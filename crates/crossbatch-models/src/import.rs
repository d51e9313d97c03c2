//! Published weights: PyTorch files and safetensors, by PyTorch's names.

use std::{collections::BTreeMap, io::Read, path::Path};

use burn::store::pytorch_reader::{DType, PytorchReader};
use fs_err as fs;
use safetensors::{Dtype, SafeTensors};

use crate::{
    backbone::BackboneKind,
    embedder::{Embedder, EmbedderConfig},
    weights::{NamedTensor, StateDict, WeightsError},
};

/// What an import took, and what it did not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Tensors taken.
    pub taken: usize,
    /// Tensors of the file that belong to a classifier, a head or a counter and are not needed.
    pub left_out: Vec<String>,
    /// The first convolution, where the sum of its colour channels was taken.
    pub summed: Option<String>,
}

impl std::fmt::Display for ImportReport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} tensors taken", self.taken)?;
        if let Some(name) = &self.summed {
            write!(formatter, "; `{name}` summed over its colour channels")?;
        }
        match self.left_out.as_slice() {
            [] => Ok(()),
            names => write!(formatter, "; left out: {}", some_of(names)),
        }
    }
}

/// The names, the first dozen of them.
pub(crate) fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let shown = names.iter().take(SHOWN).map(|name| format!("`{name}`"));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Every tensor of a PyTorch file (`.pth`, `.pt`, of any age) or a safetensors file, as f32; counters (integers) are left
/// out. Which of them it is, its first bytes say.
///
/// Of a pickle nothing is ever executed: its instructions are interpreted by a reader that knows tensors and containers and
/// takes anything else for an opaque value.
///
/// # Errors
///
/// If the file cannot be read, is neither, is damaged, or holds a tensor that weights are not.
pub fn read_weights(path: &Path) -> Result<StateDict, WeightsError> {
    let mut start = [0; 9];
    let read = fs::File::open(path)?.read(&mut start)?;
    // A safetensors file: eight bytes of length, then the header's brace.
    if read == 9 && start[8] == b'{' && start[4..8] == [0; 4] {
        return from_any_safetensors(&fs::read(path)?);
    }
    let unreadable = |reason: String| WeightsError::PyTorch(reason);
    let file = PytorchReader::new(path).map_err(|error| unreadable(error.to_string()))?;
    let mut state = StateDict::new();
    let tensors: BTreeMap<_, _> = file.into_tensors().into_iter().collect();
    for (name, tensor) in tensors {
        let convert: fn(&[u8]) -> Vec<f32> = match tensor.dtype() {
            DType::F32 => f32s,
            DType::F64 => f64s,
            DType::F16 => f16s,
            DType::BF16 => bf16s,
            _ => continue,
        };
        let bytes = tensor.read().map_err(|error| unreadable(error.to_string()))?;
        let shape = tensor.shape().to_vec();
        state.insert(name, NamedTensor { shape, values: convert(&bytes) });
    }
    if state.is_empty() {
        return Err(unreadable("it holds no tensors of floating-point numbers".to_owned()));
    }
    Ok(state)
}

fn from_any_safetensors(bytes: &[u8]) -> Result<StateDict, WeightsError> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut state = StateDict::new();
    for (name, view) in file.tensors() {
        let convert: fn(&[u8]) -> Vec<f32> = match view.dtype() {
            Dtype::F32 => f32s,
            Dtype::F64 => f64s,
            Dtype::F16 => f16s,
            Dtype::BF16 => bf16s,
            Dtype::I64 | Dtype::I32 | Dtype::U8 | Dtype::BOOL => continue,
            dtype => return Err(WeightsError::Dtype { name, dtype }),
        };
        let shape = view.shape().to_vec();
        state.insert(name, NamedTensor { shape, values: convert(view.data()) });
    }
    Ok(state)
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

fn f64s(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32).collect()
}

fn f16s(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| half::f16::from_le_bytes(bytes).to_f32()).collect()
}

fn bf16s(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| half::bf16::from_le_bytes(bytes).to_f32()).collect()
}

/// What checkpoints put before a backbone's names.
const PREFIXES: [&str; 10] = [
    "",
    "backbone.",
    "model.",
    "module.",
    "state_dict.",
    "state_dict.module.",
    "model.module.",
    "model_state_dict.",
    "teacher.backbone.",
    "teacher.module.backbone.",
];

impl Embedder {
    /// This network with a backbone's published weights; pooling and head stay as they are.
    ///
    /// A checkpoint's usual prefixes (`state_dict.`, `module.`, …) are cut off. What belongs to a classifier is left out
    /// and reported. With `grey_from_colour`, a network for one channel takes the sum of the first convolution's three:
    /// what it gives for grey images is what the original gives for the same image in three equal channels.
    ///
    /// # Errors
    ///
    /// If a tensor is missing, not expected or of another shape: all of them are listed.
    pub fn import_backbone(
        self,
        config: &EmbedderConfig,
        state: &StateDict,
        grey_from_colour: bool,
    ) -> Result<(Self, ImportReport), WeightsError> {
        let kind = config.backbone;
        let own = self.state_dict();
        let expected: BTreeMap<&str, &NamedTensor> = own
            .iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix("backbone.")?, tensor)))
            .collect();
        let stem = kind.stem();
        let holds_stem = |prefix: &&str| state.contains_key(&format!("{prefix}{stem}"));
        let prefix = PREFIXES.into_iter().find(holds_stem).unwrap_or("");

        let mut report = ImportReport::default();
        let mut misfit = Misfit { backbone: kind.name(), ..Misfit::default() };
        let mut merged = own.clone();
        for (name, tensor) in state {
            let known =
                name.strip_prefix(prefix).and_then(|short| Some((short, expected.get(short)?)));
            let Some((short, expected)) = known else {
                let is_head =
                    is_left_out(kind, name.strip_prefix(prefix).unwrap_or(name), prefix, name);
                let list = if is_head { &mut report.left_out } else { &mut misfit.unexpected };
                list.push(name.clone());
                continue;
            };
            let mut tensor = tensor.clone();
            if short == stem && grey_from_colour && is_grey_of(expected, &tensor) {
                tensor = sum_of_channels(&tensor);
                report.summed = Some(name.clone());
            }
            if tensor.shape != expected.shape {
                let (found, wanted) = (&tensor.shape, &expected.shape);
                let hint = if short == stem && is_grey_of(expected, &tensor) {
                    "; `model.grey-from-colour = true` takes the sum over the colours"
                } else {
                    ""
                };
                misfit.shapes.push(format!("{name} is {found:?}, expected {wanted:?}{hint}"));
                continue;
            }
            report.taken += 1;
            merged.insert(format!("backbone.{short}"), tensor);
        }
        let given = |short: &&&str| state.contains_key(&format!("{prefix}{short}"));
        let missing = expected.keys().filter(|short| !given(short));
        misfit.missing = missing.map(|short| format!("{prefix}{short}")).collect();
        if !misfit.is_empty() {
            return Err(WeightsError::Import(Box::new(misfit)));
        }
        Ok((self.load_state_dict(&merged)?, report))
    }
}

/// Whether a tensor belongs to a classifier, to a checkpoint's other networks, or to our own pooling and head.
fn is_left_out(kind: BackboneKind, short: &str, prefix: &str, name: &str) -> bool {
    let of = |parts: &[&str]| parts.iter().any(|part| short.starts_with(part));
    let ours = prefix == "backbone."
        && ["head.", "norm.", "pool."].iter().any(|part| name.starts_with(part));
    of(kind.classifier()) || ours || short.ends_with("num_batches_tracked")
}

fn is_grey_of(expected: &NamedTensor, found: &NamedTensor) -> bool {
    let (wanted, found) = (&expected.shape, &found.shape);
    wanted.len() == 4
        && found.len() == 4
        && wanted[1] == 1
        && found[1] == 3
        && wanted[0] == found[0]
        && wanted[2..] == found[2..]
}

fn sum_of_channels(tensor: &NamedTensor) -> NamedTensor {
    let [filters, _, height, width] = tensor.shape[..] else { return tensor.clone() };
    let area = height * width;
    let values = tensor
        .values
        .chunks(3 * area)
        .flat_map(|filter| (0..area).map(|i| filter[i] + filter[area + i] + filter[2 * area + i]));
    NamedTensor { shape: vec![filters, 1, height, width], values: values.collect() }
}

/// Tensors that do not fit a backbone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Misfit {
    /// The backbone.
    pub backbone: &'static str,
    /// Names that the file lacks.
    pub missing: Vec<String>,
    /// Names that the backbone lacks.
    pub unexpected: Vec<String>,
    /// Tensors of another shape, with both.
    pub shapes: Vec<String>,
}

impl Misfit {
    fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.shapes.is_empty()
    }
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lists = [
            ("missing", &self.missing),
            ("not expected", &self.unexpected),
            ("of another shape", &self.shapes),
        ];
        let lists = lists.into_iter().filter(|(_, names)| !names.is_empty());
        let lists =
            lists.map(|(what, names)| format!("{what} ({}): {}", names.len(), some_of(names)));
        write!(
            formatter,
            "the weights are not those of `{}`; {}",
            self.backbone,
            lists.collect::<Vec<_>>().join("; ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn thin(channels: usize) -> (Embedder, EmbedderConfig) {
        let config = EmbedderConfig::new(BackboneKind::ResNet18, channels, 32, 4);
        (Embedder::thin_resnet(&config, 2, &Device::flex()), config)
    }

    fn file(name: &str) -> std::path::PathBuf {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/models/weights/");
        Path::new(folder).join(name)
    }

    #[test]
    fn files_that_pytorch_wrote_are_read_alike() {
        let expected = read_weights(&file("thin_resnet.safetensors")).unwrap();
        assert!(expected.len() > 60);
        for name in ["thin_resnet.pth", "thin_resnet_old.pth"] {
            assert_eq!(read_weights(&file(name)).unwrap(), expected, "{name}");
        }
        // Half precision, below `state_dict` and `module`, beside numbers and text.
        let half = read_weights(&file("thin_resnet_checkpoint.pth")).unwrap();
        for (name, tensor) in &expected {
            let found = &half[&format!("state_dict.module.{name}")];
            assert_eq!(found.shape, tensor.shape);
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-3 * b.abs() + 1e-7;
            assert!(found.values.iter().zip(&tensor.values).all(close), "{name}");
        }
    }

    #[test]
    fn a_backbone_takes_them_and_says_what_it_leaves() {
        for name in ["thin_resnet.safetensors", "thin_resnet_checkpoint.pth"] {
            let state = read_weights(&file(name)).unwrap();
            let (network, config) = thin(3);
            let head = network.state_dict()["head.weight"].clone();
            let (network, report) = network.import_backbone(&config, &state, false).unwrap();
            let loaded = network.state_dict();
            let prefix = if name.ends_with("pth") { "state_dict.module." } else { "" };
            assert_eq!(
                report.left_out,
                ["fc.bias", "fc.weight"].map(|name| format!("{prefix}{name}"))
            );
            assert_eq!(report.taken + 2, state.len());
            let of_file = &state[&format!("{prefix}layer3.0.downsample.1.running_var")];
            assert_eq!(&loaded["backbone.layer3.0.downsample.1.running_var"], of_file);
            assert_eq!(loaded["head.weight"], head);
        }
    }

    #[test]
    fn colours_are_summed_only_where_asked_for() {
        let state = read_weights(&file("thin_resnet.pth")).unwrap();
        let (network, config) = thin(1);
        let message =
            network.clone().import_backbone(&config, &state, false).unwrap_err().to_string();
        assert!(
            message.contains("conv1.weight is [2, 3, 7, 7], expected [2, 1, 7, 7]"),
            "{message}"
        );
        assert!(message.contains("model.grey-from-colour"), "{message}");
        let (network, report) = network.import_backbone(&config, &state, true).unwrap();
        assert_eq!(report.summed.as_deref(), Some("conv1.weight"));
        let (sum, colours) =
            (&network.state_dict()["backbone.conv1.weight"], &state["conv1.weight"]);
        assert_eq!(sum.values[50], colours.values[148] + colours.values[197] + colours.values[246]);
    }

    #[test]
    fn everything_that_does_not_fit_is_in_one_error() {
        let mut state = read_weights(&file("thin_resnet.pth")).unwrap();
        let tensor = state.remove("layer1.0.conv1.weight").unwrap();
        state.insert("layer1.0.conv9.weight".to_owned(), tensor);
        state.get_mut("bn1.bias").unwrap().shape = vec![2, 2];
        let (network, config) = thin(3);
        let message = network.import_backbone(&config, &state, false).unwrap_err().to_string();
        for part in [
            "not those of `resnet18`",
            "missing (1): `layer1.0.conv1.weight`",
            "not expected (1): `layer1.0.conv9.weight`",
            "of another shape (1): `bn1.bias is [2, 2], expected [2]`",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_pickle_is_never_run_and_damage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        // What `os.system` looks like in a pickle: an object that a class is called for.
        let marker = folder.path().join("ran");
        let command = format!("touch {}", marker.display());
        let pickle = format!("cos\nsystem\n(S'{command}'\ntR.");
        let path = folder.path().join("evil.pth");
        fs::write(&path, pickle).unwrap();
        assert!(read_weights(&path).is_err());
        assert!(!marker.exists());

        for name in ["thin_resnet.pth", "thin_resnet_old.pth", "thin_resnet.safetensors"] {
            let bytes = fs::read(file(name)).unwrap();
            for end in [0, 1, 8, 100, bytes.len() / 2, bytes.len() - 1] {
                fs::write(&path, &bytes[..end]).unwrap();
                assert!(read_weights(&path).is_err(), "{name} cut at {end}");
            }
        }
        assert!(read_weights(&folder.path().join("none.pth")).is_err());
    }
}

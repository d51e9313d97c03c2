//! Writes every backbone as ONNX, with images and the embeddings that it gives for them, for tests/onnx/check.py.
//!
//! ```sh
//! cargo run --release --example onnx -- DIR [BACKBONE…]
//! ```

use std::{collections::HashMap, path::PathBuf};

use burn::tensor::{Device, Distribution, Tensor};
use crossbatch_models::{
    BackboneKind, Embedder, EmbedderConfig, Mode, NamedTensor, Pooling, StateDict, to_safetensors,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("give the folder to write into")?);
    let names: Vec<String> = arguments.collect();
    fs_err::create_dir_all(&folder)?;
    let device = Device::flex();
    for kind in BackboneKind::ALL {
        if !names.is_empty() && !names.contains(&kind.to_string()) {
            continue;
        }
        let size = if kind.patch() == 14 { 70 } else { 64 };
        let mut config = EmbedderConfig::new(kind, 3, size, 32);
        config.head_norm = true;
        let poolings = [Pooling::Average, Pooling::Max, Pooling::Gem, Pooling::AverageMax];
        let usual = [config.pooling];
        // All of them on the smallest network, and the map of patches of a transformer.
        let poolings = match kind {
            BackboneKind::ResNet18 | BackboneKind::VitS16 => &poolings[..],
            _ => &usual[..],
        };
        for &pooling in poolings.iter().chain(&usual) {
            config.pooling = pooling;
            let embedder = Embedder::new(&config, 7, &device);
            // Running statistics that are not 0 and 1.
            let images = Tensor::<4>::random([8, 3, size, size], Distribution::Default, &device);
            embedder.forward(images.clone(), Mode::Train);
            let embeddings = embedder.forward(images.clone(), Mode::Inference);
            let name = format!("{kind}.{}", pooling.name());
            fs_err::write(folder.join(format!("{name}.onnx")), embedder.to_onnx(&config)?)?;
            let tensor = |shape: Vec<usize>, values: Vec<f32>| NamedTensor { shape, values };
            let state = StateDict::from([
                (
                    "images".to_owned(),
                    tensor(images.dims().to_vec(), images.into_data().try_to_vec()?),
                ),
                (
                    "embeddings".to_owned(),
                    tensor(embeddings.dims().to_vec(), embeddings.into_data().try_to_vec()?),
                ),
            ]);
            let file = folder.join(format!("{name}.safetensors"));
            fs_err::write(file, to_safetensors(&state, HashMap::new())?)?;
        }
    }
    Ok(())
}

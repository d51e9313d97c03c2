//! Options of a network: what is frozen, strides, poolings, channels, what does not go together.

use burn::tensor::{Device, Distribution, Tensor};
use crossbatch_models::{BackboneKind, Embedder, EmbedderConfig, Mode, Pooling};

fn images(config: &EmbedderConfig, device: &Device) -> Tensor<4> {
    let shape = [3, config.channels, config.size, config.size];
    Tensor::random(shape, Distribution::Normal(0.5, 0.5), device)
}

#[test]
fn frozen_stages_and_norms_get_no_gradient_and_keep_their_statistics() {
    let device = Device::flex().autodiff();
    for (kind, first, second) in [
        (BackboneKind::Conv4, "blocks.0.conv.weight", "blocks.1.conv.weight"),
        (BackboneKind::ResNet18, "conv1.weight", "layer1.0.conv1.weight"),
        (BackboneKind::GoogLeNet, "conv3.conv.weight", "inception3a.branch1.conv.weight"),
        (BackboneKind::MobileNetV3Small, "features.0.0.weight", "features.1.block.0.0.weight"),
    ] {
        let mut config = EmbedderConfig::new(kind, 3, 32, 4);
        config.frozen_stages = 1;
        let network = Embedder::new(&config, 0, &device);
        let before = network.state_dict();
        let loss = network.forward(images(&config, &device), Mode::Train).sum();
        let gradients = network.gradients(&loss.backward());
        assert!(!gradients.contains_key(&format!("backbone.{first}")), "{kind}");
        assert!(gradients.contains_key(&format!("backbone.{second}")), "{kind}");
        let after = network.state_dict();
        let changed: Vec<&String> =
            after.keys().filter(|name| after[*name] != before[*name]).collect();
        assert!(changed.iter().all(|name| name.contains("running_")), "{changed:?}");
        let of_first = |name: &str| {
            name.starts_with("backbone.bn1.")
                || name.contains("blocks.0.")
                || name.contains("conv1.bn")
                || name.contains("features.0.")
        };
        assert!(!changed.is_empty() && !changed.iter().any(|name| of_first(name)), "{changed:?}");

        config.frozen_stages = 0;
        config.frozen_norm = true;
        let network = Embedder::new(&config, 0, &device);
        let before = network.state_dict();
        let loss = network.forward(images(&config, &device), Mode::Train).sum();
        let gradients = network.gradients(&loss.backward());
        assert_eq!(network.state_dict(), before, "{kind}");
        assert!(gradients.contains_key(&format!("backbone.{first}")), "{kind}");
        assert!(
            gradients.keys().all(|name| !name.contains("bn") && !name.contains("norm")),
            "{kind}"
        );
        // Training is inference then.
        let images = images(&config, &device);
        let trained = network.forward(images.clone(), Mode::Train).into_data();
        trained.assert_approx_eq::<f32>(
            &network.forward(images, Mode::Inference).into_data(),
            burn::tensor::Tolerance::absolute(1e-6),
        );
    }
}

#[test]
fn every_backbone_takes_grey_and_colour_and_its_smallest_image() {
    let device = Device::flex();
    for kind in BackboneKind::ALL {
        // The large ones are made of the same parts.
        if kind.name().contains("b1") || kind == BackboneKind::ResNet101 {
            continue;
        }
        for channels in [1, 3] {
            let config = EmbedderConfig::new(kind, channels, kind.smallest_image(), 4);
            config.check().unwrap();
            let network = Embedder::blank(&config, &device);
            let embeddings = network.forward(images(&config, &device), Mode::Inference);
            assert_eq!(embeddings.dims(), [3, 4], "{kind}");
            assert!(network.cost(channels, config.size).forward_flops > 0);
        }
    }
}

#[test]
fn a_last_stride_of_one_keeps_the_map_twice_as_wide() {
    let mut config = EmbedderConfig::new(BackboneKind::ResNet18, 3, 64, 4);
    let flops = |config: &EmbedderConfig| {
        Embedder::blank(config, &Device::flex()).cost(3, config.size).forward_flops
    };
    let two = flops(&config);
    config.last_stride = 1;
    // All but the first 3x3 and the 1x1 of the last layer: four times as much there.
    let last = 2 * 4 * (512 * 256 * 9 + 3 * 512 * 512 * 9 + 512 * 256);
    assert_eq!(flops(&config), two + 3 * last);
}

#[test]
fn poolings_by_hand() {
    let device = Device::flex().autodiff();
    let config = EmbedderConfig::new(BackboneKind::ResNet18, 3, 64, 4);
    let images = images(&config, &device);
    let features = |pooling| {
        let network = Embedder::new(&EmbedderConfig { pooling, ..config }, 3, &device);
        let features = network.features(images.clone(), Mode::Inference);
        let gradients = network.gradients(&features.clone().sum().backward());
        assert_eq!(gradients.contains_key("pool.p"), pooling == Pooling::Gem);
        features.into_data().try_to_vec::<f32>().unwrap()
    };
    let [average, max, gem, both] =
        [Pooling::Average, Pooling::Max, Pooling::Gem, Pooling::AverageMax].map(features);
    for i in 0..average.len() {
        assert!((both[i] - average[i] - max[i]).abs() < 1e-5);
        // Between mean and maximum; features below 1e-6 count as that.
        assert!(gem[i] >= average[i] * 0.999 - 1e-5 && gem[i] <= max[i].max(1e-6) * 1.001 + 1e-5);
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let with = |kind, change: fn(&mut EmbedderConfig)| {
        let mut config = EmbedderConfig::new(kind, 3, 112, 4);
        change(&mut config);
        config.check().unwrap_err()
    };
    let resnet = BackboneKind::ResNet18;
    for (error, part) in [
        (with(resnet, |c| c.size = 7), "at least 8 pixels, got 7"),
        (with(BackboneKind::Dinov2S14, |c| c.size = 113), "multiple of 14"),
        (with(resnet, |c| c.channels = 2), "1 or 3"),
        (with(resnet, |c| c.pooling = Pooling::Flatten), "conv4 only"),
        (with(resnet, |c| c.pooling = Pooling::ClassToken), "vit and dinov2 only"),
        (with(resnet, |c| c.last_stride = 3), "1 or 2"),
        (with(BackboneKind::Conv4, |c| c.last_stride = 1), "conv4"),
        (with(resnet, |c| c.frozen_stages = 6), "5 stages"),
    ] {
        assert!(error.contains(part), "no `{part}` in {error}");
    }
}

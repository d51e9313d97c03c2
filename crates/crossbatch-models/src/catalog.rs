//! Published weights: where they are and how their images are prepared.

use serde::Serialize;

use crate::backbone::BackboneKind;

/// A published file of weights. What is not known for certain is not there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Published {
    /// Its name here: the backbone's, a dot, and the publisher's name.
    pub name: &'static str,
    /// The network.
    pub backbone: BackboneKind,
    /// Where it is.
    pub url: &'static str,
    /// Size in MiB as its publisher states it.
    pub mib: Option<f64>,
    /// How its SHA-256 begins, in hexadecimal, as its publisher states it; torchvision's file names carry the first eight
    /// digits. None where no checksum is stated.
    pub sha256: Option<&'static str>,
    /// Its licence, as far as its publisher states one.
    pub licence: &'static str,
    /// Side of the images that it was made for.
    pub size: usize,
    /// Side to which the shorter side is resized before the centre is cut out.
    pub resize: usize,
    /// Mean of each channel that is taken off pixels in 0..1.
    pub mean: [f64; 3],
    /// What they are divided by then.
    pub deviation: [f64; 3],
    /// How images are resized.
    pub interpolation: &'static str,
}

const IMAGENET: ([f64; 3], [f64; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
const HALF: ([f64; 3], [f64; 3]) = ([0.5; 3], [0.5; 3]);
const TORCHVISION: &str = "torchvision is BSD-3-Clause and names no licence of the weights, which were trained on ImageNet";
const APACHE: &str = "Apache-2.0";

/// A file of torchvision's: name, backbone, file name with its checksum's digits, MiB, side before the cut.
const fn torchvision(
    name: &'static str,
    backbone: BackboneKind,
    [url, sha256]: [&'static str; 2],
    mib: f64,
    resize: usize,
) -> Published {
    let (mean, deviation) = IMAGENET;
    Published {
        name,
        backbone,
        url,
        mib: Some(mib),
        sha256: Some(sha256),
        licence: TORCHVISION,
        size: 224,
        resize,
        mean,
        deviation,
        interpolation: "bilinear",
    }
}

/// A file without a stated checksum.
const fn unchecked(
    name: &'static str,
    backbone: BackboneKind,
    url: &'static str,
    [size, resize]: [usize; 2],
    (mean, deviation): ([f64; 3], [f64; 3]),
) -> Published {
    Published {
        name,
        backbone,
        url,
        mib: None,
        sha256: None,
        licence: APACHE,
        size,
        resize,
        mean,
        deviation,
        interpolation: "bicubic",
    }
}

/// Every published file that is known here.
pub const PUBLISHED: [Published; 17] = [
    torchvision(
        "resnet18.imagenet1k-v1",
        BackboneKind::ResNet18,
        ["https://download.pytorch.org/models/resnet18-f37072fd.pth", "f37072fd"],
        44.661,
        256,
    ),
    torchvision(
        "resnet34.imagenet1k-v1",
        BackboneKind::ResNet34,
        ["https://download.pytorch.org/models/resnet34-b627a593.pth", "b627a593"],
        83.275,
        256,
    ),
    torchvision(
        "resnet50.imagenet1k-v1",
        BackboneKind::ResNet50,
        ["https://download.pytorch.org/models/resnet50-0676ba61.pth", "0676ba61"],
        97.781,
        256,
    ),
    torchvision(
        "resnet50.imagenet1k-v2",
        BackboneKind::ResNet50,
        ["https://download.pytorch.org/models/resnet50-11ad3fa6.pth", "11ad3fa6"],
        97.79,
        232,
    ),
    torchvision(
        "resnet101.imagenet1k-v1",
        BackboneKind::ResNet101,
        ["https://download.pytorch.org/models/resnet101-63fe2227.pth", "63fe2227"],
        170.511,
        256,
    ),
    torchvision(
        "resnet101.imagenet1k-v2",
        BackboneKind::ResNet101,
        ["https://download.pytorch.org/models/resnet101-cd907fc2.pth", "cd907fc2"],
        170.53,
        232,
    ),
    Published {
        // What torchvision's `transform_input` makes of images normalised by ImageNet's numbers.
        mean: HALF.0,
        deviation: HALF.1,
        ..torchvision(
            "googlenet.imagenet1k-v1",
            BackboneKind::GoogLeNet,
            ["https://download.pytorch.org/models/googlenet-1378be20.pth", "1378be20"],
            49.731,
            256,
        )
    },
    torchvision(
        "convnext-t.imagenet1k-v1",
        BackboneKind::ConvNextT,
        ["https://download.pytorch.org/models/convnext_tiny-983f1562.pth", "983f1562"],
        109.119,
        236,
    ),
    torchvision(
        "mobilenetv3-small.imagenet1k-v1",
        BackboneKind::MobileNetV3Small,
        ["https://download.pytorch.org/models/mobilenet_v3_small-047dcff4.pth", "047dcff4"],
        9.829,
        256,
    ),
    torchvision(
        "mobilenetv3-large.imagenet1k-v1",
        BackboneKind::MobileNetV3Large,
        ["https://download.pytorch.org/models/mobilenet_v3_large-8738ca79.pth", "8738ca79"],
        21.114,
        256,
    ),
    torchvision(
        "mobilenetv3-large.imagenet1k-v2",
        BackboneKind::MobileNetV3Large,
        ["https://download.pytorch.org/models/mobilenet_v3_large-5c1a4163.pth", "5c1a4163"],
        21.107,
        232,
    ),
    unchecked(
        "vit-s16.augreg-in21k-ft-in1k",
        BackboneKind::VitS16,
        "https://huggingface.co/timm/vit_small_patch16_224.augreg_in21k_ft_in1k/resolve/main/model.safetensors",
        [224, 248],
        HALF,
    ),
    unchecked(
        "vit-b16.augreg2-in21k-ft-in1k",
        BackboneKind::VitB16,
        "https://huggingface.co/timm/vit_base_patch16_224.augreg2_in21k_ft_in1k/resolve/main/model.safetensors",
        [224, 248],
        HALF,
    ),
    unchecked(
        "dinov2-s14.lvd142m",
        BackboneKind::Dinov2S14,
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth",
        [518, 518],
        IMAGENET,
    ),
    unchecked(
        "dinov2-s14-reg.lvd142m",
        BackboneKind::Dinov2S14Registers,
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_reg4_pretrain.pth",
        [518, 518],
        IMAGENET,
    ),
    unchecked(
        "dinov2-b14.lvd142m",
        BackboneKind::Dinov2B14,
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
        [518, 518],
        IMAGENET,
    ),
    unchecked(
        "dinov2-b14-reg.lvd142m",
        BackboneKind::Dinov2B14Registers,
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_reg4_pretrain.pth",
        [518, 518],
        IMAGENET,
    ),
];

impl Published {
    /// The file of this name.
    ///
    /// # Errors
    ///
    /// If there is none; the names are listed.
    pub fn find(name: &str) -> Result<&'static Self, String> {
        PUBLISHED.iter().find(|file| file.name == name).ok_or_else(|| {
            let names: Vec<&str> = PUBLISHED.iter().map(|file| file.name).collect();
            format!("no published weights are called `{name}`; there are {}", names.join(", "))
        })
    }

    /// Its name on disk.
    pub fn file_name(&self) -> String {
        let end = if self.url.ends_with(".safetensors") { "safetensors" } else { "pth" };
        format!("{}.{end}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_checksums_are_those_of_the_files() {
        for file in &PUBLISHED {
            let kind = file.name.split('.').next().unwrap();
            assert_eq!(kind, file.backbone.name());
            assert_eq!(PUBLISHED.iter().filter(|other| other.name == file.name).count(), 1);
            if let Some(sha256) = file.sha256 {
                assert!(file.url.ends_with(&format!("-{sha256}.pth")), "{}", file.url);
            }
            assert_eq!(Published::find(file.name), Ok(file));
        }
        assert!(Published::find("resnet18").unwrap_err().contains("resnet18.imagenet1k-v1"));
    }
}

//! What fixes a memory: size, policy, storage, and how stale entries are treated.

use burn::tensor::{DType, Device};
use crossbatch_kernels::Screen;
use serde::{Deserialize, Serialize};

use super::{AgeWeighting, Correction, Memory};

/// Which slot a row is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// First in, first out: the last `capacity` rows, whatever their images (the paper's). The
    /// cursor wraps, so this holds for any batch size.
    #[default]
    Fifo,
    /// One slot an image: when the image is seen again its slot is replaced. A new image takes an
    /// empty slot, or else the slot whose image has not been seen for longest. With as many slots as
    /// training images nothing is ever evicted and an entry is as old as its image's last sight.
    ///
    /// Where an image stands in a batch more than once, its last row stays.
    Keyed,
}

/// Number type of the stored embeddings.
///
/// f16 and bf16 halve the memory's bytes. Of unit vectors f16 keeps a cosine to about 5e-4, bf16 to
/// about 4e-3 (the spacing of their numbers near 1). Rows are rounded once, when they are written;
/// everything that is computed from them is f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// 32 bits: rows come back exactly.
    #[default]
    F32,
    /// 16 bits, 11 of them precision, up to 65,504.
    F16,
    /// 16 bits, 8 of them precision, the range of f32.
    Bf16,
}

impl Storage {
    /// Burn's name of the type.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }

    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// Options of a [`Memory`].
///
/// ```
/// use burn::tensor::Device;
/// use crossbatch::{MemoryConfig, Policy, Storage};
///
/// let memory = MemoryConfig {
///     policy: Policy::Keyed,
///     storage: Storage::F16,
///     ..MemoryConfig::new(1000, 64)
/// }
/// .init(&Device::flex().autodiff());
/// assert_eq!((memory.capacity(), memory.len()), (1000, 0));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MemoryConfig {
    /// Number of slots.
    pub capacity: usize,
    /// Numbers in an embedding.
    pub dim: usize,
    /// Which slot a row is written to. Default [`Policy::Fifo`].
    #[serde(default)]
    pub policy: Policy,
    /// Number type of the stored embeddings. Default [`Storage::F32`].
    #[serde(default)]
    pub storage: Storage,
    /// What is done about entries of older networks. Default [`Correction::None`].
    #[serde(default)]
    pub correction: Correction,
    /// Whether embeddings are of unit length, so that corrected ones are brought back to it.
    /// Default true. Without a correction nothing is ever rescaled.
    #[serde(default = "yes")]
    pub unit_length: bool,
    /// What an entry's pairs count by its age. Default: all the same.
    #[serde(default)]
    pub weighting: AgeWeighting,
    /// Whether codes of the embeddings, `dim + 16` bytes a slot, are kept beside them on the CPU, where they save time:
    /// most negatives then need no product. Not with a correction, which changes every entry. Default true.
    #[serde(default = "yes")]
    pub screen: bool,
}

fn yes() -> bool {
    true
}

impl MemoryConfig {
    /// A memory of `capacity` slots for embeddings of `dim` numbers, all else by default.
    pub fn new(capacity: usize, dim: usize) -> Self {
        Self {
            capacity,
            dim,
            policy: Policy::default(),
            storage: Storage::default(),
            correction: Correction::default(),
            unit_length: true,
            weighting: AgeWeighting::default(),
            screen: true,
        }
    }

    /// An empty memory on `device`.
    ///
    /// # Panics
    ///
    /// If `capacity` or `dim` is 0, if the slots cannot be numbered in 31 bits, if the device does
    /// not hold the storage type, or if an option is out of its range.
    pub fn init(&self, device: &Device) -> Memory {
        Memory::from_config(self.clone(), device)
    }

    /// Whether a memory on the CPU keeps codes: where they are wanted and save time.
    pub(super) fn keeps_codes(&self) -> bool {
        self.screen && self.correction == Correction::None && Screen::pays_for(self.dim)
    }

    /// Bytes of the codes that it keeps on the CPU.
    pub fn screen_bytes(&self) -> u64 {
        if self.keeps_codes() { Screen::bytes_of(self.capacity, self.dim) as u64 } else { 0 }
    }

    /// Bytes that the memory takes on its device: embeddings (twice with a correction), labels and
    /// ids. None if that is no 64-bit number.
    pub fn device_bytes(&self) -> Option<u64> {
        let copies = if self.correction == Correction::None { 1 } else { 2 };
        let slot = (self.dim as u64).checked_mul(self.storage.bytes() as u64 * copies)?;
        (self.capacity as u64).checked_mul(slot.checked_add(8)?)
    }
}

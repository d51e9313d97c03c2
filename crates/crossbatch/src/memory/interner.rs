//! Labels and ids of any kind as dense numbers.

use std::collections::HashMap;
use std::hash::Hash;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Gives each distinct key the next number from 0 on.
///
/// Labels and ids of a data set may be negative, sparse, beyond 32 bits, or text; a memory wants
/// numbers `0..n`, n below 2^31, so that devices can compare them as i32. Numbers are given in order
/// of first sight and kept; the serialised form is the list of keys in that order.
///
/// ```
/// use crossbatch::Interner;
///
/// let mut labels = Interner::new();
/// let codes: Vec<u32> = [-1i64, 0, 9_000_000_000, -1].map(|key| labels.intern(key)).to_vec();
/// assert_eq!(codes, [0, 1, 2, 0]);
/// assert_eq!(labels.key(2), Some(&9_000_000_000));
/// assert_eq!(labels.code(&7), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interner<K: Eq + Hash> {
    codes: HashMap<K, u32>,
    keys: Vec<K>,
}

impl<K: Eq + Hash> Default for Interner<K> {
    fn default() -> Self {
        Self { codes: HashMap::new(), keys: Vec::new() }
    }
}

impl<K: Eq + Hash + Clone> Interner<K> {
    /// An interner without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// The key's number; a new key gets the next one.
    ///
    /// # Panics
    ///
    /// If there are 2^31 keys.
    pub fn intern(&mut self, key: K) -> u32 {
        if let Some(&code) = self.codes.get(&key) {
            return code;
        }
        let code = self.keys.len();
        assert!(i32::try_from(code).is_ok(), "more than 2^31 distinct labels or ids");
        self.keys.push(key.clone());
        self.codes.insert(key, code as u32);
        code as u32
    }

    /// The number of each key, new ones added.
    ///
    /// # Panics
    ///
    /// As [`Self::intern`].
    pub fn intern_all(&mut self, keys: impl IntoIterator<Item = K>) -> Vec<u32> {
        keys.into_iter().map(|key| self.intern(key)).collect()
    }

    /// The key's number, if it has one.
    pub fn code(&self, key: &K) -> Option<u32> {
        self.codes.get(key).copied()
    }

    /// The key of a number.
    pub fn key(&self, code: u32) -> Option<&K> {
        self.keys.get(code as usize)
    }

    /// All keys, by number.
    pub fn keys(&self) -> &[K] {
        &self.keys
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl<K: Eq + Hash + Clone> FromIterator<K> for Interner<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        let mut interner = Self::new();
        for key in keys {
            interner.intern(key);
        }
        interner
    }
}

impl<K: Eq + Hash + Serialize> Serialize for Interner<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.keys.serialize(serializer)
    }
}

impl<'de, K: Eq + Hash + Clone + Deserialize<'de>> Deserialize<'de> for Interner<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let keys = Vec::<K>::deserialize(deserializer)?;
        let count = keys.len();
        let interner: Self = keys.into_iter().collect();
        if interner.len() != count {
            return Err(serde::de::Error::custom("a key stands in the list twice"));
        }
        Ok(interner)
    }
}

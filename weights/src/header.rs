//! The JSON header of a safetensors file, read and written here rather than by the `safetensors` crate because that one
//! keeps the metadata in a hash map: it writes it in a random order, and lets the last of two equal names win.
//! Types, offsets and their validation are the crate's.

use crate::stored::is_possible;
use safetensors::tensor::{self, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The longest header that readers of the format accept, in bytes.
pub(crate) const MAX_LEN: u64 = 100_000_000;
/// Bytes before the header: its length as a little-endian u64.
pub(crate) const PREFIX_LEN: u64 = 8;
/// The key beside the tensors' names that holds the string map.
pub(crate) const METADATA_KEY: &str = "__metadata__";

/// A header: the string map, and the tensors in the order of their bytes.
#[derive(Debug)]
pub(crate) struct Header {
    pub metadata: BTreeMap<String, String>,
    pub tensors: Vec<(String, TensorInfo)>,
}

impl Header {
    /// Parses and validates: no name twice, offsets that join without gap or overlap, and sizes that fit the shapes.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let mut header: Header = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        header.tensors.sort_by_key(|(_, info)| info.data_offsets);
        tensor::Metadata::new(None, header.tensors.clone()).map_err(|e| e.to_string())?;
        match header.tensors.iter().find(|(_, info)| !is_possible(&info.shape)) {
            Some((name, info)) => {
                Err(format!("tensor `{name}` has the impossible shape {:?}", info.shape))
            }
            None => Ok(header),
        }
    }

    /// The length prefix and the JSON, padded with spaces so that the data starts at a multiple of eight.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let mut json = serde_json::to_vec(self).map_err(|e| e.to_string())?;
        json.resize(json.len().next_multiple_of(PREFIX_LEN as usize), b' ');
        let length = json.len() as u64;
        if length > MAX_LEN {
            return Err(format!("it would take {length} bytes, the format allows {MAX_LEN}"));
        }
        Ok([&length.to_le_bytes()[..], &json].concat())
    }

    /// Bytes of tensor data after the header.
    pub fn data_len(&self) -> u64 {
        self.tensors.last().map_or(0, |(_, info)| info.data_offsets.1 as u64)
    }
}

impl Serialize for Header {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA_KEY, &self.metadata)?;
        }
        for (name, info) in &self.tensors {
            map.serialize_entry(name, info)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header { metadata: BTreeMap::new(), tensors: Vec::new() };
        let mut seen = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA_KEY {
                header.metadata = map.next_value()?;
            } else {
                header.tensors.push((name.clone(), map.next_value()?));
            }
            if let Some(twice) = seen.replace(name) {
                return Err(A::Error::custom(format!("`{twice}` is there twice")));
            }
        }
        Ok(header)
    }
}

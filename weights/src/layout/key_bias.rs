//! Attention whose keys have no bias computes the same as with one of zeros: a key bias adds the same to all scores of a
//! query. So a file of either kind serves a model of the other.

use super::Mapping;
use super::mapping::{Entry, Piece};
use crate::{Checkpoint, Error, Result};
use std::collections::BTreeSet;

const ALL: &str = ".attn.qkv.bias";
const QUERY: &str = ".attn.q_bias";
const VALUE: &str = ".attn.v_bias";

impl Checkpoint {
    /// The file with key biases of zeros put in where `names` has `qkv.bias` for the file's `q_bias` and `v_bias`, so that it
    /// can be compared with a file that has them.
    pub fn with_key_bias_where<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.with_mapping(self.mapping().with_key_bias(&names.into_iter().collect()).0)
    }

    /// The file as a model with these parameters has it: key biases of zeros are put in, or left out, as the names say. And
    /// in how many layers.
    ///
    /// # Errors
    /// [`Error::KeyBias`] if the model's keys have no bias and the file's have one that is not zero.
    pub(crate) fn with_key_bias_of(&self, model: &BTreeSet<&str>) -> Result<(Self, usize)> {
        let (mapping, joined) = self.mapping().with_key_bias(model);
        let (mapping, keys) = mapping.without_key_bias(model);
        let mut names = Vec::new();
        for (name, entry) in &keys {
            let bytes = self.read_entry(entry)?;
            if !bytes.chunks(entry.dtype.size_in_bytes()).all(is_zero) {
                names.push(name.clone());
            }
        }
        match names.is_empty() {
            true => Ok((self.with_mapping(mapping), joined + keys.len())),
            false => Err(Error::KeyBias { path: self.path().to_owned(), names }),
        }
    }
}

/// Whether a little-endian float is zero, or minus zero.
fn is_zero(number: &[u8]) -> bool {
    match number.split_last() {
        Some((last, rest)) => last & 0x7f == 0 && rest.iter().all(|byte| *byte == 0),
        None => true,
    }
}

impl Mapping {
    /// `qkv.bias` with zeros for the keys where the model has that, and how many there are.
    fn with_key_bias(&self, model: &BTreeSet<&str>) -> (Self, usize) {
        let (mut mapping, mut joined) = (self.clone(), 0);
        for (name, query) in &self.entries {
            let Some(block) = name.strip_suffix(QUERY) else { continue };
            let (value, all) = (format!("{block}{VALUE}"), format!("{block}{ALL}"));
            let Some(value_entry) = self.entries.get(&value) else { continue };
            let form = |entry: &Entry| (entry.dtype, entry.shape.clone());
            let (&[dim], true) = (query.shape.as_slice(), form(query) == form(value_entry)) else {
                continue;
            };
            // An overflow is no size of a tensor that a file holds.
            let rows = dim.saturating_mul(3);
            if model.contains(all.as_str()) && !mapping.entries.contains_key(&all) {
                let zeros = Piece { stored: None, rows: 0..dim };
                let pieces = [&query.pieces[..], &[zeros], &value_entry.pieces[..]].concat();
                mapping
                    .entries
                    .insert(all, Entry { dtype: query.dtype, shape: vec![rows], pieces });
                mapping.entries.remove(name);
                mapping.entries.remove(&value);
                joined += 1;
            }
        }
        (mapping, joined)
    }

    /// `q_bias` and `v_bias` where the model has those, and under its name each `qkv.bias` with the keys' rows, which must
    /// be zeros.
    fn without_key_bias(&self, model: &BTreeSet<&str>) -> (Self, Vec<(String, Entry)>) {
        let mut mapping = self.clone();
        let mut keys = Vec::new();
        for (name, entry) in &self.entries {
            let (Some(block), &[rows]) = (name.strip_suffix(ALL), entry.shape.as_slice()) else {
                continue;
            };
            let (query, value) = (format!("{block}{QUERY}"), format!("{block}{VALUE}"));
            let taken = [&query, &value].into_iter().any(|name| self.entries.contains_key(name));
            if rows % 3 == 0 && model.contains(query.as_str()) && !taken {
                let third = |n: usize| entry.rows(n * (rows / 3)..(n + 1) * (rows / 3));
                mapping.entries.remove(name);
                mapping.entries.insert(query, third(0));
                mapping.entries.insert(value, third(2));
                keys.push((name.clone(), third(1)));
            }
        }
        (mapping, keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;
    use candle_core::DType;
    use std::ops::Range;

    fn mapping(layout: Layout, tensors: &[(&str, &[usize])]) -> Mapping {
        let stored = tensors.iter().map(|(name, shape)| (*name, (DType::F32, *shape))).collect();
        Mapping::new(Some(layout), &stored)
    }

    fn pieces(entry: &Entry) -> Vec<(Option<&str>, Range<usize>)> {
        entry.pieces.iter().map(|piece| (piece.stored.as_deref(), piece.rows.clone())).collect()
    }

    #[test]
    fn key_bias_goes_and_comes_back() {
        let split = mapping(
            Layout::Mae,
            &[("blocks.0.attn.q_bias", &[4]), ("blocks.0.attn.v_bias", &[4]), ("norm.bias", &[4])],
        );
        let with = BTreeSet::from(["blocks.0.attn.qkv.bias", "norm.bias"]);
        let without = BTreeSet::from(["blocks.0.attn.q_bias", "blocks.0.attn.v_bias"]);
        assert_eq!(split.with_key_bias(&without).0.entries, split.entries);
        let (joined, layers) = split.with_key_bias(&with);
        assert_eq!(layers, 1);
        let names: Vec<_> = joined.entries.keys().collect();
        assert_eq!(names, ["blocks.0.attn.qkv.bias", "norm.bias"]);
        let (again, keys) = joined.without_key_bias(&without);
        assert_eq!(again.entries, split.entries);
        assert_eq!(keys[0].0, "blocks.0.attn.qkv.bias");
        assert_eq!(pieces(&keys[0].1), [(None, 0..4)]);

        let (split, keys) =
            mapping(Layout::Timm, &[("blocks.0.attn.qkv.bias", &[12])]).without_key_bias(&without);
        let all = Some("blocks.0.attn.qkv.bias");
        assert_eq!(pieces(&split.entries["blocks.0.attn.q_bias"]), [(all, 0..4)]);
        assert_eq!(pieces(&split.entries["blocks.0.attn.v_bias"]), [(all, 8..12)]);
        assert_eq!(pieces(&keys[0].1), [(all, 4..8)]);
    }

    #[test]
    fn three_parts_that_are_not_equal_stay_as_they_are() {
        let without = BTreeSet::from(["blocks.0.attn.q_bias", "blocks.0.attn.v_bias"]);
        let odd = mapping(Layout::Timm, &[("blocks.0.attn.qkv.bias", &[13])]);
        assert!(odd.without_key_bias(&without).1.is_empty());
        let lone = mapping(Layout::Mae, &[("blocks.0.attn.q_bias", &[4])]);
        let with = BTreeSet::from(["blocks.0.attn.qkv.bias"]);
        assert_eq!(lone.with_key_bias(&with).0.entries, lone.entries);
    }

    #[test]
    fn zero_has_two_signs_and_small_is_not_zero() {
        for zero in [0.0f32, -0.0] {
            assert!(is_zero(&zero.to_le_bytes()));
        }
        for number in [1e-45f32, -1.0, f32::NAN, 2.0] {
            assert!(!is_zero(&number.to_le_bytes()), "{number}");
        }
    }
}

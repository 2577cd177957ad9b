//! Which stored tensors, or which rows of them, make each tensor of MAE's names.

use super::Layout;
use super::names::{self, Meaning, Share};
use candle_core::DType;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Rows of a stored tensor (its first dimension), or as many rows of zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The stored name; none for zeros.
    pub stored: Option<String>,
    /// Rows of the stored tensor; of zeros only their number matters.
    pub rows: Range<usize>,
}

/// A tensor as the model knows it: pieces one below the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub pieces: Vec<Piece>,
}

/// A file's tensors under MAE's names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mapping {
    pub entries: BTreeMap<String, Entry>,
    /// Stored names that MAE's model has nothing for, sorted.
    pub left_out: Vec<String>,
}

impl Entry {
    /// A stored tensor as it is.
    fn whole(name: &str, dtype: DType, shape: &[usize]) -> Self {
        let rows = 0..shape.first().copied().unwrap_or(1);
        let piece = Piece { stored: Some(name.to_owned()), rows };
        Self { dtype, shape: shape.to_vec(), pieces: vec![piece] }
    }

    /// The stored tensors that it is made of.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| piece.stored.as_deref())
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.dtype.size_in_bytes() * self.shape.iter().skip(1).product::<usize>()
    }

    /// Some of its rows as a tensor of their own.
    pub fn rows(&self, wanted: Range<usize>) -> Self {
        let mut pieces = Vec::new();
        let mut start = 0;
        for piece in &self.pieces {
            let end = start + piece.rows.len();
            let (from, to) = (wanted.start.max(start), wanted.end.min(end));
            if from < to {
                let rows = piece.rows.start + from - start..piece.rows.start + to - start;
                pieces.push(Piece { stored: piece.stored.clone(), rows });
            }
            start = end;
        }
        let mut shape = self.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = wanted.len();
        }
        Self { dtype: self.dtype, shape, pieces }
    }
}

/// Stored tensors: name, type and shape.
pub(crate) type Stored<'a> = BTreeMap<&'a str, (DType, &'a [usize])>;

impl Mapping {
    /// Sorts a file's tensors into MAE's. What is no tensor of the layout, a third without the other two, or a second
    /// spelling of the same name, keeps the name that it has in the file.
    pub fn new(layout: Option<Layout>, stored: &Stored<'_>) -> Self {
        let mut mapping = Self::default();
        let mut thirds: BTreeMap<String, [Option<&str>; 3]> = BTreeMap::new();
        let mut unsorted = Vec::new();
        for (&name, (dtype, shape)) in stored {
            match layout.map_or(Meaning::Unknown, |layout| names::meaning(layout, name)) {
                Meaning::Mae(mae, Share::Whole) if !mapping.entries.contains_key(&mae) => {
                    mapping.entries.insert(mae, Entry::whole(name, *dtype, shape));
                }
                Meaning::Mae(mae, Share::Third(third))
                    if thirds.get(&mae).is_none_or(|found| found[third].is_none()) =>
                {
                    thirds.entry(mae).or_default()[third] = Some(name);
                }
                Meaning::LeftOut => mapping.left_out.push(name.to_owned()),
                Meaning::Mae(..) | Meaning::Unknown => unsorted.push(name),
            }
        }
        for (mae, parts) in thirds {
            match joined(parts, stored).filter(|_| !mapping.entries.contains_key(&mae)) {
                Some(entry) => _ = mapping.entries.insert(mae, entry),
                None => unsorted.extend(parts.into_iter().flatten()),
            }
        }
        for name in unsorted {
            let (dtype, shape) = stored[name];
            // A name that is taken by what it should not mean cannot be told apart: it is left to be missed.
            mapping.entries.entry(name.to_owned()).or_insert(Entry::whole(name, dtype, shape));
        }
        mapping
    }

    /// The stored names behind a MAE name, where they are not the name itself.
    pub fn own_names(&self, name: &str) -> Option<String> {
        let entry = self.entries.get(name)?;
        let names: BTreeSet<&str> = entry.sources().collect();
        let same = names.len() == 1 && names.contains(name);
        let names: Vec<&str> = entry.sources().collect();
        (!same).then(|| names.join(" + "))
    }
}

/// Queries, keys and values one below the other. Only a missing key bias can be made up.
fn joined(parts: [Option<&str>; 3], stored: &Stored<'_>) -> Option<Entry> {
    let [query, key, value] = parts;
    let (query, value) = (query?, value?);
    let (dtype, shape) = stored[query];
    let (&rows, rest) = shape.split_first()?;
    if key.is_none() && !(rest.is_empty() && query.ends_with(".bias")) {
        return None;
    }
    if [Some(value), key].into_iter().flatten().any(|name| stored[name] != (dtype, shape)) {
        return None;
    }
    let pieces = [Some(query), key, Some(value)]
        .map(|name| Piece { stored: name.map(str::to_owned), rows: 0..rows });
    let shape = [&[rows.checked_mul(3)?], rest].concat();
    // Beside a zero the product may still be too large to address.
    shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim.max(1)))?;
    Some(Entry { dtype, shape, pieces: pieces.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const Q: &str = "vit.encoder.layer.0.attention.attention.query";
    const K: &str = "vit.encoder.layer.0.attention.attention.key";
    const V: &str = "vit.encoder.layer.0.attention.attention.value";

    fn mapping(layout: Layout, tensors: &[(&str, &[usize])]) -> Mapping {
        let stored = tensors.iter().map(|(name, shape)| (*name, (DType::F32, *shape))).collect();
        Mapping::new(Some(layout), &stored)
    }

    fn pieces(entry: &Entry) -> Vec<(Option<&str>, Range<usize>)> {
        entry.pieces.iter().map(|piece| (piece.stored.as_deref(), piece.rows.clone())).collect()
    }

    fn names(mapping: &Mapping) -> Vec<&str> {
        mapping.entries.keys().map(String::as_str).collect()
    }

    #[test]
    fn queries_keys_and_values_are_joined_in_this_order() {
        let [q, k, v] = [Q, K, V].map(|name| format!("{name}.weight"));
        let found = mapping(Layout::HfVit, &[(&v, &[4, 4]), (&q, &[4, 4]), (&k, &[4, 4])]);
        let entry = &found.entries["blocks.0.attn.qkv.weight"];
        assert_eq!(entry.shape, [12, 4]);
        assert_eq!(pieces(entry), [(Some(&*q), 0..4), (Some(&*k), 0..4), (Some(&*v), 0..4)]);
        assert_eq!(found.own_names("blocks.0.attn.qkv.weight"), Some(format!("{q} + {k} + {v}")));
    }

    #[test]
    fn a_missing_key_bias_is_zeros_and_nothing_else_is_made_up() {
        let [q, k, v] = [Q, K, V].map(|name| format!("{name}.bias"));
        let found = mapping(Layout::HfVit, &[(&q, &[4]), (&v, &[4])]);
        let entry = &found.entries["blocks.0.attn.qkv.bias"];
        assert_eq!(pieces(entry), [(Some(&*q), 0..4), (None, 0..4), (Some(&*v), 0..4)]);

        let (wq, wv) = (format!("{Q}.weight"), format!("{V}.weight"));
        for (lacking, tensors) in [
            ("a key weight", vec![(&*wq, &[4, 4][..]), (&*wv, &[4, 4])]),
            ("a query bias", vec![(&*k, &[4]), (&*v, &[4])]),
            ("one shape", vec![(&*q, &[4]), (&*k, &[2]), (&*v, &[4])]),
        ] {
            let found = mapping(Layout::HfVit, &tensors);
            let mut expected: Vec<&str> = tensors.iter().map(|(name, _)| *name).collect();
            expected.sort_unstable();
            assert_eq!(names(&found), expected, "without {lacking} the names are the file's");
        }
    }

    #[test]
    fn one_name_in_two_spellings_does_not_pass_unseen() {
        let found =
            mapping(Layout::HfVit, &[("layernorm.bias", &[4]), ("vit.layernorm.bias", &[4])]);
        assert_eq!(names(&found), ["norm.bias", "vit.layernorm.bias"]);
    }

    #[test]
    fn impossible_sizes_are_not_joined() {
        let huge = usize::MAX / 2;
        let [q, v] = [Q, V].map(|name| format!("{name}.bias"));
        assert_eq!(mapping(Layout::HfVit, &[(&q, &[huge]), (&v, &[huge])]).entries.len(), 2);
        let [q, k, v] = [Q, K, V].map(|name| format!("{name}.weight"));
        let shape: &[usize] = &[huge, 0];
        let found = mapping(Layout::HfVit, &[(&q, shape), (&k, shape), (&v, shape)]);
        assert_eq!(found.entries.len(), 3);
    }
}

//! The three forms of a segmentation in a COCO file: polygons, run lengths, a string of run lengths.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::Result;
use crate::instances::Segmentation;
use crate::rle::{Rle, refused};
use crate::size::Size;

/// A segmentation as a file has it, unchecked: an annotation's or a result's.
#[derive(Debug, PartialEq)]
pub struct CocoSegmentation(Raw);

#[derive(Debug, PartialEq)]
enum Raw {
    Polygons(Vec<Vec<f64>>),
    Runs(Runs),
}

/// A mask of runs.
#[derive(Debug, Deserialize, PartialEq)]
struct Runs {
    /// Rows and columns.
    size: [usize; 2],
    counts: Counts,
}

/// Run lengths.
#[derive(Debug, PartialEq)]
enum Counts {
    Numbers(Vec<u32>),
    Text(String),
}

impl CocoSegmentation {
    /// The outline, if it can be one of an image of `size`, or of any image where that is not known.
    ///
    /// `None` for an empty list, which some datasets write for objects that have only a box.
    ///
    /// # Errors
    /// [`Error::Mask`](crate::Error::Mask) for polygons with an odd number of coordinates, a mask of another size, and whatever
    /// [`Rle::new`] and [`Rle::parse`] refuse.
    pub fn checked(self, size: Option<Size>) -> Result<Option<Segmentation>> {
        let runs = match self.0 {
            Raw::Polygons(polygons) if polygons.is_empty() => return Ok(None),
            Raw::Polygons(polygons) => {
                return match polygons.iter().find(|polygon| polygon.len() % 2 == 1) {
                    Some(odd) => {
                        Err(refused(format!("one of its polygons has {} coordinates", odd.len())))
                    }
                    None => Ok(Some(Segmentation::Polygons(polygons.into()))),
                };
            }
            Raw::Runs(runs) => runs,
        };
        let [height, width] = runs.size;
        let own = Size { height, width };
        if let Some(Size { height: rows, width: columns }) = size.filter(|&size| size != own) {
            return Err(refused(format!(
                "its mask is {height} x {width} pixels, its image {rows} x {columns}"
            )));
        }
        let mask = match &runs.counts {
            Counts::Numbers(counts) => Rle::new(counts.iter().copied(), own),
            Counts::Text(text) => Rle::parse(text, own),
        };
        Ok(Some(Segmentation::Mask(Arc::new(mask?))))
    }
}

// Written out, since serde's untagged enums would first copy every number into a tree: of the 450 MB of a file of
// COCO's, nearly all are such numbers.

impl<'de> Deserialize<'de> for CocoSegmentation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SegmentationVisitor)
    }
}

struct SegmentationVisitor;

impl<'de> Visitor<'de> for SegmentationVisitor {
    type Value = CocoSegmentation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of polygons, or a mask of runs with size and counts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(list))
            .map(|list| CocoSegmentation(Raw::Polygons(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Deserialize::deserialize(MapAccessDeserializer::new(map))
            .map(|runs| CocoSegmentation(Raw::Runs(runs)))
    }
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountsVisitor)
    }
}

struct CountsVisitor;

impl<'de> Visitor<'de> for CountsVisitor {
    type Value = Counts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("run lengths as a list of numbers or as a string")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(Counts::Numbers)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Counts::Text(text.to_owned()))
    }
}

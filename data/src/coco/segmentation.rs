//! The three forms of a segmentation in a COCO file: polygons, run lengths, a string of run lengths.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::Result;
use crate::instances::Segmentation;
use crate::rle::{Rle, refused};
use crate::size::Size;

/// A segmentation as a file has it, unchecked: an annotation's or a result's. Strings are borrowed where they can be.
#[derive(Debug, PartialEq)]
pub struct CocoSegmentation<'a>(Raw<'a>);

#[derive(Debug, PartialEq)]
enum Raw<'a> {
    Polygons(Vec<Vec<f64>>),
    Runs(Runs<'a>),
}

/// A mask of runs.
#[derive(Debug, Deserialize, PartialEq)]
struct Runs<'a> {
    /// Rows and columns.
    size: [usize; 2],
    #[serde(borrow)]
    counts: Counts<'a>,
}

/// Run lengths.
#[derive(Debug, PartialEq)]
enum Counts<'a> {
    Numbers(Vec<u32>),
    Text(Cow<'a, str>),
}

impl CocoSegmentation<'_> {
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

    /// Reads a segmentation that keeps nothing of what it is read from.
    pub(super) fn owned<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<CocoSegmentation<'static>>, D::Error> {
        let read = Option::<CocoSegmentation<'de>>::deserialize(deserializer)?;
        Ok(read.map(|CocoSegmentation(raw)| {
            CocoSegmentation(match raw {
                Raw::Polygons(polygons) => Raw::Polygons(polygons),
                Raw::Runs(Runs { size, counts }) => {
                    let counts = match counts {
                        Counts::Numbers(counts) => Counts::Numbers(counts),
                        Counts::Text(text) => Counts::Text(Cow::Owned(text.into_owned())),
                    };
                    Raw::Runs(Runs { size, counts })
                }
            })
        }))
    }
}

// Written out, since serde's untagged enums would first copy every number into a tree: of the 450 MB of a file of
// COCO's, nearly all are such numbers.

impl<'de: 'a, 'a> Deserialize<'de> for CocoSegmentation<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SegmentationVisitor)
    }
}

struct SegmentationVisitor;

impl<'de> Visitor<'de> for SegmentationVisitor {
    type Value = CocoSegmentation<'de>;

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

impl<'de: 'a, 'a> Deserialize<'de> for Counts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountsVisitor)
    }
}

struct CountsVisitor;

impl<'de> Visitor<'de> for CountsVisitor {
    type Value = Counts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("run lengths as a list of numbers or as a string")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(Counts::Numbers)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Counts::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Counts::Text(Cow::Borrowed(text)))
    }
}

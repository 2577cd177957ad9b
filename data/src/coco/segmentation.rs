//! The three forms of a segmentation in a COCO file: polygons, run lengths, a string of run lengths.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// A segmentation as a file has it.
#[derive(Debug, PartialEq)]
pub(super) enum RawSegmentation {
    Polygons(Vec<Vec<f64>>),
    Runs(Runs),
}

/// A mask of runs.
#[derive(Debug, Deserialize, PartialEq)]
pub(super) struct Runs {
    /// Rows and columns.
    pub size: [usize; 2],
    pub counts: Counts,
}

/// Run lengths.
#[derive(Debug, PartialEq)]
pub(super) enum Counts {
    Numbers(Vec<u32>),
    Text(String),
}

// Written out, since serde's untagged enums would first copy every number into a tree: of the 450 MB of a file of
// COCO's, nearly all are such numbers.

impl<'de> Deserialize<'de> for RawSegmentation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SegmentationVisitor)
    }
}

struct SegmentationVisitor;

impl<'de> Visitor<'de> for SegmentationVisitor {
    type Value = RawSegmentation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of polygons, or a mask of runs with size and counts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(list)).map(RawSegmentation::Polygons)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Deserialize::deserialize(MapAccessDeserializer::new(map)).map(RawSegmentation::Runs)
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

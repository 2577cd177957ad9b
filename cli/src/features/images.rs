//! Images to encode, as they are named on the command line.

use std::sync::Arc;

use longmae_data::{CorruptSample, OpenOptions, Source, Spec};

use super::Encoder;
use crate::download;
use crate::exit::usage;

/// Corrupt images that are named.
const MOST_NAMED: usize = 20;

/// A source and its name.
pub struct Images {
    pub source: Arc<dyn Source>,
    pub name: String,
}

impl Images {
    /// Reads a name; nothing is looked at.
    pub fn spec(name: &str) -> anyhow::Result<Spec> {
        name.parse().map_err(usage)
    }

    /// Opens what is named, for an encoder.
    pub fn open(name: &str, encoder: &Encoder) -> anyhow::Result<Self> {
        let options = OpenOptions {
            decode: encoder.decode(),
            synthetic_size: encoder.size()?,
            progress: Some(download::bar()),
            ..OpenOptions::default()
        };
        let source = Self::spec(name)?.open(&options)?;
        if source.is_empty() {
            anyhow::bail!("{name}: there is no image");
        }
        Ok(Self { source, name: name.to_owned() })
    }
}

/// What was left out: a line for each of the first, and one for the rest.
pub fn lines_of_corrupt(corrupt: &[CorruptSample]) -> Vec<String> {
    let named = corrupt.iter().take(MOST_NAMED);
    let mut lines: Vec<String> = named
        .map(|CorruptSample { id, reason }| match reason.strip_prefix(id.as_str()) {
            // A reason that names the image itself need not be told whose it is.
            Some(_) => format!("  left out  {reason}"),
            None => format!("  left out  {id}: {reason}"),
        })
        .collect();
    if corrupt.len() > MOST_NAMED {
        lines.push(format!("  left out  and {} more", corrupt.len() - MOST_NAMED));
    }
    lines
}

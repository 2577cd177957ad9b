//! Image sizes: `224`, or `224x320` as height x width.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Height and width in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct ImageSize {
    pub height: usize,
    pub width: usize,
}

/// As in a recipe: one number for a square, or a text.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected 224, or \"224x320\" (height x width)")]
enum Written {
    Square(usize),
    Text(String),
}

impl FromStr for ImageSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |side: &str| side.trim().parse().ok().filter(|side| *side > 0);
        let (height, width) = text.split_once('x').unwrap_or((text, text));
        match (number(height), number(width)) {
            (Some(height), Some(width)) => Ok(Self { height, width }),
            _ => Err(format!("`{text}`: expected 224, or 224x320 (height x width)")),
        }
    }
}

impl fmt::Display for ImageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.height == self.width {
            write!(f, "{}", self.height)
        } else {
            write!(f, "{}x{}", self.height, self.width)
        }
    }
}

impl TryFrom<Written> for ImageSize {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Square(side) => side.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<ImageSize> for Written {
    fn from(size: ImageSize) -> Self {
        if size.height == size.width {
            Self::Square(size.height)
        } else {
            Self::Text(size.to_string())
        }
    }
}

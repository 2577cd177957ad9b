//! What an encoder makes of images: opening the encoder, reading the images, and one vector an image.

mod classes;
mod encoder;
mod extract;
mod file;
mod flags;
mod images;
mod labelled;
mod pair;

pub use classes::{Classes, common_classes};
pub use encoder::Encoder;
pub use extract::{Extraction, Pool, extract};
pub use file::{About, Stored, check_place, read, reference, write};
pub use flags::{EncodeFlags, EncoderFlags};
pub use images::{Images, lines_of_corrupt};
pub use labelled::labelled;
pub use pair::{Pair, PairSource};

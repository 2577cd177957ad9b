//! Tiles that the decoder (tiff 0.11) misreads, described in words it understands.
//!
//! It mistakes tiles of separate planes for each other (image-tiff issue 403), so each plane is read as an image of its
//! own; and it takes LZW tiles that reach over the right edge for truncated (issue 395), so the image is read as wide as
//! its tiles are.

use ::tiff::decoder::ChunkType;
use ::tiff::tags::{CompressionMethod, PhotometricInterpretation, PlanarConfiguration, Tag};

use super::tiff::{Reader, error, failure};
use super::tiff_directory::{Directory, tag};
use crate::error::Result;

const WHITE_IS_ZERO: usize = 0;
const BLACK_IS_ZERO: u32 = 1;

/// How an image has to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiling {
    /// As many images of one band; 1 if the file can be read as it is.
    pub planes: usize,
    /// Columns to read, of which the first are the image's.
    pub width: usize,
}

impl Tiling {
    /// What a file of `width` columns needs.
    pub fn of(decoder: &mut Reader<'_>, width: usize) -> Result<Self> {
        let mut tiling = Self { planes: 1, width };
        if decoder.get_chunk_type() != ChunkType::Tile {
            return Ok(tiling);
        }
        let mut number = |tag| decoder.find_tag_unsigned::<u32>(tag).map_err(failure);
        let tile = number(Tag::TileWidth)?.map_or(0, |tile| tile as usize);
        if number(Tag::Compression)? == Some(u32::from(CompressionMethod::LZW.to_u16())) {
            tiling.width = width.checked_next_multiple_of(tile).unwrap_or(width);
        }
        let planar = u32::from(PlanarConfiguration::Planar.to_u16());
        if number(Tag::PlanarConfiguration)? == Some(planar) {
            tiling.planes = number(Tag::SamplesPerPixel)?.unwrap_or(1).max(1) as usize;
        }
        let ycc = u32::from(PhotometricInterpretation::YCbCr.to_u16());
        if tiling.planes > 1 && number(Tag::PhotometricInterpretation)? == Some(ycc) {
            return Err(error("YCbCr in tiles of separate planes is not supported".into()));
        }
        Ok(tiling)
    }

    /// Makes `copy` of the file `bytes` describe its plane number `plane` this way.
    pub fn describe(self, bytes: &[u8], copy: &mut [u8], plane: usize) -> Result<()> {
        let mut described = || {
            let directory = Directory::of(bytes)?;
            let width = u32::try_from(self.width).ok()?;
            directory.set(copy, directory.entry(tag::IMAGE_WIDTH)?, width)?;
            if self.planes > 1 { single(&directory, copy, plane, self.planes) } else { Some(()) }
        };
        described().ok_or_else(|| error("its directory is damaged".into()))
    }
}

/// Makes `copy` say that the image has one band: number `plane` of its `planes`.
fn single(directory: &Directory<'_>, copy: &mut [u8], plane: usize, planes: usize) -> Option<()> {
    for tag in [tag::TILE_OFFSETS, tag::TILE_BYTES] {
        let entry = directory.entry(tag)?;
        let tiles = entry.count.checked_div(planes)?;
        directory.select(copy, entry, plane.checked_mul(tiles)?, tiles)?;
    }
    for tag in [tag::BITS_PER_SAMPLE, tag::SAMPLE_FORMAT] {
        if let Some(entry) = directory.entry(tag) {
            let band = if entry.count == planes { plane } else { 0 };
            directory.set(copy, entry, u32::try_from(directory.value(entry, band)?).ok()?)?;
        }
    }
    if let Some(entry) = directory.entry(tag::EXTRA_SAMPLES) {
        directory.rename(copy, entry, tag::NOTHING)?;
    }
    let photometric = directory.entry(tag::PHOTOMETRIC)?;
    if directory.value(photometric, 0)? != WHITE_IS_ZERO {
        directory.set(copy, photometric, BLACK_IS_ZERO)?;
    }
    directory.set(copy, directory.entry(tag::SAMPLES_PER_PIXEL)?, 1)?;
    directory.set(copy, directory.entry(tag::PLANAR)?, 1)
}

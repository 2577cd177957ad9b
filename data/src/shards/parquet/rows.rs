//! The images of a row group.

use std::collections::HashMap;
use std::io::Write;

use bytes::Bytes;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::metadata::ColumnChunkMetaData;

use super::column::read;
use super::file::Group;
use crate::error::{Error, Result};
use crate::shards::spool::{Spool, temporary};
use crate::shards::stamp::Stamped;

/// The images of a row group, unpacked.
#[derive(Debug)]
pub(super) struct Rows {
    images: Images,
    /// Where the images that are missing came from.
    paths: HashMap<usize, String>,
}

#[derive(Debug)]
enum Images {
    /// Parts of the pages that they were read from.
    Held(Vec<Option<ByteArray>>),
    /// Where they lie in a temporary file.
    Spooled(Spool, Vec<Option<(u64, usize)>>),
}

impl Rows {
    /// Unpacks the images into memory, or into a temporary file.
    pub fn read(file: &Stamped, group: &Group, spooled: bool) -> Result<Self> {
        let (images, missing) = match spooled {
            true => spool(file, group)?,
            false => hold(file, group)?,
        };
        let paths = match (&group.path, missing) {
            (Some(path), true) => paths(file, path, group.rows, &images)?,
            _ => HashMap::new(),
        };
        Ok(Self { images, paths })
    }

    /// The image of a row; an error if there is none.
    pub fn image(&self, file: &Stamped, row: usize) -> Result<Bytes> {
        let image = match &self.images {
            Images::Held(images) => images.get(row).cloned().flatten().map(owned),
            Images::Spooled(spool, places) => {
                let place = places.get(row).copied().flatten();
                let read = place.map(|(offset, len)| spool.read(offset, len));
                read.transpose().map_err(temporary)?
            }
        };
        image.ok_or_else(|| match self.paths.get(&row) {
            Some(path) => file.error(format!(
                "the row has no image, only the path `{path}`: write the dataset with its images embedded"
            )),
            None => file.error("the row has no image"),
        })
    }
}

/// The bytes without a copy.
fn owned(value: ByteArray) -> Bytes {
    struct Owner(ByteArray);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.data()
        }
    }
    Bytes::from_owner(Owner(value))
}

fn hold(file: &Stamped, group: &Group) -> Result<(Images, bool)> {
    let (mut images, mut missing) = (Vec::with_capacity(group.rows), false);
    read::<ByteArrayType>(file, &group.image, group.rows, group.rows, &mut |value| {
        missing |= value.is_none();
        images.push(value);
        Ok(())
    })?;
    Ok((Images::Held(images), missing))
}

fn spool(file: &Stamped, group: &Group) -> Result<(Images, bool)> {
    let (mut places, mut missing) = (Vec::with_capacity(group.rows), false);
    // An image that comes many times is stored once in a dictionary, so there may be more than is claimed; not without
    // end, though, or a small file could fill a disk.
    let limit = group.image_bytes().saturating_mul(4).saturating_add(64 << 20);
    let spool = Spool::write(|writer: &mut dyn Write| {
        let mut end = 0;
        read::<ByteArrayType>(file, &group.image, group.rows, group.rows, &mut |value| {
            missing |= value.is_none();
            let bytes = value.as_ref().map_or(&[][..], ByteArray::data);
            writer.write_all(bytes).map_err(temporary)?;
            places.push(value.as_ref().map(|_| (end, bytes.len())));
            end += bytes.len() as u64;
            match end > limit {
                true => Err(file.error("its images are larger than the footer says")),
                false => Ok(()),
            }
        })
        .map_err(Failed)
    })
    .map_err(|Failed(e)| e)?;
    Ok((Images::Spooled(spool, places), missing))
}

/// What went wrong while a temporary file was filled.
struct Failed(Error);

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self(temporary(error))
    }
}

/// The paths of the rows without an image.
fn paths(
    file: &Stamped,
    column: &ColumnChunkMetaData,
    rows: usize,
    images: &Images,
) -> Result<HashMap<usize, String>> {
    let is_missing = |row: usize| match images {
        Images::Held(images) => images.get(row).is_none_or(Option::is_none),
        Images::Spooled(_, places) => places.get(row).is_none_or(Option::is_none),
    };
    let (mut paths, mut row) = (HashMap::new(), 0);
    read::<ByteArrayType>(file, column, rows, rows, &mut |path| {
        if let Some(path) = path.filter(|_| is_missing(row)) {
            let text = String::from_utf8_lossy(path.data()).chars().take(500).collect();
            paths.insert(row, text);
        }
        row += 1;
        Ok(())
    })?;
    Ok(paths)
}

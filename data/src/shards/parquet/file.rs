//! What the footer of a file says.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use parquet::basic::Type;
use parquet::data_type::ByteArrayType;
use parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader,
    ParquetStatisticsPolicy, RowGroupMetaData,
};

use super::column::{contained, read};
use super::columns::{Columns, candidates, missing, with_image};
use super::features::class_names;
use super::guard::{Guarded, plausible};
use crate::error::Result;
use crate::shards::stamp::Stamped;

/// One file.
#[derive(Debug)]
pub(super) struct ParquetFile {
    pub stamp: Stamped,
    pub groups: Vec<Group>,
    pub classes: Vec<String>,
    /// Whether it was said that some labels are none of a class.
    pub warned: AtomicBool,
}

/// Where the columns of a row group lie.
#[derive(Debug)]
pub(super) struct Group {
    pub rows: usize,
    pub image: ColumnChunkMetaData,
    pub path: Option<ColumnChunkMetaData>,
    pub label: Option<ColumnChunkMetaData>,
}

impl ParquetFile {
    /// Reads the footer of a file.
    pub fn open(path: &Path) -> Result<Self> {
        let (stamp, handle) = Stamped::open(path)?;
        let guarded = Guarded::for_footer(handle, stamp.len);
        let options = ParquetMetaDataOptions::new()
            .with_column_stats_policy(ParquetStatisticsPolicy::SkipAll)
            .with_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll)
            .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
        let metadata = contained(&stamp, &guarded, "", || {
            let reader = ParquetMetaDataReader::new().with_metadata_options(Some(options));
            reader.parse_and_finish(&guarded)
        })?;
        let columns = columns(&stamp, &metadata)?;
        let groups = metadata.row_groups().iter().map(|group| of_group(&stamp, group, columns));
        let groups = groups.collect::<Result<Vec<_>>>()?;
        let rows = groups.iter().try_fold(0_usize, |sum, group| sum.checked_add(group.rows));
        if rows.is_none_or(|rows| rows as u64 > stamp.len) {
            return Err(stamp.error(format!("more rows are claimed than its {} bytes", stamp.len)));
        }
        let classes = columns.label.map(|label| names(&metadata, label)).unwrap_or_default();
        Ok(Self { stamp, groups, classes, warned: AtomicBool::new(false) })
    }
}

/// Which columns are read. Where only the contents can tell, the first value of each candidate is looked at.
fn columns(file: &Stamped, metadata: &ParquetMetaData) -> Result<Columns> {
    let schema = metadata.file_metadata().schema_descr();
    let candidates = candidates(schema).map_err(|reason| file.error(reason))?;
    let image = match candidates[..] {
        [only] if schema.column(only).path().parts().len() > 1 || named(metadata, only) => only,
        _ => {
            let mut images = Vec::new();
            for &column in &candidates {
                if holds_images(file, metadata, column)? {
                    images.push(column);
                }
            }
            match images[..] {
                [only] => only,
                _ => return Err(file.error(missing(schema))),
            }
        }
    };
    Ok(with_image(schema, image))
}

/// Whether a column is an image column by its name.
fn named(metadata: &ParquetMetaData, column: usize) -> bool {
    let name = metadata.file_metadata().schema_descr().column(column).name().to_lowercase();
    name == "image" || name == "img"
}

/// Whether the first value of a column that is not null begins as an image does.
fn holds_images(file: &Stamped, metadata: &ParquetMetaData, column: usize) -> Result<bool> {
    for group in metadata.row_groups() {
        let chunk = group.column(column);
        let rows = check_chunk(file, group, chunk)?;
        let mut first = None;
        read::<ByteArrayType>(file, chunk, rows, rows.min(256), &mut |value| {
            first = first.take().or(value);
            Ok(())
        })?;
        if let Some(value) = first {
            return Ok(image::guess_format(value.data()).is_ok());
        }
    }
    Ok(false)
}

fn of_group(file: &Stamped, group: &RowGroupMetaData, columns: Columns) -> Result<Group> {
    let chunk = |column: usize| {
        let chunk = group.column(column);
        check_chunk(file, group, chunk).map(|_| chunk.clone())
    };
    Ok(Group {
        rows: check_chunk(file, group, group.column(columns.image))?,
        image: chunk(columns.image)?,
        path: columns.path.map(chunk).transpose()?,
        label: columns.label.map(chunk).transpose()?,
    })
}

/// The rows of a column chunk, if it lies in the file and claims nothing that cannot be.
fn check_chunk(
    file: &Stamped,
    group: &RowGroupMetaData,
    chunk: &ColumnChunkMetaData,
) -> Result<usize> {
    let refused = |reason: &str| {
        file.error(format!("the footer is damaged: column `{}` {reason}", chunk.column_path()))
    };
    if chunk.file_path().is_some() {
        return Err(refused("lies in another file"));
    }
    let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
    let numbers = [start, chunk.compressed_size(), chunk.uncompressed_size(), group.num_rows()];
    let [Ok(start), Ok(compressed), Ok(unpacked), Ok(rows)] = numbers.map(u64::try_from) else {
        return Err(refused("has negative sizes"));
    };
    if start.checked_add(compressed).is_none_or(|end| end > file.len) {
        return Err(refused("reaches beyond the end of the file"));
    }
    if !plausible(unpacked, compressed) {
        return Err(refused(&format!("claims {unpacked} bytes out of {compressed}")));
    }
    match usize::try_from(rows) {
        Ok(rows) if chunk.num_values() == group.num_rows() => Ok(rows),
        _ => Err(refused(&format!("has {} values in {rows} rows", chunk.num_values()))),
    }
}

/// The names of the classes that a label column counts.
fn names(metadata: &ParquetMetaData, label: usize) -> Vec<String> {
    let label = metadata.file_metadata().schema_descr().column(label);
    let notes = metadata.file_metadata().key_value_metadata();
    let note = notes.and_then(|notes| notes.iter().find(|note| note.key == "huggingface"));
    let text = note.and_then(|note| note.value.as_deref());
    text.map(|text| class_names(text, label.name())).unwrap_or_default()
}

impl Group {
    /// Whether labels have eight bytes instead of four.
    pub fn wide_labels(&self) -> bool {
        self.label.as_ref().is_some_and(|label| label.column_type() == Type::INT64)
    }

    /// What the images take in memory, in bytes, as far as the footer knows.
    pub fn image_bytes(&self) -> u64 {
        let bytes = u64::try_from(self.image.uncompressed_size()).unwrap_or(u64::MAX);
        bytes.saturating_add(64 * self.rows as u64)
    }
}

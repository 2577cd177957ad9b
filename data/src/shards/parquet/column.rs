//! The values of a column.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;

use super::guard::{Guarded, Pages};
use crate::error::Result;
use crate::shards::stamp::Stamped;

/// How many values are decoded at a time.
const BATCH: usize = 256;

/// Gives the first `rows` values of a column chunk that has `all` of them to `take`, in order; `None` for a null.
pub(super) fn read<T: DataType>(
    file: &Stamped,
    column: &ColumnChunkMetaData,
    all: usize,
    rows: usize,
    take: &mut dyn FnMut(Option<T::T>) -> Result<()>,
) -> Result<()> {
    let guarded = Arc::new(Guarded::for_pages(file.reopen()?, file.len));
    let name = column.column_path().string();
    contained(file, &guarded, &format!("column `{name}`: "), || {
        let pages = Pages::new(Arc::clone(&guarded), column, all)?;
        let mut reader = ColumnReaderImpl::<T>::new(column.column_descr_ptr(), Box::new(pages));
        let (mut levels, mut values, mut left) = (Vec::new(), Vec::new(), rows);
        while left > 0 {
            levels.clear();
            values.clear();
            let (read, ..) =
                reader.read_records(BATCH.min(left), Some(&mut levels), None, &mut values)?;
            if read == 0 {
                let message = format!("{} rows instead of {rows}", rows - left);
                return Err(ParquetError::EOF(message));
            }
            left -= read;
            let whole = column.column_descr().max_def_level();
            if let Err(e) = give(&levels, whole, values.drain(..), take) {
                return Ok(Err(e));
            }
        }
        Ok(Ok(()))
    })?
}

/// Puts nulls between the values, where the levels say so.
fn give<V>(
    levels: &[i16],
    whole: i16,
    mut values: impl Iterator<Item = V>,
    take: &mut dyn FnMut(Option<V>) -> Result<()>,
) -> Result<()> {
    if whole == 0 {
        return values.try_for_each(|value| take(Some(value)));
    }
    levels.iter().try_for_each(|level| take(if *level == whole { values.next() } else { None }))
}

/// Does something with the crate `parquet`; what it cannot do, and where it panics, becomes an error.
pub(super) fn contained<T>(
    file: &Stamped,
    guarded: &Guarded,
    what: &str,
    work: impl FnOnce() -> parquet::errors::Result<T>,
) -> Result<T> {
    let reason = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(e)) => e.to_string(),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            format!("damaged: {}", text.unwrap_or("it cannot be decoded"))
        }
    };
    Err(match guarded.take_failure() {
        Some(failure) => file.io(failure),
        None => file.error(format!("{what}{reason}")),
    })
}

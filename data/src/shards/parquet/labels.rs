//! The labels of a row group.

use std::sync::atomic::Ordering;

use parquet::data_type::{Int32Type, Int64Type};

use super::column::read;
use super::file::{Group, ParquetFile};
use crate::error::Result;

/// A label that is null, negative, or none of the classes.
pub(super) const NO_CLASS: u32 = u32::MAX;

/// The labels of a row group, below `classes` if that is not 0; none if the file has none. A label that cannot be does
/// not make its image useless: it is no class, which is said once for a file.
pub(super) fn labels(file: &ParquetFile, group: &Group, classes: usize) -> Result<Vec<u32>> {
    let Some(column) = &group.label else { return Ok(Vec::new()) };
    let limit = if classes > 0 { classes as u64 } else { u64::from(NO_CLASS) };
    let (mut labels, mut odd) = (Vec::with_capacity(group.rows), None);
    let mut add = |label: Option<i64>| {
        let class = label.and_then(|label| u64::try_from(label).ok());
        let known = class.filter(|&class| class < limit).and_then(|class| class.try_into().ok());
        odd = odd.or(class.filter(|_| known.is_none()));
        labels.push(known.unwrap_or(NO_CLASS));
        Ok(())
    };
    let stamp = &file.stamp;
    match group.wide_labels() {
        true => read::<Int64Type>(stamp, column, group.rows, group.rows, &mut add)?,
        false => {
            let mut add = |label: Option<i32>| add(label.map(i64::from));
            read::<Int32Type>(stamp, column, group.rows, group.rows, &mut add)?;
        }
    }
    if let Some(label) = odd.filter(|_| !file.warned.swap(true, Ordering::Relaxed)) {
        tracing::warn!(file = %stamp.path.display(), label, classes, "labels beyond the classes are left out");
    }
    Ok(labels)
}

//! Datasets kept in shards: large files that hold many samples each.

mod cache;
mod parallel;
mod parquet;
mod pattern;
mod spool;
mod stamp;
mod wds;

pub use self::parquet::ParquetFiles;
pub use self::wds::WebDataset;

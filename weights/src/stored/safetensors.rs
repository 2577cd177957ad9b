//! The table of a safetensors file, from its header.

use super::{Contents, Format, Source, StoredTensor, is_supported};
use crate::header::{Header, MAX_LEN, PREFIX_LEN};
use crate::{Error, Metadata, Result, metadata};
use candle_core::DType;
use safetensors::tensor::TensorInfo;
use std::path::Path;

pub(super) fn read(source: Source<'_>) -> Result<Contents> {
    let (header, data_start) = read_header(source)?;
    check_length(source, data_start.saturating_add(header.data_len()))?;
    let metadata = Metadata::from_map(source.path, &header.metadata)?;
    let layout = metadata::layout(source.path, &header.metadata)?;
    let place = |(name, info): (String, TensorInfo)| {
        let tensor = StoredTensor {
            dtype: dtype(source.path, &name, &info)?,
            offset: data_start + info.data_offsets.0 as u64,
            shape: info.shape,
            strides: None,
        };
        Ok((name, tensor))
    };
    let tensors = header.tensors.into_iter().map(place).collect::<Result<_>>()?;
    Ok(Contents { format: Format::Safetensors, tensors, metadata, layout, notes: Vec::new() })
}

/// The header, and where the data begins.
fn read_header(source: Source<'_>) -> Result<(Header, u64)> {
    let bad_header = |reason| Error::BadHeader { path: source.path.to_owned(), reason };
    let prefix = source.read(0, PREFIX_LEN)?;
    let header_len = prefix.iter().rev().fold(0, |length, byte| length << 8 | u64::from(*byte));
    if header_len > MAX_LEN {
        return Err(bad_header(format!(
            "its length is given as {header_len} bytes, the format allows {MAX_LEN}"
        )));
    }
    let data_start = PREFIX_LEN + header_len;
    if data_start > source.length {
        return Err(Error::Truncated {
            path: source.path.to_owned(),
            found: source.length,
            expected: data_start,
        });
    }
    let json = source.read(PREFIX_LEN, header_len)?;
    Ok((Header::parse(&json).map_err(bad_header)?, data_start))
}

fn check_length(source: Source<'_>, expected: u64) -> Result<()> {
    let (path, found) = (source.path.to_owned(), source.length);
    match found.cmp(&expected) {
        std::cmp::Ordering::Less => Err(Error::Truncated { path, found, expected }),
        std::cmp::Ordering::Greater => Err(Error::TrailingBytes { path, found, expected }),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

fn dtype(path: &Path, name: &str, info: &TensorInfo) -> Result<DType> {
    let dtype = DType::try_from(info.dtype).ok().filter(|dtype| is_supported(*dtype));
    dtype.ok_or_else(|| Error::UnsupportedDtype {
        path: path.to_owned(),
        name: name.to_owned(),
        dtype: info.dtype.to_string(),
    })
}

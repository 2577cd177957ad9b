//! What stands between the crate `parquet` and a file that may be damaged or made to do harm.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length, SerializedPageReader};

/// The most that compression is believed to make of a byte; deflate cannot make more.
const MAX_RATIO: u64 = 1100;

/// How much may be claimed whatever the size of the file: columns of equal labels compress very well.
const FREE_CLAIM: u64 = 64 << 20;

/// Whether so many bytes may be claimed to come out of `compressed` ones.
pub(super) fn plausible(unpacked: u64, compressed: u64) -> bool {
    unpacked <= compressed.saturating_mul(MAX_RATIO).saturating_add(FREE_CLAIM)
}

/// A file of which nothing beyond its end is asked for, and whose failures are told from those of its content.
pub(super) struct Guarded {
    file: File,
    len: u64,
    /// Whether what is read in a row is the headers of pages; else it is the footer.
    pages: bool,
    failure: Mutex<Option<io::Error>>,
}

impl Guarded {
    /// For the pages of one column.
    pub fn for_pages(file: File, len: u64) -> Self {
        Self { pages: true, ..Self::for_footer(file, len) }
    }

    /// For the footer.
    pub fn for_footer(file: File, len: u64) -> Self {
        Self { file, len, pages: false, failure: Mutex::new(None) }
    }

    /// The error of the file system that came up, if one did.
    pub fn take_failure(&self) -> Option<io::Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note<T>(&self, result: io::Result<T>) -> Result<T> {
        result.map_err(|e| {
            let message = ParquetError::General(e.to_string());
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
            message
        })
    }

    fn reader(&self, start: u64) -> io::Result<BufReader<File>> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(start))?;
        Ok(BufReader::new(file))
    }
}

impl Length for Guarded {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Guarded {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let mut reader = self.note(self.reader(start))?;
        if self.pages {
            check_header(self.note(reader.fill_buf())?, start)?;
        }
        Ok(reader)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.len) {
            let (end, len) = (start.saturating_add(length as u64), self.len);
            return Err(ParquetError::EOF(format!("bytes {start} to {end} are wanted of {len}")));
        }
        let mut file = self.note(self.file.try_clone())?;
        self.note(crate::shards::spool::read_at(&mut file, self.len, start, length))
    }
}

/// Refuses a page header that claims what cannot be, before memory is taken for it.
///
/// A header begins with three numbers in Thrift's compact form: type, bytes unpacked, bytes in the file.
fn check_header(mut bytes: &[u8], start: u64) -> Result<()> {
    let mut numbers = [0; 3];
    for number in &mut numbers {
        let parsed = bytes.split_first().filter(|(field, _)| **field == 0x15);
        let parsed = parsed.and_then(|(_, rest)| zigzag(rest));
        let Some((value, rest)) = parsed else {
            return Err(ParquetError::General(format!("there is no page header at byte {start}")));
        };
        (*number, bytes) = (value, rest);
    }
    let [_, unpacked, compressed] = numbers;
    match (u64::try_from(unpacked), u64::try_from(compressed)) {
        (Ok(unpacked), Ok(compressed)) if plausible(unpacked, compressed) => Ok(()),
        _ => Err(ParquetError::General(format!(
            "the page at byte {start} claims {unpacked} bytes out of {compressed}"
        ))),
    }
}

/// A signed number of at most five bytes, and what follows it.
fn zigzag(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0_u64;
    for (place, &byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let value = (value >> 1) as i64 ^ -((value & 1) as i64);
            return Some((value, &bytes[place + 1..]));
        }
    }
    None
}

/// The pages of a column without nesting in lists, none of which holds more than it can.
pub(super) struct Pages {
    inner: SerializedPageReader<Guarded>,
    column_type: Type,
    /// Rows that are still to come.
    rows: usize,
    /// Bytes that may still come.
    bytes: u64,
}

impl Pages {
    pub fn new(file: Arc<Guarded>, column: &ColumnChunkMetaData, rows: usize) -> Result<Self> {
        // Headers are not always counted, so there is some room.
        let bytes = u64::try_from(column.uncompressed_size()).unwrap_or(0);
        let bytes = bytes.saturating_mul(2).saturating_add(1 << 20);
        let inner = SerializedPageReader::new(file, column, rows, None)?;
        Ok(Self { inner, column_type: column.column_type(), rows, bytes })
    }

    fn check(&mut self, page: &Page) -> Result<()> {
        let (values, size) = (page.num_values() as usize, page.buffer().len() as u64);
        self.bytes = self.bytes.checked_sub(size).ok_or_else(|| {
            ParquetError::General("its pages are larger than the footer says".into())
        })?;
        if page.is_dictionary_page() {
            // Each value has four bytes at least.
            return match values <= page.buffer().len() / 4 {
                true => Ok(()),
                false => Err(ParquetError::General(format!(
                    "a dictionary of {values} values in {size} bytes"
                ))),
            };
        }
        self.rows = self.rows.checked_sub(values).ok_or_else(|| {
            ParquetError::General("its pages have more rows than the footer says".into())
        })?;
        self.check_encoding(page.encoding())
    }

    fn check_encoding(&self, encoding: Encoding) -> Result<()> {
        #[allow(deprecated, reason = "older files have it")]
        let known = match encoding {
            Encoding::PLAIN | Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY => true,
            Encoding::DELTA_BINARY_PACKED => self.column_type != Type::BYTE_ARRAY,
            _ => false,
        };
        match known {
            true => Ok(()),
            false => Err(ParquetError::NYI(format!("the encoding {encoding} is not read"))),
        }
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.inner.get_next_page()?;
        if let Some(page) = &page {
            self.check(page)?;
        }
        Ok(page)
    }

    /// Only pages of lists are looked at ahead of time.
    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        Err(ParquetError::NYI("lists are not read".into()))
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.get_next_page().map(drop)
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_claim_too_much_are_refused() {
        // Type 0, 300 bytes out of 200.
        assert!(check_header(&[0x15, 0, 0x15, 0xd8, 4, 0x15, 0x90, 3], 0).is_ok());
        // Two gigabytes out of one byte; less than nothing; no header; cut off.
        for bytes in [
            &[0x15, 0, 0x15, 0xfe, 0xff, 0xff, 0xff, 0xf, 0x15, 2][..],
            &[0x15, 0, 0x15, 1, 0x15, 2],
            &[0x19, 0, 0x15, 2, 0x15, 2],
            &[0x15, 0, 0x15, 0x80],
            &[],
        ] {
            assert!(check_header(bytes, 0).is_err(), "{bytes:?}");
        }
    }
}

//! The first directory of a TIFF file, to change what it says in a copy of the file.
//!
//! Some files are beyond the decoder: palettes and some tiles. A copy whose directory describes the same data in simpler
//! words is read instead.

/// Numbers of tags.
pub(super) mod tag {
    pub const IMAGE_WIDTH: u16 = 256;
    pub const BITS_PER_SAMPLE: u16 = 258;
    pub const PHOTOMETRIC: u16 = 262;
    pub const SAMPLES_PER_PIXEL: u16 = 277;
    pub const PLANAR: u16 = 284;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_BYTES: u16 = 325;
    pub const EXTRA_SAMPLES: u16 = 338;
    pub const SAMPLE_FORMAT: u16 = 339;
    /// A number without a meaning.
    pub const NOTHING: u16 = 65_535;
}

const SHORT: usize = 3;
const LONG: usize = 4;

/// Where the entries of the first directory are.
pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    little: bool,
    /// Of BigTIFF, where counts and offsets have eight bytes and not four.
    big: bool,
    first: usize,
    entries: usize,
}

/// The values of one tag.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    at: usize,
    /// How many values.
    pub count: usize,
    /// Bytes of one value.
    size: usize,
    /// Where the values are.
    values: usize,
}

impl<'a> Directory<'a> {
    /// `None` where the file has none.
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let little = bytes.starts_with(b"II");
        let mut directory = Self { bytes, little, big: false, first: 0, entries: 0 };
        directory.big = match directory.number(2, 2)? {
            42 => false,
            43 => true,
            _ => return None,
        };
        let (at, offset, count) = if directory.big { (8, 8, 8) } else { (4, 4, 2) };
        let start = directory.number(at, offset)?;
        directory.entries = directory.number(start, count)?;
        directory.first = start.checked_add(count)?;
        Some(directory)
    }

    /// Bytes of a count or an offset.
    fn word(&self) -> usize {
        if self.big { 8 } else { 4 }
    }

    /// The number in `len` bytes.
    fn number(&self, at: usize, len: usize) -> Option<usize> {
        let bytes = self.bytes.get(at..at.checked_add(len)?)?;
        let join = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
        let number = match self.little {
            true => bytes.iter().rev().fold(0, join),
            false => bytes.iter().fold(0, join),
        };
        usize::try_from(number).ok()
    }

    /// The entry of a tag, if it is there and all its values are.
    pub fn entry(&self, tag: u16) -> Option<Entry> {
        let word = self.word();
        let step = 4 + 2 * word;
        let ats = (0..self.entries).map_while(|i| self.first.checked_add(i.checked_mul(step)?));
        let mut ats = ats.take_while(|&at| at < self.bytes.len());
        let at = ats.find(|&at| self.number(at, 2) == Some(usize::from(tag)))?;
        let size = match self.number(at + 2, 2)? {
            3 | 8 => 2,
            4 | 9 | 13 => 4,
            16..=18 => 8,
            _ => 1,
        };
        let count = self.number(at + 4, word)?;
        let len = count.checked_mul(size)?;
        let inside = at + 4 + word;
        let values = if len <= word { inside } else { self.number(inside, word)? };
        self.bytes.get(values..values.checked_add(len)?)?;
        Some(Entry { at, count, size, values })
    }

    /// A value of an entry.
    pub fn value(&self, entry: Entry, index: usize) -> Option<usize> {
        (index < entry.count).then_some(())?;
        self.number(entry.values + index * entry.size, entry.size)
    }

    /// Makes an entry of `copy` say only `value`.
    pub fn set(&self, copy: &mut [u8], entry: Entry, value: u32) -> Option<()> {
        let (kind, len) = if value <= 0xFFFF { (SHORT, 2) } else { (LONG, 4) };
        self.write(copy, entry.at + 2, kind, 2)?;
        self.write(copy, entry.at + 4, 1, self.word())?;
        self.write(copy, entry.at + 4 + self.word(), value as usize, len)
    }

    /// Makes an entry of `copy` hold only some of the original's values.
    pub fn select(&self, copy: &mut [u8], entry: Entry, start: usize, count: usize) -> Option<()> {
        (start.checked_add(count)? <= entry.count).then_some(())?;
        let (values, len) = (entry.values + start * entry.size, count * entry.size);
        let inside = entry.at + 4 + self.word();
        self.write(copy, entry.at + 4, count, self.word())?;
        if len > self.word() {
            return self.write(copy, inside, values, self.word());
        }
        copy.get_mut(inside..inside + len)?.copy_from_slice(self.bytes.get(values..values + len)?);
        Some(())
    }

    /// Gives an entry of `copy` another tag.
    pub fn rename(&self, copy: &mut [u8], entry: Entry, tag: u16) -> Option<()> {
        self.write(copy, entry.at, usize::from(tag), 2)
    }

    fn write(&self, copy: &mut [u8], at: usize, number: usize, len: usize) -> Option<()> {
        let target = copy.get_mut(at..at.checked_add(len)?)?;
        for (i, byte) in target.iter_mut().enumerate() {
            let place = if self.little { i } else { len - 1 - i };
            *byte = (number as u64 >> (8 * place)) as u8;
        }
        Some(())
    }
}

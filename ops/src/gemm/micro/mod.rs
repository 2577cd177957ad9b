//! The innermost loops: a tile of up to 32 rows and exactly 32 columns.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
mod portable;

use std::marker::PhantomData;

#[cfg(target_arch = "x86_64")]
pub(super) use avx512::ROWS as STRIP_ROWS;

use super::{PANEL, TileOut};
use crate::Isa;
use crate::buffer::Lines;
use crate::element::Element;
use crate::matrix::Rows;

/// The arguments of an inner loop, with everything already checked.
///
/// `a` points to `rows` rows, `a_row` numbers apart, of `depth` numbers each, whose groups are `a_group` numbers apart;
/// `b` to a packed panel of that depth, with zeros up to a multiple of 16 groups; `out` to `rows` rows of 32 numbers,
/// `out_stride` apart.
struct Args<T> {
    depth: usize,
    rows: usize,
    a: *const T,
    a_row: usize,
    a_group: usize,
    /// Whether an incomplete last group of `a` is there in full, with zeros.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only loops on pairs ask"))]
    a_whole: bool,
    b: *const u32,
    out: *mut f32,
    out_stride: usize,
    /// Whether the product is added to what is there.
    accumulate: bool,
}

/// The left operand of a tile.
#[derive(Clone, Copy)]
pub(crate) enum Operand<'a, T> {
    /// Rows where they lie.
    Rows(Rows<'a, T>),
    /// `rows` columns, from `first` on, of a packed panel.
    Panel { words: &'a [u32], first: usize, rows: usize, depth: usize },
    /// `rows` rows packed by [`Kernel::pack_strip`].
    Strip { words: &'a [u32], rows: usize, depth: usize },
}

impl<T: Element> Operand<'_, T> {
    pub fn depth(&self) -> usize {
        match self {
            Self::Rows(a) => a.cols(),
            Self::Panel { depth, .. } | Self::Strip { depth, .. } => *depth,
        }
    }

    /// `depth` inner steps from `start` on, a multiple of 32; a strip is one of `kernel`'s.
    pub fn part(self, kernel: Kernel<T>, start: usize, depth: usize) -> Self {
        match self {
            Self::Rows(a) => Self::Rows(a.part(0, a.rows(), start, depth)),
            Self::Panel { words, first, rows, .. } => {
                let words = &words[start / T::GROUP * PANEL..];
                Self::Panel { words, first, rows, depth }
            }
            Self::Strip { words, rows, .. } => {
                Self::Strip { words: &words[start / T::GROUP * kernel.rows..], rows, depth }
            }
        }
    }
}

type Loop<T> = unsafe fn(&Args<T>);

/// The inner loop for an element type and instruction set.
pub(crate) struct Kernel<T> {
    rows: usize,
    run: Loop<T>,
    /// The loop on packed strips, where there is one.
    strips: Option<Strips<T>>,
    /// Whether tiles must be configured before and released after.
    tiles: bool,
}

/// A left operand that is packed: what a large product packs once for all of its columns.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "no loop takes strips"))]
struct Strips<T> {
    run: Loop<T>,
    /// 32-bit words of a strip of so many inner steps.
    words: fn(usize) -> usize,
    pack: fn(Rows<'_, T>, &mut [u32]),
    pack_transposed: fn(Rows<'_, T>, &mut [u32]),
    /// Whether all rows of a tile are written, also those that a strip lacks.
    whole: bool,
}

impl<T> Clone for Strips<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Strips<T> {}

impl<T> Clone for Kernel<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Kernel<T> {}

impl<T: Element> Kernel<T> {
    /// The loop for the instruction set in use.
    pub fn current() -> Self {
        Self::of(Isa::current())
    }

    #[cfg(target_arch = "x86_64")]
    fn of(isa: Isa) -> Self {
        let (rows, run): (usize, Loop<T>) = match (isa, T::GROUP) {
            (Isa::Portable, _) => (portable::ROWS, portable::run),
            (Isa::Avx2, _) => (avx2::ROWS, avx2::run),
            (Isa::Amx, 2) => (amx::ROWS, amx::run),
            (Isa::Avx512Bf16, 2) => (avx512_bf16::ROWS, avx512_bf16::run),
            _ => (avx512::ROWS, avx512::run),
        };
        let strips = match (isa, T::GROUP) {
            (Isa::Amx, 2) => Some(amx::strips()),
            (Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx, 1) => Some(avx512::strips()),
            _ => None,
        };
        Self { rows, run, strips, tiles: isa == Isa::Amx && T::GROUP == 2 }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn of(_isa: Isa) -> Self {
        Self { rows: portable::ROWS, run: portable::run, strips: None, tiles: false }
    }

    /// Rows of a full tile.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the loop outruns the cache that a large left operand lies in.
    pub fn fast(&self) -> bool {
        self.tiles
    }

    /// What must live while a thread runs the loop.
    pub fn session(&self) -> Session {
        Session::new(self.tiles)
    }

    /// The left operand of a tile: rows where they lie, or packed into `room` where the loop wants that.
    pub fn operand<'a>(&self, a: Rows<'a, T>, room: &'a mut Lines<u32>) -> Operand<'a, T> {
        if self.takes(a.rows(), a.cols()) {
            return Operand::Rows(a);
        }
        let words = room.room(self.strip_words(a.cols()));
        self.pack_strip(a, words);
        Operand::Strip { words, rows: a.rows(), depth: a.cols() }
    }

    /// Whether the loop takes rows of this number and depth where they lie.
    pub fn takes(&self, rows: usize, depth: usize) -> bool {
        #[cfg(target_arch = "x86_64")]
        if self.tiles {
            return amx::is_whole(rows, depth);
        }
        let _ = (rows, depth);
        true
    }

    /// Whether a large product's rows are better packed beforehand than read where they lie.
    pub fn packs_rows(&self) -> bool {
        self.strips.is_some() && !self.tiles
    }

    /// Whether there is a loop on packed strips.
    pub fn takes_strips(&self) -> bool {
        self.strips.is_some()
    }

    /// Words of a packed strip of up to [`Kernel::rows`] rows; zero where the loop has no use for strips.
    pub fn strip_words(&self, depth: usize) -> usize {
        self.strips.map_or(0, |strips| (strips.words)(depth))
    }

    /// Packs rows as a strip, where the loop has a use for it.
    ///
    /// # Panics
    /// When there are too many rows, or `words` is too short.
    pub fn pack_strip(&self, a: Rows<'_, T>, words: &mut [u32]) {
        if let Some(strips) = self.strips {
            (strips.pack)(a, words);
        }
    }

    /// Packs columns as a strip, of which each is a row.
    ///
    /// # Panics
    /// As [`Kernel::pack_strip`].
    pub fn pack_strip_transposed(&self, a: Rows<'_, T>, words: &mut [u32]) {
        if let Some(strips) = self.strips {
            (strips.pack_transposed)(a, words);
        }
    }

    /// A tile: `a` times a packed panel. Of a strip, some loops write all rows of the tile.
    ///
    /// # Panics
    /// When an operand or the output is too short, or of a kind that the loop does not take.
    #[inline]
    pub fn run(&self, a: Operand<'_, T>, b: &[u32], out: TileOut, accumulate: bool) {
        let args = Args {
            depth: a.depth(),
            rows: 0,
            a: std::ptr::null(),
            a_row: T::GROUP,
            a_group: T::GROUP,
            a_whole: false,
            b: b.as_ptr(),
            out: out.first,
            out_stride: out.stride,
            accumulate,
        };
        match a {
            Operand::Rows(a) => {
                assert!(self.takes(a.rows(), a.cols()), "rows that do not fill tiles");
                let (rows, at, a_row) = (a.rows(), a.as_ptr(), a.stride());
                self.checked(&Args { rows, a: at, a_row, ..args }, b, out, self.run);
            }
            Operand::Panel { words, first, rows, depth } => {
                assert!(!self.tiles && first + rows <= PANEL);
                assert!(words.len() >= super::panel_words::<T>(depth));
                let (at, a_group) = (words[first..].as_ptr().cast::<T>(), PANEL * T::GROUP);
                let args = Args { rows, a: at, a_group, a_whole: true, ..args };
                self.checked(&args, b, out, self.run);
            }
            Operand::Strip { words, rows, depth } => {
                let strips = self.strips.expect("a loop on strips");
                assert!(depth > 0 && words.len() >= (strips.words)(depth));
                let rows = if strips.whole { self.rows } else { rows };
                let args = Args { rows, a: words.as_ptr().cast::<T>(), ..args };
                self.checked(&args, b, out, strips.run);
            }
        }
    }

    #[inline]
    fn checked(&self, args: &Args<T>, b: &[u32], out: TileOut, run: Loop<T>) {
        if args.rows == 0 {
            return;
        }
        assert!(args.rows <= self.rows && b.len() >= super::panel_words::<T>(args.depth));
        assert!(out.stride >= PANEL && out.len >= (args.rows - 1) * out.stride + PANEL);
        // SAFETY: the bounds were just checked, those of `a` by the callers, and the loop is one that this processor
        // can run.
        unsafe { run(args) }
    }
}

/// Tiles are configured while this lives, if the loop needs it.
pub(crate) struct Session {
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "there are none"))]
    tiles: bool,
    /// The configuration belongs to the thread.
    thread: PhantomData<*const ()>,
}

impl Session {
    fn new(tiles: bool) -> Self {
        #[cfg(target_arch = "x86_64")]
        if tiles {
            amx::configure();
        }
        Self { tiles, thread: PhantomData }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        if self.tiles {
            amx::release();
        }
    }
}

/// Whether processor and system have AMX with bf16.
#[cfg(target_arch = "x86_64")]
pub(crate) fn amx_available() -> bool {
    amx::available()
}

impl<T: Element> Args<T> {
    /// The number of `a` at a row and depth.
    ///
    /// # Safety
    /// Both must be inside `a`.
    #[inline(always)]
    unsafe fn a(&self, row: usize, depth: usize) -> f32 {
        let (group, part) = (depth / T::GROUP, depth % T::GROUP);
        // SAFETY: as the caller promises.
        unsafe { (*self.a.add(row * self.a_row + group * self.a_group + part)).to_f32() }
    }
}

/// The number at group `i`, lane `lane` of a word.
#[inline(always)]
fn lane<T: Element>(word: u32, lane: usize) -> f32 {
    T::from_bits(if T::GROUP == 1 { word } else { (word >> (16 * lane)) & 0xffff }).to_f32()
}

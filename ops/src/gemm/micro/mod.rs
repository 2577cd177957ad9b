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

use super::{PANEL, TileOut};
use crate::Isa;
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

type Loop<T> = unsafe fn(&Args<T>);

/// The inner loop for an element type and instruction set.
pub(crate) struct Kernel<T> {
    rows: usize,
    run: Loop<T>,
    /// Whether tiles must be configured before and released after.
    tiles: bool,
}

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
        Self { rows, run, tiles: isa == Isa::Amx && T::GROUP == 2 }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn of(_isa: Isa) -> Self {
        Self { rows: portable::ROWS, run: portable::run, tiles: false }
    }

    /// Rows of a full tile.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What must live while a thread runs the loop.
    pub fn session(&self) -> Session {
        Session::new(self.tiles)
    }

    /// A tile: the rows of `a` times a packed panel.
    ///
    /// # Panics
    /// When the panel or the output is too short for `a`.
    #[inline]
    pub fn run(&self, a: Rows<'_, T>, b: &[u32], out: TileOut, accumulate: bool) {
        let args = Args {
            depth: a.cols(),
            rows: a.rows(),
            a: a.as_ptr(),
            a_row: a.stride(),
            a_group: T::GROUP,
            a_whole: false,
            b: b.as_ptr(),
            out: out.first,
            out_stride: out.stride,
            accumulate,
        };
        self.checked(&args, b, out);
    }

    /// Whether [`Kernel::run_packed`] is there; the other loops want rows.
    pub fn takes_panels(&self) -> bool {
        !self.tiles
    }

    /// A tile: `rows` columns, from `first` on, of the packed panel `a`, times the packed panel `b`.
    ///
    /// # Panics
    /// When a panel or the output is too short, or the loop wants rows.
    #[inline]
    pub fn run_packed(
        &self,
        a: &[u32],
        (first, rows): (usize, usize),
        depth: usize,
        b: &[u32],
        out: TileOut,
        accumulate: bool,
    ) {
        assert!(self.takes_panels() && first + rows <= PANEL);
        assert!(a.len() >= super::panel_words::<T>(depth));
        let args = Args {
            depth,
            rows,
            a: a[first..].as_ptr().cast::<T>(),
            a_row: T::GROUP,
            a_group: PANEL * T::GROUP,
            a_whole: true,
            b: b.as_ptr(),
            out: out.first,
            out_stride: out.stride,
            accumulate,
        };
        self.checked(&args, b, out);
    }

    #[inline]
    fn checked(&self, args: &Args<T>, b: &[u32], out: TileOut) {
        if args.rows == 0 {
            return;
        }
        assert!(args.rows <= self.rows && b.len() >= super::panel_words::<T>(args.depth));
        assert!(out.stride >= PANEL && out.len >= (args.rows - 1) * out.stride + PANEL);
        // SAFETY: the bounds were just checked, those of `a` by the callers, and the loop is one that this processor
        // can run.
        unsafe { (self.run)(args) }
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

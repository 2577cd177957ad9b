//! The loop on AMX: four tiles of 16 x 16 sums, two of `A` (16 rows x 32 numbers), two of `B` (16 pairs x 16 columns).
//!
//! Rows that do not fill tiles are packed as a strip that does. What surrounds the tile instructions is written against
//! [`Strip`] and runs in tests on every machine, on a model of the tiles; the instructions themselves need a processor
//! that has them.

use core::arch::asm;
use std::sync::OnceLock;

use super::{Args, Strips};
use crate::element::Element;
use crate::gemm::transpose;
use crate::matrix::{Rows, RowsMut};

pub(super) const ROWS: usize = 32;
/// Numbers of the inner dimension in a step.
const STEP: usize = 32;

/// `steps` inner steps (at least one) of a 32 x 32 tile: `A`'s two halves of 16 rows at `a`, `a_stride` bytes between
/// rows; `B` at `b`, rows of 128 bytes; sums at `out`, `out_stride` bytes between rows.
struct Strip {
    steps: usize,
    a: [*const u8; 2],
    a_stride: usize,
    /// Whether a step's 32 rows of `A` lie one after the other and then the next step's, as [`pack`] leaves them.
    packed: bool,
    b: *const u8,
    out: *mut f32,
    out_stride: usize,
    /// Whether the product is added to what is there.
    accumulate: bool,
}

/// Whether processor and system have AMX tiles with bf16; asks Linux for them once.
pub(super) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| has_instructions() && permitted())
}

fn has_instructions() -> bool {
    use core::arch::x86_64::{__cpuid, __cpuid_count};
    if __cpuid(0).eax < 7 {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    // AMX-BF16 and AMX-TILE.
    features & (1 << 22) != 0 && features & (1 << 24) != 0
}

#[cfg(target_os = "linux")]
fn permitted() -> bool {
    /// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`.
    const ARCH_PRCTL: i64 = 158;
    let mut result = ARCH_PRCTL;
    // SAFETY: a system call that touches no memory of ours; it clobbers rcx and r11.
    unsafe {
        asm!("syscall", inout("rax") result, in("rdi") 0x1023, in("rsi") 18,
             out("rcx") _, out("r11") _, options(nostack));
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

/// Makes all eight tiles 16 rows of 64 bytes on this thread.
pub(super) fn configure() {
    let mut config = Config {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        bytes_per_row: [0; 16],
        rows: [0; 16],
    };
    config.bytes_per_row[..8].fill(64);
    config.rows[..8].fill(16);
    // SAFETY: reached only where AMX is available; the configuration is 64 bytes of a valid palette.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, readonly)) };
}

/// Gives this thread's tiles back.
pub(super) fn release() {
    // SAFETY: reached only where AMX is available.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// A tile of 32 rows and a depth of whole steps, where they lie.
///
/// # Safety
/// As [`Args`] says, `T` must be bf16, AMX available and tiles configured on this thread.
pub(super) unsafe fn run<T: Element>(args: &Args<T>) {
    // SAFETY: as the caller promises.
    unsafe { hardware(&rows_strip(args)) }
}

/// What packs strips, and the loop on them.
pub(super) fn strips<T: Element>() -> Strips<T> {
    Strips { run: run_strip, words: strip_words, pack, pack_transposed, whole: true }
}

/// The same of a packed strip; the depth is rounded up to whole steps.
///
/// # Safety
/// As [`run`], `a` being [`strip_words`] words.
unsafe fn run_strip<T: Element>(args: &Args<T>) {
    // SAFETY: as the caller promises.
    unsafe { hardware(&packed_strip(args)) }
}

/// # Safety
/// As [`Args`] says.
unsafe fn rows_strip<T: Element>(args: &Args<T>) -> Strip {
    assert!(is_whole(args.rows, args.depth));
    // SAFETY: `a` has 32 rows.
    let below = unsafe { args.a.add(16 * args.a_row) };
    Strip {
        steps: args.depth / STEP,
        a: [args.a.cast(), below.cast()],
        a_stride: args.a_row * 2,
        packed: false,
        b: args.b.cast(),
        out: args.out,
        out_stride: args.out_stride * 4,
        accumulate: args.accumulate,
    }
}

/// # Safety
/// As [`run_strip`].
unsafe fn packed_strip<T: Element>(args: &Args<T>) -> Strip {
    // SAFETY: a step has 32 rows.
    let below = unsafe { args.a.add(16 * STEP) };
    Strip {
        steps: args.depth.div_ceil(STEP),
        a: [args.a.cast(), below.cast()],
        a_stride: STEP * 2,
        packed: true,
        b: args.b.cast(),
        out: args.out,
        out_stride: args.out_stride * 4,
        accumulate: args.accumulate,
    }
}

/// Whether rows of this number and depth fill tiles.
pub(super) fn is_whole(rows: usize, depth: usize) -> bool {
    rows == ROWS && depth > 0 && depth.is_multiple_of(STEP)
}

/// # Safety
/// `strip` must describe memory that is there, AMX be available and tiles configured.
unsafe fn hardware(strip: &Strip) {
    // SAFETY: as the caller promises. `tmm0..7` need no clobbers: the compiler never uses them.
    unsafe {
        let below = strip.out.byte_add(16 * strip.out_stride);
        if strip.accumulate {
            asm!(
                "tileloadd tmm0, [{c} + {s}]",
                "tileloadd tmm1, [{c} + {s} + 64]",
                "tileloadd tmm2, [{d} + {s}]",
                "tileloadd tmm3, [{d} + {s} + 64]",
                c = in(reg) strip.out, d = in(reg) below, s = in(reg) strip.out_stride,
                options(nostack, readonly)
            );
        } else {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, nomem)
            );
        }
        if strip.packed {
            steps_of_strip(strip)
        } else {
            steps_of_rows(strip)
        }
        asm!(
            "tilestored [{c} + {s}], tmm0",
            "tilestored [{c} + {s} + 64], tmm1",
            "tilestored [{d} + {s}], tmm2",
            "tilestored [{d} + {s} + 64], tmm3",
            c = in(reg) strip.out, d = in(reg) below, s = in(reg) strip.out_stride,
            options(nostack)
        );
    }
}

/// Asks for eight lines of an operand's memory.
macro_rules! lines {
    ($operand:literal, $from:literal) => {
        concat!(
            ".irp line,0,1,2,3,4,5,6,7\n",
            "prefetcht0 [{",
            $operand,
            "} + ",
            $from,
            " + 64*\\line]\n",
            ".endr"
        )
    };
}

/// Asks for the next line of eight rows.
macro_rules! rows {
    ($first:literal) => {
        concat!(
            "prefetcht0 [{",
            $first,
            "} + 64]\n",
            "prefetcht0 [{",
            $first,
            "} + {s} + 64]\n",
            "prefetcht0 [{",
            $first,
            "} + 2*{s} + 64]\n",
            "prefetcht0 [{",
            $first,
            "} + {s3} + 64]\n",
            "prefetcht0 [{",
            $first,
            "} + 4*{s} + 64]\n",
            "prefetcht0 [{",
            $first,
            "} + {s5} + 64]\n",
            "prefetcht0 [{",
            $first,
            "} + 2*{s3} + 64]\n",
            "prefetcht0 [{",
            $first,
            "} + {s7} + 64]"
        )
    };
}

/// All steps of a packed strip. Each asks for what the one after the next will load: operands come from the second-level
/// cache or from further away. On a core whose other thread is busy this alone doubles the speed, a part of it even where
/// all is in the first-level cache: such a core gives more of its time to a thread that has more instructions.
///
/// # Safety
/// As [`hardware`].
unsafe fn steps_of_strip(strip: &Strip) {
    // SAFETY: as the caller promises; prefetches may name any address.
    unsafe {
        asm!(
            "2:",
            "tileloadd tmm6, [{b} + {t}]",
            lines!("a", 4096),
            "tileloadd tmm4, [{a} + {s}]",
            lines!("a", 4608),
            "tdpbf16ps tmm0, tmm4, tmm6",
            lines!("a", 5120),
            "tileloadd tmm7, [{b} + {t} + 64]",
            lines!("a", 5632),
            "tdpbf16ps tmm1, tmm4, tmm7",
            lines!("b", 4096),
            "tileloadd tmm5, [{a} + {s} + 1024]",
            lines!("b", 4608),
            "tdpbf16ps tmm2, tmm5, tmm6",
            lines!("b", 5120),
            "tdpbf16ps tmm3, tmm5, tmm7",
            lines!("b", 5632),
            "add {a}, 2048",
            "add {b}, 2048",
            "dec {n}",
            "jnz 2b",
            a = inout(reg) strip.a[0] => _, b = inout(reg) strip.b => _,
            n = inout(reg) strip.steps => _, s = in(reg) 64_usize, t = in(reg) 128_usize,
            options(nostack, readonly)
        );
    }
}

/// All steps of rows where they lie; each asks for what the next will load of the rows, and the one after it of `B`.
///
/// # Safety
/// As [`hardware`].
unsafe fn steps_of_rows(strip: &Strip) {
    let (a, stride) = (strip.a, strip.a_stride);
    // SAFETY: as the caller promises; prefetches may name any address.
    unsafe {
        asm!(
            "2:",
            "tileloadd tmm6, [{b} + {t}]",
            rows!("a0"),
            "tileloadd tmm4, [{a0} + {s}]",
            rows!("a8"),
            "tdpbf16ps tmm0, tmm4, tmm6",
            rows!("a16"),
            "tileloadd tmm7, [{b} + {t} + 64]",
            rows!("a24"),
            "tdpbf16ps tmm1, tmm4, tmm7",
            lines!("b", 4096),
            "tileloadd tmm5, [{a16} + {s}]",
            lines!("b", 4608),
            "tdpbf16ps tmm2, tmm5, tmm6",
            lines!("b", 5120),
            "tdpbf16ps tmm3, tmm5, tmm7",
            lines!("b", 5632),
            "add {a0}, 64",
            "add {a8}, 64",
            "add {a16}, 64",
            "add {a24}, 64",
            "add {b}, 2048",
            "dec {n}",
            "jnz 2b",
            a0 = inout(reg) a[0] => _, a8 = inout(reg) a[0].add(8 * stride) => _,
            a16 = inout(reg) a[1] => _, a24 = inout(reg) a[1].add(8 * stride) => _,
            b = inout(reg) strip.b => _, n = inout(reg) strip.steps => _,
            s = in(reg) stride, s3 = in(reg) 3 * stride, s5 = in(reg) 5 * stride,
            s7 = in(reg) 7 * stride, t = in(reg) 128_usize,
            options(nostack, readonly)
        );
    }
}

/// 32-bit words of a step of a packed strip: 32 rows of 16 pairs.
const STEP_WORDS: usize = ROWS * STEP / 2;

/// Words of a packed strip of `depth` inner steps.
fn strip_words(depth: usize) -> usize {
    depth.div_ceil(STEP) * STEP_WORDS
}

/// Packs up to 32 rows as whole tiles, `[depth / 32][32 rows][32]`, with zeros beyond the rows and the depth.
fn pack<T: Element>(a: Rows<'_, T>, words: &mut [u32]) {
    assert!(a.rows() <= ROWS && T::GROUP == 2);
    let words = &mut words[..strip_words(a.cols())];
    for (step, tile) in words.chunks_exact_mut(STEP_WORDS).enumerate() {
        let start = step * STEP;
        let width = (a.cols() - start).min(STEP);
        let (rows, rest) = tile.split_at_mut(a.rows() * STEP / 2);
        rest.fill(0);
        for (row, to) in rows.as_chunks_mut::<{ STEP / 2 }>().0.iter_mut().enumerate() {
            let from = &a.row(row)[start..start + width];
            match <&[T; STEP]>::try_from(from) {
                // SAFETY: as many bytes on both sides, and all bits are numbers.
                Ok(from) => *to = unsafe { core::mem::transmute_copy(from) },
                Err(_) => *to = pairs(from),
            }
        }
    }
}

/// Packs up to 32 columns as the rows of a strip.
fn pack_transposed<T: Element>(a: Rows<'_, T>, words: &mut [u32]) {
    assert!(a.cols() <= ROWS && T::GROUP == 2);
    let words = &mut words[..strip_words(a.rows())];
    for (step, tile) in words.chunks_exact_mut(STEP_WORDS).enumerate() {
        let start = step * STEP;
        let depth = (a.rows() - start).min(STEP);
        if depth < STEP || a.cols() < ROWS {
            tile.fill(0);
        }
        // SAFETY: a tile is 32 x 32 numbers of 16 bits, and all bits are numbers.
        let tile =
            unsafe { core::slice::from_raw_parts_mut(tile.as_mut_ptr().cast::<T>(), ROWS * STEP) };
        transpose(a.part(start, depth, 0, a.cols()), RowsMut::new(tile, a.cols(), depth, STEP));
    }
}

fn pairs<T: Element>(from: &[T]) -> [u32; STEP / 2] {
    let bits = |i: usize| from.get(i).map_or(0, |x| x.bits());
    core::array::from_fn(|i| bits(2 * i) | (bits(2 * i + 1) << 16))
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use crate::gemm::PANEL;

    use super::{Args, ROWS, Rows, Strip, is_whole, pack, packed_strip, rows_strip, strip_words};

    /// What the tile instructions do, by Intel's manual: pairs of bf16, sums in f32.
    fn model(strip: &Strip) {
        // SAFETY: the tests hand in memory of the size that a strip describes.
        unsafe {
            let a_step = if strip.packed { super::STEP_WORDS * 4 } else { super::STEP * 2 };
            for row in 0..ROWS {
                for col in 0..PANEL {
                    let sum = strip.out.byte_add(row * strip.out_stride).add(col);
                    if !strip.accumulate {
                        *sum = 0.0;
                    }
                    for step in 0..strip.steps {
                        let a = strip.a[row / 16].add(row % 16 * strip.a_stride + step * a_step);
                        let b = strip.b.add(step * 2048 + col * 4);
                        for pair in 0..16 {
                            let a = a.cast::<[bf16; 2]>().add(pair).read_unaligned();
                            let b = b.add(pair * 128).cast::<[bf16; 2]>().read_unaligned();
                            *sum += a[0].to_f32() * b[0].to_f32() + a[1].to_f32() * b[1].to_f32();
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn edges_around_the_tiles_are_exact() {
        for rows in [1, 2, 15, 16, 17, 31, 32] {
            for depth in [1, 2, 3, 31, 32, 33, 64, 95, 130] {
                for accumulate in [false, true] {
                    compare(rows, depth, accumulate);
                }
            }
        }
    }

    /// Small whole numbers, so that every order of summation gives the same.
    fn number(i: usize) -> bf16 {
        bf16::from_f32((i * 7 % 11) as f32 - 5.0)
    }

    fn compare(rows: usize, depth: usize, accumulate: bool) {
        let (stride, out_stride) = (depth + 3, PANEL + 5);
        let a: Vec<bf16> = (0..rows * stride).map(number).collect();
        let mut strip = vec![u32::MAX; strip_words(depth)];
        pack(Rows::new(&a, rows, depth, stride), &mut strip);
        let pairs = depth.next_multiple_of(32) / 2;
        let at = |k: usize, col: usize| if k < depth { number(k * 13 + col) } else { bf16::ZERO };
        let b: Vec<u32> = (0..pairs * PANEL)
            .map(|i| {
                let (pair, col) = (i / PANEL, i % PANEL);
                let bits = |k| u32::from(at(k, col).to_bits());
                bits(2 * pair) | (bits(2 * pair + 1) << 16)
            })
            .collect();
        let before: Vec<f32> = (0..ROWS * out_stride).map(|i| i as f32).collect();
        for packed in [true, false] {
            if !packed && !is_whole(rows, depth) {
                continue;
            }
            let mut out = before.clone();
            let args = Args {
                depth,
                rows,
                a: if packed { strip.as_ptr().cast() } else { a.as_ptr() },
                a_row: stride,
                a_group: 2,
                a_whole: false,
                b: b.as_ptr(),
                out: out.as_mut_ptr(),
                out_stride,
                accumulate,
            };
            // SAFETY: the buffers have the sizes that the arguments say.
            model(&unsafe { if packed { packed_strip(&args) } else { rows_strip(&args) } });
            for (i, (found, old)) in out.iter().zip(&before).enumerate() {
                let (row, col) = (i / out_stride, i % out_stride);
                let a = |k: usize| if row < rows { a[row * stride + k].to_f32() } else { 0.0 };
                let sum: f32 = (0..depth).map(|k| a(k) * at(k, col).to_f32()).sum();
                let kept = if accumulate { *old } else { 0.0 };
                let expected = if col < PANEL { kept + sum } else { *old };
                assert_eq!(*found, expected, "({row}, {col}) of {rows} x {depth}, {accumulate}");
            }
        }
    }
}

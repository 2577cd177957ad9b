//! The loop on AMX: four tiles of 16 x 16 sums, two of `A` (16 rows x 32 numbers), two of `B` (16 pairs x 16 columns).
//!
//! What surrounds the tile instructions (edges, strides, padding) is written against [`Strip`] and runs in tests on
//! every machine, on a model of the tiles; the instructions themselves need a processor that has them.

use core::arch::asm;
use std::sync::OnceLock;

use super::{Args, PANEL};
use crate::element::Element;

pub(super) const ROWS: usize = 32;
/// Numbers of the inner dimension in a step.
const STEP: usize = 32;

/// `steps` inner steps (at least one) of a 32 x 32 tile: `A`'s two halves of 16 rows at `a`, `a_stride` bytes between rows, the next
/// step 64 bytes on; `B` at `b`, rows of 128 bytes; sums at `out`, `out_stride` bytes between rows, loaded first.
struct Strip {
    steps: usize,
    a: [*const u8; 2],
    a_stride: usize,
    b: *const u8,
    out: *mut f32,
    out_stride: usize,
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

/// # Safety
/// As [`Args`] says, `T` must be bf16, AMX available and tiles configured on this thread.
pub(super) unsafe fn run<T: Element>(args: &Args<T>) {
    // SAFETY: as the caller promises.
    unsafe { run_with(args, |strip| hardware(strip)) }
}

/// # Safety
/// `strip` must describe memory that is there, AMX be available and tiles configured.
unsafe fn hardware(strip: &Strip) {
    // SAFETY: as the caller promises. `tmm0..7` need no clobbers: the compiler never uses them.
    unsafe {
        let below = strip.out.byte_add(16 * strip.out_stride);
        asm!(
            "tileloadd tmm0, [{c} + {s}]",
            "tileloadd tmm1, [{c} + {s} + 64]",
            "tileloadd tmm2, [{d} + {s}]",
            "tileloadd tmm3, [{d} + {s} + 64]",
            c = in(reg) strip.out, d = in(reg) below, s = in(reg) strip.out_stride,
            options(nostack, readonly)
        );
        {
            asm!(
                "2:",
                "tileloadd tmm6, [{b} + {t}]",
                "tileloadd tmm4, [{a0} + {s}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b} + {t} + 64]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{a1} + {s}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a0}, 64",
                "add {a1}, 64",
                "add {b}, 2048",
                "dec {n}",
                "jnz 2b",
                a0 = inout(reg) strip.a[0] => _, a1 = inout(reg) strip.a[1] => _,
                b = inout(reg) strip.b => _, n = inout(reg) strip.steps => _,
                s = in(reg) strip.a_stride, t = in(reg) 128_usize,
                options(nostack, readonly)
            );
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

/// Room for a tile's sums and for a step of `A` at the edges.
#[repr(C, align(64))]
struct Edge {
    sums: [f32; ROWS * PANEL],
    a: [u16; ROWS * STEP],
}

/// The tile on `strip`: whole tiles where they lie, edges through a copy padded with zeros.
///
/// # Safety
/// As [`Args`] says, and `T` must be bf16.
#[inline(always)]
unsafe fn run_with<T: Element>(args: &Args<T>, strip: impl Fn(&Strip)) {
    let a = args.a.cast::<u16>();
    let mut edge = Edge { sums: [0.0; ROWS * PANEL], a: [0; ROWS * STEP] };
    let whole_rows = args.rows == ROWS;
    let (out, out_stride) =
        if whole_rows { (args.out, args.out_stride) } else { (edge.sums.as_mut_ptr(), PANEL) };
    // SAFETY: rows and columns are inside what the caller promises; copies are inside `edge`.
    unsafe {
        for row in 0..args.rows {
            let to = core::slice::from_raw_parts_mut(out.add(row * out_stride), PANEL);
            if !args.accumulate {
                to.fill(0.0);
            } else if !whole_rows {
                to.copy_from_slice(core::slice::from_raw_parts(
                    args.out.add(row * args.out_stride),
                    PANEL,
                ));
            }
        }
        let steps = if whole_rows { args.depth / STEP } else { 0 };
        if steps > 0 {
            strip(&Strip {
                steps,
                a: [a.cast(), a.add(16 * args.a_row).cast()],
                a_stride: args.a_row * 2,
                b: args.b.cast(),
                out,
                out_stride: out_stride * 4,
            });
        }
        for start in (steps * STEP..args.depth).step_by(STEP) {
            let width = (args.depth - start).min(STEP);
            for row in 0..args.rows {
                let to = &mut edge.a[row * STEP..][..STEP];
                to[width..].fill(0);
                let from = core::slice::from_raw_parts(a.add(row * args.a_row + start), width);
                to[..width].copy_from_slice(from);
            }
            let first = edge.a.as_ptr();
            strip(&Strip {
                steps: 1,
                a: [first.cast(), first.add(16 * STEP).cast()],
                a_stride: STEP * 2,
                b: args.b.add(start / 2 * PANEL).cast(),
                out,
                out_stride: out_stride * 4,
            });
        }
        if !whole_rows {
            for row in 0..args.rows {
                let to =
                    core::slice::from_raw_parts_mut(args.out.add(row * args.out_stride), PANEL);
                to.copy_from_slice(&edge.sums[row * PANEL..][..PANEL]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::{Args, PANEL, ROWS, Strip, run_with};

    /// What the tile instructions do, by Intel's manual: pairs of bf16, sums in f32.
    fn model(strip: &Strip) {
        // SAFETY: the tests hand in memory of the size that a strip describes.
        unsafe {
            for row in 0..ROWS {
                for col in 0..PANEL {
                    let sum = strip.out.byte_add(row * strip.out_stride).add(col);
                    for step in 0..strip.steps {
                        let a = strip.a[row / 16].add(row % 16 * strip.a_stride + step * 64);
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
        let pairs = depth.next_multiple_of(32) / 2;
        let at = |k: usize, col: usize| if k < depth { number(k * 13 + col) } else { bf16::ZERO };
        let b: Vec<u32> = (0..pairs * PANEL)
            .map(|i| {
                let (pair, col) = (i / PANEL, i % PANEL);
                let bits = |k| u32::from(at(k, col).to_bits());
                bits(2 * pair) | (bits(2 * pair + 1) << 16)
            })
            .collect();
        let before: Vec<f32> = (0..rows * out_stride).map(|i| i as f32).collect();
        let mut out = before.clone();
        let args = Args {
            depth,
            rows,
            a: a.as_ptr(),
            a_row: stride,
            a_group: 2,
            a_whole: false,
            b: b.as_ptr(),
            out: out.as_mut_ptr(),
            out_stride,
            accumulate,
        };
        // SAFETY: the buffers have the sizes that the arguments say.
        unsafe { run_with(&args, model) };
        for (i, (found, old)) in out.iter().zip(&before).enumerate() {
            let (row, col) = (i / out_stride, i % out_stride);
            let sum: f32 =
                (0..depth).map(|k| a[row * stride + k].to_f32() * at(k, col).to_f32()).sum();
            let kept = if accumulate { *old } else { 0.0 };
            let expected = if col < PANEL { kept + sum } else { *old };
            assert_eq!(*found, expected, "row {row} column {col}, {rows} x {depth}, {accumulate}");
        }
    }
}

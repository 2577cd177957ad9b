//! The innermost loop: 32 x 32 sums in four tiles, two tiles for a part of the rows and two for a part of the columns.

use core::arch::asm;

use super::STEP_WORDS;
use crate::gemm::Tile;

/// Adds the product of a strip's and a panel's steps to the sums, or puts it there.
///
/// # Panics
/// When there are no whole steps, or not as many on both sides.
pub(super) fn add(a: &[u32], b: &[u32], sums: &mut Tile, accumulate: bool) {
    assert!(!a.is_empty() && a.len() == b.len() && a.len().is_multiple_of(STEP_WORDS));
    // SAFETY: sizes as just checked; reached only where the processor has AMX, in a session that has configured tiles.
    unsafe { hardware(a.len() / STEP_WORDS, a.as_ptr(), b.as_ptr(), sums, accumulate) }
}

/// Asks for five lines of an operand's next step: it comes from the second-level cache. A core whose other thread is busy
/// gives a thread more of its time the more instructions it has, and most where they lie evenly between those on tiles: ten
/// each make the loop one and a half times as fast there, and cost nothing where a core has one thread.
macro_rules! ahead {
    ($operand:literal, $part:literal) => {
        concat!(
            ".irp line,0,1,2,3,4\n",
            "prefetcht0 [{",
            $operand,
            "} + 6144 + 320*",
            $part,
            " + 64*\\line]\n",
            "nop\n",
            ".endr"
        )
    };
}

/// # Safety
/// There must be `steps` steps (at least one) at `a` and `b`, AMX be available and tiles configured on this thread.
unsafe fn hardware(steps: usize, a: *const u32, b: *const u32, sums: &mut Tile, accumulate: bool) {
    // SAFETY: as the caller promises; prefetches may name any address. `tmm0..7` need no clobbers: the compiler never uses
    // them.
    unsafe {
        if accumulate {
            asm!(
                "tileloadd tmm0, [{c} + {s}]",
                "tileloadd tmm1, [{c} + {s} + 64]",
                "tileloadd tmm2, [{c} + {s} + 2048]",
                "tileloadd tmm3, [{c} + {s} + 2112]",
                c = in(reg) sums, s = in(reg) 128_usize,
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
        // Parts lie 2048 bytes apart, the largest first; of rows 16 a tile, of columns 16 too. Each part of one side is met by
        // those of the other side that it needs before it makes room.
        asm!(
            "2:",
            // Second by second.
            "tileloadd tmm6, [{b} + {t} + 2048]",
            ahead!("a", 0),
            "tileloadd tmm4, [{a} + {s} + 2048]",
            ahead!("b", 0),
            "tdpbf16ps tmm0, tmm4, tmm6",
            ahead!("a", 1),
            "tileloadd tmm7, [{b} + {t} + 2112]",
            ahead!("b", 1),
            "tdpbf16ps tmm1, tmm4, tmm7",
            ahead!("a", 2),
            "tileloadd tmm5, [{a} + {s} + 3072]",
            ahead!("b", 2),
            "tdpbf16ps tmm2, tmm5, tmm6",
            ahead!("a", 3),
            "tdpbf16ps tmm3, tmm5, tmm7",
            ahead!("b", 3),
            // First by second.
            "tileloadd tmm4, [{a} + {s}]",
            ahead!("a", 4),
            "tdpbf16ps tmm0, tmm4, tmm6",
            ahead!("b", 4),
            "tdpbf16ps tmm1, tmm4, tmm7",
            ahead!("a", 5),
            "tileloadd tmm5, [{a} + {s} + 1024]",
            ahead!("b", 5),
            "tdpbf16ps tmm2, tmm5, tmm6",
            ahead!("a", 6),
            "tdpbf16ps tmm3, tmm5, tmm7",
            ahead!("b", 6),
            // First by third.
            "tileloadd tmm6, [{b} + {t} + 4096]",
            ahead!("a", 7),
            "tdpbf16ps tmm0, tmm4, tmm6",
            ahead!("b", 7),
            "tdpbf16ps tmm2, tmm5, tmm6",
            ahead!("a", 8),
            "tileloadd tmm7, [{b} + {t} + 4160]",
            ahead!("b", 8),
            "tdpbf16ps tmm1, tmm4, tmm7",
            ahead!("a", 9),
            "tdpbf16ps tmm3, tmm5, tmm7",
            ahead!("b", 9),
            // First by first.
            "tileloadd tmm6, [{b} + {t}]",
            ahead!("a", 10),
            "tdpbf16ps tmm0, tmm4, tmm6",
            ahead!("b", 10),
            "tdpbf16ps tmm2, tmm5, tmm6",
            ahead!("a", 11),
            "tileloadd tmm7, [{b} + {t} + 64]",
            ahead!("b", 11),
            "tdpbf16ps tmm1, tmm4, tmm7",
            ahead!("a", 12),
            "tdpbf16ps tmm3, tmm5, tmm7",
            ahead!("b", 12),
            // Second by first.
            "tileloadd tmm4, [{a} + {s} + 2048]",
            ahead!("a", 13),
            "tdpbf16ps tmm0, tmm4, tmm6",
            ahead!("b", 13),
            "tdpbf16ps tmm1, tmm4, tmm7",
            ahead!("a", 14),
            "tileloadd tmm5, [{a} + {s} + 3072]",
            ahead!("b", 14),
            "tdpbf16ps tmm2, tmm5, tmm6",
            ahead!("a", 15),
            "tdpbf16ps tmm3, tmm5, tmm7",
            ahead!("b", 15),
            // Third by first.
            "tileloadd tmm4, [{a} + {s} + 4096]",
            ahead!("a", 16),
            "tdpbf16ps tmm0, tmm4, tmm6",
            ahead!("b", 16),
            "tdpbf16ps tmm1, tmm4, tmm7",
            ahead!("a", 17),
            "tileloadd tmm5, [{a} + {s} + 5120]",
            ahead!("b", 17),
            "tdpbf16ps tmm2, tmm5, tmm6",
            ahead!("a", 18),
            "tdpbf16ps tmm3, tmm5, tmm7",
            ahead!("b", 18),
            "add {a}, 6144",
            "add {b}, 6144",
            "dec {n}",
            "jnz 2b",
            a = inout(reg) a => _, b = inout(reg) b => _, n = inout(reg) steps => _,
            s = in(reg) 64_usize, t = in(reg) 128_usize,
            options(nostack, readonly)
        );
        asm!(
            "tilestored [{c} + {s}], tmm0",
            "tilestored [{c} + {s} + 64], tmm1",
            "tilestored [{c} + {s} + 2048], tmm2",
            "tilestored [{c} + {s} + 2112], tmm3",
            c = in(reg) sums, s = in(reg) 128_usize,
            options(nostack)
        );
    }
}

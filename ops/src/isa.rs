//! Which instruction set the kernels run on.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use crate::Error;

/// The variable that lowers the instruction set below what the processor has.
pub const ISA_VARIABLE: &str = "LONGMAE_ISA";

/// An instruction set that the kernels are compiled for, lowest first; each holds all those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// What the target has at least: SSE2 on x86-64, NEON on AArch64.
    Portable,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512 (F, BW, DQ, VL).
    Avx512,
    /// AVX-512 with products of bf16 pairs.
    Avx512Bf16,
    /// AMX tiles for bf16 and, number by number in three parts, for large products of f32; AVX-512-BF16 for the rest.
    Amx,
}

impl Isa {
    /// Every instruction set, lowest first.
    pub const ALL: [Self; 5] =
        [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16, Self::Amx];

    /// The name, as [`ISA_VARIABLE`] takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Amx => "amx",
        }
    }

    /// The best that this processor and system have.
    pub fn detected() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(detect)
    }

    /// The one that [`ISA_VARIABLE`] asks for, or the best there is.
    ///
    /// # Errors
    /// When the variable names no instruction set, or one that this machine lacks.
    pub fn requested() -> Result<Self, Error> {
        let best = Self::detected();
        let Ok(name) = std::env::var(ISA_VARIABLE) else { return Ok(best) };
        let wanted: Self = name.parse()?;
        if wanted > best {
            return Err(Error::IsaMissing { wanted, best });
        }
        Ok(wanted)
    }

    /// The one that the kernels use, settled once: as requested, or the best there is if the request is bad.
    pub fn current() -> Self {
        static CURRENT: OnceLock<Isa> = OnceLock::new();
        *CURRENT.get_or_init(|| Self::requested().unwrap_or_else(|_| Self::detected()))
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| Error::UnknownIsa(name.to_owned()))
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Isa {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (avx2, avx512, avx512 && is_x86_feature_detected!("avx512bf16")) {
        (_, _, true) if crate::gemm::amx_available() => Isa::Amx,
        (_, _, true) => Isa::Avx512Bf16,
        (_, true, _) => Isa::Avx512,
        (true, ..) => Isa::Avx2,
        _ => Isa::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Isa {
    Isa::Portable
}

/// Compiles a loop once for each instruction set and calls the one in use.
///
/// The body is an `#[inline(always)]` function whose first generic parameter tells whether fused multiply-add is an
/// instruction; the compiler vectorises it anew in each copy.
macro_rules! multiversion {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident $(<$($generic:ident: $bound:path),+>)? (
            $($arg:ident: $type:ty),* $(,)?
        ) $(-> $result:ty)? = $body:ident;
    ) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "the body's own arguments")]
        $vis fn $name $(<$($generic: $bound),+>)? ($($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                #[allow(clippy::too_many_arguments, reason = "the body's own arguments")]
                fn avx512 $(<$($generic: $bound),+>)? ($($arg: $type),*) $(-> $result)? {
                    $body::<true $($(, $generic)+)?>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments, reason = "the body's own arguments")]
                fn avx2 $(<$($generic: $bound),+>)? ($($arg: $type),*) $(-> $result)? {
                    $body::<true $($(, $generic)+)?>($($arg),*)
                }
                match $crate::Isa::current() {
                    $crate::Isa::Portable => {}
                    // SAFETY: the processor has AVX2 and FMA: the set in use is never above the detected one.
                    $crate::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    // SAFETY: likewise for AVX-512, which these sets hold.
                    _ => return unsafe { avx512($($arg),*) },
                }
            }
            $body::<{ cfg!(target_arch = "aarch64") } $($(, $generic)+)?>($($arg),*)
        }
    };
}
pub(crate) use multiversion;

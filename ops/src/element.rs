use half::bf16;

use crate::buffer::Plain;

/// How numbers are kept between the kernels: f32, or bf16 with products summed in f32.
pub(crate) trait Element: Plain + Send + Sync + 'static {
    /// How many numbers along the inner dimension of a product lie together in a packed panel.
    const GROUP: usize;

    fn from_f32(x: f32) -> Self;
    fn to_f32(self) -> f32;
    fn bits(self) -> u32;
    fn from_bits(bits: u32) -> Self;
    #[cfg(target_arch = "x86_64")]
    /// The slice, if this is bf16: for kernels that have instructions of their own for it.
    fn as_bf16(slice: &[Self]) -> Option<&[bf16]>;
    #[cfg(target_arch = "x86_64")]
    /// As [`Element::as_bf16`].
    fn as_bf16_mut(slice: &mut [Self]) -> Option<&mut [bf16]>;

    /// Rounds to nearest even where this type is the narrower one.
    #[inline(always)]
    fn from_element<S: Element>(x: S) -> Self {
        if S::GROUP == Self::GROUP { Self::from_bits(x.bits()) } else { Self::from_f32(x.to_f32()) }
    }
}

impl Element for f32 {
    const GROUP: usize = 1;

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn bits(self) -> u32 {
        self.to_bits()
    }

    #[inline(always)]
    fn from_bits(bits: u32) -> Self {
        f32::from_bits(bits)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn as_bf16(_slice: &[Self]) -> Option<&[bf16]> {
        None
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn as_bf16_mut(_slice: &mut [Self]) -> Option<&mut [bf16]> {
        None
    }
}

impl Element for bf16 {
    const GROUP: usize = 2;

    // `half`'s own conversion branches on NaN, which keeps loops from being vectorised.
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        let bits = x.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let quiet = (bits >> 16) | 0x40;
        bf16::from_bits(if x.is_nan() { quiet } else { rounded } as u16)
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn bits(self) -> u32 {
        u32::from(self.to_bits())
    }

    #[inline(always)]
    fn from_bits(bits: u32) -> Self {
        bf16::from_bits(bits as u16)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn as_bf16(slice: &[Self]) -> Option<&[bf16]> {
        Some(slice)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn as_bf16_mut(slice: &mut [Self]) -> Option<&mut [bf16]> {
        Some(slice)
    }
}

//! Scalar functions without branches or calls, which the compiler turns into vectors.

/// `a * b + c`, fused where that is one instruction.
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` for `x <= 0`, within 1 unit in the last place; 0 below -87.3, where f32 ends, NaN for NaN.
#[inline(always)]
pub(crate) fn exp_negative<const FMA: bool>(x: f32) -> f32 {
    /// Adding it rounds to a whole number, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // A NaN fails the comparison and goes on.
    let small = x < -87.3;
    let x = if small { -87.3 } else { x };
    let shifted = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    // Cody and Waite's two-part ln 2.
    let r = fma::<FMA>(n, -0.693_359_4, x);
    let r = fma::<FMA>(n, 2.121_944_4e-4, r);
    // Taylor's series to the seventh power: within 5e-9 on |r| <= ln 2 / 2.
    let mut p = 1.0 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        p = fma::<FMA>(p, r, c);
    }
    let p = fma::<FMA>(p * r, r, r) + 1.0;
    let scaled = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
    if small { 0.0 } else { scaled }
}

/// The standard normal distribution's cumulative function and `e^(-x^2/2)`.
///
/// Abramowitz and Stegun 7.1.26: within 1.5e-7.
#[inline(always)]
fn normal<const FMA: bool>(x: f32) -> (f32, f32) {
    let e = exp_negative::<FMA>(-0.5 * x * x);
    let t = 1.0 / fma::<FMA>(x.abs(), 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2, 1.0);
    let mut p = 1.061_405_4;
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = fma::<FMA>(p, t, c);
    }
    let tail = 0.5 * p * t * e;
    (if x < 0.0 { tail } else { 1.0 - tail }, e)
}

/// The exact GELU, `x Phi(x)` (arXiv 1606.08415).
#[inline(always)]
pub(crate) fn gelu<const FMA: bool>(x: f32) -> f32 {
    // Far out the product would be `-inf * 0`.
    let bounded = x.max(-40.0);
    let bounded = if x.is_nan() { x } else { bounded };
    bounded * normal::<FMA>(bounded).0
}

/// The slope of GELU, `Phi(x) + x phi(x)`.
#[inline(always)]
pub(crate) fn gelu_slope<const FMA: bool>(x: f32) -> f32 {
    let bounded = if x.is_nan() { x } else { x.clamp(-40.0, 40.0) };
    let (cumulative, e) = normal::<FMA>(bounded);
    fma::<FMA>(bounded * e, 0.398_942_3, cumulative)
}

#[cfg(test)]
mod tests {
    use super::{exp_negative, gelu, gelu_slope};

    fn steps() -> impl Iterator<Item = f32> {
        (-20_000..=20_000).map(|i| i as f32 * 6e-3)
    }

    #[test]
    fn exp_is_within_a_unit_in_the_last_place() {
        for x in steps().filter(|x| *x <= 0.0 && *x > -87.0) {
            let exact = f64::from(x).exp();
            for found in [exp_negative::<true>(x), exp_negative::<false>(x)] {
                let error = (f64::from(found) - exact).abs() / exact;
                assert!(error < 1.2e-7, "exp({x}) = {found}, expected {exact}");
            }
        }
        assert_eq!(exp_negative::<true>(0.0), 1.0);
        assert_eq!(exp_negative::<true>(f32::NEG_INFINITY), 0.0);
        assert!(exp_negative::<true>(f32::NAN).is_nan());
    }

    #[test]
    fn gelu_keeps_infinities_and_nan() {
        assert_eq!(gelu::<true>(f32::INFINITY), f32::INFINITY);
        assert_eq!(gelu::<true>(f32::NEG_INFINITY), 0.0);
        assert_eq!(gelu_slope::<true>(f32::INFINITY), 1.0);
        assert_eq!(gelu_slope::<true>(f32::NEG_INFINITY), 0.0);
        assert!(gelu::<true>(f32::NAN).is_nan() && gelu_slope::<true>(f32::NAN).is_nan());
    }

    #[test]
    fn slope_is_the_difference_quotient() {
        for x in steps().filter(|x| x.abs() < 8.0) {
            let h = 1e-2;
            let quotient = (gelu::<true>(x + h) - gelu::<true>(x - h)) / (2.0 * h);
            assert!((quotient - gelu_slope::<true>(x)).abs() < 5e-4, "at {x}");
        }
    }
}

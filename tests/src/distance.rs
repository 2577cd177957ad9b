use candle_core::{DType, Tensor};

fn values(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all()).unwrap();
    flat.to_vec1().unwrap()
}

/// Asserts that no value differs by more than `tolerance`.
#[track_caller]
pub fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims(), "{what}: shape");
    let worst = values(found)
        .iter()
        .zip(values(expected))
        .map(|(a, b)| if a.is_finite() { (a - b).abs() } else { f64::INFINITY })
        .fold(0.0, f64::max);
    assert!(worst <= tolerance, "{what}: differs by {worst:e}, allowed {tolerance:e}");
}

/// Distance over length: `|found - expected| / |expected|`, infinite when a value is not finite.
/// From zero, the distance itself.
pub fn relative_l2(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.dims(), expected.dims(), "shape");
    let (found, expected) = (values(found), values(expected));
    if found.iter().any(|v| !v.is_finite()) {
        return f64::INFINITY;
    }
    let length: f64 = expected.iter().map(|v| v * v).sum();
    let distance: f64 = found.iter().zip(&expected).map(|(a, b)| (a - b).powi(2)).sum();
    if length == 0.0 { distance.sqrt() } else { (distance / length).sqrt() }
}

/// Asserts a relative L2 distance of at most `tolerance`.
#[track_caller]
pub fn assert_relative(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    let distance = relative_l2(found, expected);
    assert!(distance <= tolerance, "{what}: relative distance {distance:e}, allowed {tolerance:e}");
}

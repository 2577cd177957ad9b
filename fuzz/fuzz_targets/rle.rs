//! Masks: the first two bytes are the size, the rest is COCO's string, and then a polygon.
#![no_main]

use libfuzzer_sys::fuzz_target;
use longmae_data::Size;
use longmae_data::rle::Rle;

fuzz_target!(|bytes: &[u8]| {
    let [height, width, rest @ ..] = bytes else { return };
    let Ok(size) = Size::new(usize::from(*height), usize::from(*width)) else { return };
    if let Some(mask) = std::str::from_utf8(rest).ok().and_then(|text| Rle::parse(text, size).ok())
    {
        check(&mask, size);
        assert_eq!(Rle::parse(&mask.to_compressed(), size).ok(), Some(mask));
    }
    let corners: Vec<f64> = rest
        .chunks_exact(4)
        .map(|four| f64::from(f32::from_le_bytes([four[0], four[1], four[2], four[3]])))
        .collect();
    if let Ok(mask) = Rle::from_polygon(&corners, size) {
        check(&mask, size);
    }
});

/// Its counts, area and bitmap agree.
fn check(mask: &Rle, size: Size) {
    let pixels = size.height * size.width;
    assert_eq!(mask.counts().iter().map(|&count| count as usize).sum::<usize>(), pixels);
    let bitmap = mask.to_bitmap();
    let ones = bitmap.iter().filter(|&&pixel| pixel != 0).count();
    assert_eq!((bitmap.len(), ones as u64), (pixels, mask.area()));
    assert_eq!(Rle::from_bitmap(&bitmap, size).ok().as_ref(), Some(mask));
}

//! Turning the colour circle, as torchvision's `adjust_hue` does on Pillow images: by way of 8-bit HSV.

use super::samples::{bytes, like};
use crate::error::{Error, Result};
use crate::image::Image;

/// Turns every colour by `turn` of the colour circle, -0.5 to 0.5. An image of one channel stays as it is.
///
/// Pillow keeps hue, saturation and value in 8 bits each, so that even a turn of 0 changes colours a little.
///
/// # Errors
/// [`Error::Setting`] if the turn is not within -0.5 and 0.5, [`Error::Unsuited`] unless the image has 8-bit samples of
/// 1 or 3 channels.
pub fn hue(image: &Image, turn: f64) -> Result<Image> {
    if !(-0.5..=0.5).contains(&turn) {
        let expected = "a turn between -0.5 and 0.5".into();
        return Err(Error::Setting { name: "hue", found: turn.to_string(), expected });
    }
    let mut out = bytes(image, "hue")?.to_vec();
    // -127 to 127; as a byte it wraps around the circle.
    let shift = (turn * 255.0) as i8 as u8;
    if image.channels == 3 {
        for pixel in out.chunks_exact_mut(3) {
            if let &mut [r, g, b] = pixel {
                let [h, s, v] = to_hsv([r, g, b]);
                pixel.copy_from_slice(&to_rgb([h.wrapping_add(shift), s, v]));
            }
        }
    }
    Ok(like(image, out))
}

/// Pillow's `rgb2hsv`, in its mixture of single and double precision.
fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return [0, 0, most];
    }
    let spread = f32::from(most - least);
    let saturation = spread / f32::from(most);
    let [rc, gc, bc] = [r, g, b].map(|v| f32::from(most - v) / spread);
    let sector = if r == most {
        bc - gc
    } else if g == most {
        (2.0 + f64::from(rc) - f64::from(bc)) as f32
    } else {
        (4.0 + f64::from(gc) - f64::from(rc)) as f32
    };
    let hue = ((f64::from(sector) / 6.0 + 1.0) % 1.0) as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

/// Pillow's `hsv2rgb`, in its mixture of single and double precision.
fn to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let sectors = f64::from(h) * 6.0 / 255.0;
    // 0 to 6.
    let sector = sectors as u8;
    let f = (sectors - f64::from(sector)) as f32;
    let fs = (f64::from(s) / 255.0) as f32;
    let scaled = |share: f64| rounded(f64::from(v) * share);
    let p = scaled(1.0 - f64::from(fs));
    let q = scaled(1.0 - f64::from(fs * f));
    let t = scaled(1.0 - f64::from(fs) * (1.0 - f64::from(f)));
    match sector % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

/// C's `round` of a number from 0 to 255, which is a call on many processors.
fn rounded(v: f64) -> u8 {
    let whole = v as u8;
    whole.saturating_add(u8::from(v - f64::from(whole) >= 0.5))
}

//! Numbers in words.

/// A whole number with its thousands apart.
pub fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number to four digits; a dash for one that is not finite.
pub fn short(number: f64) -> String {
    if !number.is_finite() {
        return "-".to_owned();
    }
    let size = number.abs();
    if size >= 1e9 || (size < 1e-3 && size > 0.0) {
        return format!("{number:.3e}");
    }
    let decimals = (3 - size.max(1.0).log10() as i32).max(0) as usize;
    if decimals == 0 && number >= 0.0 {
        return whole(number.round() as u64);
    }
    format!("{number:.decimals$}")
}

/// A length of time, in its two largest units.
pub fn duration(seconds: f64) -> String {
    // The cast cuts off what is below zero, and turns NaN into 0.
    let whole_seconds = seconds.round() as u64;
    let (minutes, hours, days) = (whole_seconds / 60, whole_seconds / 3600, whole_seconds / 86_400);
    match () {
        () if days > 0 => format!("{} d {} h", whole(days), hours % 24),
        () if hours > 0 => format!("{hours} h {} min", minutes % 60),
        () if minutes > 0 => format!("{minutes} min {} s", whole_seconds % 60),
        () => format!("{whole_seconds} s"),
    }
}

/// The middle one of the finite values; NaN if there is none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    let middle = values.len() / 2;
    if values.is_empty() {
        return f64::NAN;
    }
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0.000"),
            (2.449852, "2.450"),
            (-12.345, "-12.35"),
            (203.546, "203.5"),
            (1234.5, "1,235"),
            (0.000_15, "1.500e-4"),
            (2.5e12, "2.500e12"),
            (f64::NAN, "-"),
        ];
        for (number, text) in cases {
            assert_eq!(short(number), text);
        }
        assert_eq!((whole(999), whole(1_234_567)), ("999".to_owned(), "1,234,567".to_owned()));
    }

    #[test]
    fn time_is_told_in_two_units() {
        for (seconds, text) in [
            (0.2, "0 s"),
            (59.9, "1 min 0 s"),
            (3_725.0, "1 h 2 min"),
            (200_000.0, "2 d 7 h"),
            (f64::NAN, "0 s"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn the_median_passes_over_what_is_not_finite() {
        assert_eq!(median([f64::NAN, 3.0, 1.0, 2.0].into_iter()), 2.0);
        assert!(median([f64::NAN].into_iter()).is_nan());
    }
}

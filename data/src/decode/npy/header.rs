//! The header of a `.npy` file (NumPy's "NPY format", versions 1 to 3).
//!
//! It is a Python dictionary with three keys. The crates that read it bring a parser generator and big integers along,
//! and allocate what a header claims.

/// How every `.npy` file begins.
pub(in crate::decode) const MAGIC: &[u8] = b"\x93NUMPY";

/// A header holds three short values; NumPy itself refuses longer ones unless told to trust the file.
const MAX_LEN: usize = 10_000;

/// What the header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The type of the numbers, such as `<f4`.
    pub descr: String,
    /// Whether the first index runs fastest.
    pub fortran: bool,
    pub shape: Vec<usize>,
    /// Where the numbers start.
    pub data: usize,
}

/// Reads the header at the start of `bytes`; `None` inside if the file ends before it does.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Header>, String> {
    let Some(&[major, _minor]) = bytes.get(6..8) else { return Ok(None) };
    let (start, len) = match (major, &bytes[8..]) {
        (1, &[a, b, ..]) => (10, usize::from(u16::from_le_bytes([a, b]))),
        (2 | 3, &[a, b, c, d, ..]) => (12, u32::from_le_bytes([a, b, c, d]) as usize),
        (1..=3, _) => return Ok(None),
        _ => return Err(format!("version {major} of the format is unknown (1, 2 and 3 are read)")),
    };
    if len > MAX_LEN {
        return Err(format!("its header claims {len} bytes, more than {MAX_LEN}"));
    }
    let Some(text) = bytes.get(start..start + len) else { return Ok(None) };
    let text = std::str::from_utf8(text).map_err(|_| "its header is no text".to_owned())?;
    dictionary(text, start + len).map(Some)
}

fn dictionary(text: &str, data: usize) -> Result<Header, String> {
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    let mut rest = Literal(text);
    rest.expect('{')?;
    while !rest.skip('}') {
        let key = rest.string()?;
        rest.expect(':')?;
        match key {
            "descr" if descr.is_none() => descr = Some(rest.string()?.to_owned()),
            "fortran_order" if fortran.is_none() => fortran = Some(rest.boolean()?),
            "shape" if shape.is_none() => shape = Some(rest.tuple()?),
            _ => return Err(format!("its header has the key {key:?}, unknown or twice")),
        }
        if !rest.skip(',') {
            rest.expect('}')?;
            break;
        }
    }
    if !rest.0.trim().is_empty() {
        return Err(format!("its header goes on after its end: {:?}", start_of(rest.0)));
    }
    match (descr, fortran, shape) {
        (Some(descr), Some(fortran), Some(shape)) => Ok(Header { descr, fortran, shape, data }),
        _ => Err("its header lacks `descr`, `fortran_order` or `shape`".into()),
    }
}

/// What is left of a Python literal.
struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    fn skip(&mut self, c: char) -> bool {
        let rest = self.0.trim_start();
        self.0 = rest.strip_prefix(c).unwrap_or(rest);
        self.0.len() < rest.len()
    }

    fn expect(&mut self, c: char) -> Result<(), String> {
        if self.skip(c) { Ok(()) } else { Err(self.error(&format!("`{c}`"))) }
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let quote = if self.skip('\'') { '\'' } else { '"' };
        if quote == '"' && !self.skip('"') {
            return Err(self.error("a string"));
        }
        let (string, rest) = self.0.split_once(quote).ok_or_else(|| self.error("a quote"))?;
        self.0 = rest;
        Ok(string)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        self.0 = self.0.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.0.strip_prefix(word) {
                self.0 = rest;
                return Ok(value);
            }
        }
        Err(self.error("True or False"))
    }

    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        let mut numbers = Vec::new();
        self.expect('(')?;
        while !self.skip(')') {
            let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = self.0.split_at(digits);
            numbers.push(number.parse().map_err(|_| self.error("a size"))?);
            // Python 2 wrote `3L`.
            self.0 = rest.strip_prefix('L').unwrap_or(rest);
            if !self.skip(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(numbers)
    }

    fn error(&self, expected: &str) -> String {
        format!("its header has {:?} where {expected} is expected", start_of(self.0))
    }
}

fn start_of(text: &str) -> String {
    text.chars().take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Header, String> {
        dictionary(text, 0)
    }

    #[test]
    fn headers_as_several_writers_make_them() {
        let wanted = Header { descr: "<f4".into(), fortran: false, shape: vec![2, 3], data: 0 };
        for text in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }    \n",
            "{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"<f4\"}",
            " { 'descr' : '<f4' , 'shape' : ( 2L , 3L , ) , 'fortran_order' : False , } ",
        ] {
            assert_eq!(parsed(text).as_ref(), Ok(&wanted), "{text}");
        }
        let shape = |text: &str| parsed(&wanted_with(text)).map(|header| header.shape);
        assert_eq!(shape("()"), Ok(vec![]));
        assert_eq!(shape("(7,)"), Ok(vec![7]));
        for bad in ["(-1, 2)", "(1 2)", "(,)", "(1,,2)", "[1]", "(99999999999999999999999,)", "("] {
            assert!(shape(bad).is_err(), "{bad}");
        }
    }

    fn wanted_with(shape: &str) -> String {
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}")
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for text in [
            "",
            "{}",
            "{'descr': '<f4'}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}",
            "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} more",
            "{'descr': '<f4",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}

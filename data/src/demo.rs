//! The embedded photographs.

use crate::decode::DecodeOptions;
use crate::error::{Error, Result};
use crate::picture::Picture;
use crate::source::{Sample, Source, Target};

/// Each photograph's name and file.
const PHOTOGRAPHS: [(&str, &[u8]); 12] = [
    ("airplane", include_bytes!("../demo/airplane.jpg")),
    ("astronaut", include_bytes!("../demo/astronaut.jpg")),
    ("boats", include_bytes!("../demo/boats.jpg")),
    ("cat", include_bytes!("../demo/cat.jpg")),
    ("coffee", include_bytes!("../demo/coffee.jpg")),
    ("flower", include_bytes!("../demo/flower.jpg")),
    ("galaxies", include_bytes!("../demo/galaxies.jpg")),
    ("grass", include_bytes!("../demo/grass.jpg")),
    ("mountains", include_bytes!("../demo/mountains.jpg")),
    ("photographer", include_bytes!("../demo/photographer.jpg")),
    ("retina", include_bytes!("../demo/retina.jpg")),
    ("rocket", include_bytes!("../demo/rocket.jpg")),
];

/// A handful of photographs inside the library, to try things out without any data.
///
/// They are in the public domain or CC0; `demo/LICENSES.md` in the crate names their origins.
#[derive(Clone, Debug, Default)]
pub struct Demo {
    options: DecodeOptions,
}

impl Demo {
    /// The photographs, decoded with these options.
    pub fn new(options: DecodeOptions) -> Self {
        Self { options }
    }
}

impl Source for Demo {
    fn len(&self) -> usize {
        PHOTOGRAPHS.len()
    }

    fn id(&self, index: usize) -> String {
        PHOTOGRAPHS[index].0.to_owned()
    }

    fn get(&self, index: usize) -> Result<Sample> {
        let Some((name, bytes)) = PHOTOGRAPHS.get(index) else {
            return Err(Error::NoSuchSample { index, len: PHOTOGRAPHS.len() });
        };
        let picture = Picture::encoded(*bytes, self.options);
        Ok(Sample { id: (*name).to_owned(), picture, target: Target::None })
    }
}

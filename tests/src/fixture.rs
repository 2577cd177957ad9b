use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

/// A safetensors file of reference numbers.
#[derive(Clone)]
pub struct Fixture {
    /// Where it is, for messages.
    pub path: PathBuf,
    /// The metadata key `case`.
    pub case: String,
    tensors: HashMap<String, Tensor>,
}

impl Fixture {
    /// Reads a file.
    pub fn open(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let case = header.metadata().as_ref().and_then(|map| map.get("case")).cloned();
        Self {
            path: path.to_owned(),
            case: case.unwrap_or_default(),
            tensors: candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap(),
        }
    }

    /// The tensor of that name.
    #[track_caller]
    pub fn get(&self, name: &str) -> &Tensor {
        let missing = || panic!("{} holds no `{name}`", self.path.display());
        self.tensors.get(name).unwrap_or_else(missing)
    }

    /// Names and tensors below a prefix, the prefix taken off, in order of name.
    pub fn below(&self, prefix: &str) -> Vec<(&str, &Tensor)> {
        let named = self.tensors.iter();
        let mut below: Vec<_> =
            named.filter_map(|(name, t)| Some((name.strip_prefix(prefix)?, t))).collect();
        below.sort_by_key(|(name, _)| *name);
        below
    }
}

/// The rows of an integer tensor `[rows, n]`.
pub fn ids(tensor: &Tensor) -> Vec<Vec<u32>> {
    tensor.to_dtype(DType::U32).and_then(|t| t.to_vec2()).unwrap()
}

/// The fixtures whose file name starts with `prefix`: the small ones kept here, and the larger set when
/// `LONGMAE_SHARED` names it.
pub fn fixtures(prefix: &str) -> Vec<Fixture> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut folders = vec![own];
    match std::env::var_os("LONGMAE_SHARED") {
        Some(shared) => folders.push(Path::new(&shared).join("fixtures")),
        None => eprintln!("LONGMAE_SHARED is not set: the larger fixtures are skipped"),
    }
    let mut paths = Vec::new();
    for folder in folders {
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        paths.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(prefix) && name.ends_with(".safetensors")
        }));
    }
    paths.sort();
    assert!(!paths.is_empty(), "no fixture `{prefix}*`");
    paths.iter().map(|path| Fixture::open(path)).collect()
}

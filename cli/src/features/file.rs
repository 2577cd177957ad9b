//! Features in files: safetensors, which is read here too, or NumPy's format with a JSON file beside it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::exit::usage;

/// How files may end.
const FORMATS: [&str; 2] = ["safetensors", "npy"];
/// What stands before the name of such a file where images could be named too.
const PREFIX: &str = "features:";
/// The key of what the file says of itself.
const KEY: &str = "longmae.features";

/// Features with all that belongs to them.
#[derive(Debug)]
pub struct Stored {
    /// `[images, dim]`, or `[images, patches, dim]`, f32.
    pub features: Tensor,
    /// The class of each image, if they have classes.
    pub labels: Option<Vec<u32>>,
    pub about: About,
}

/// What a file of features says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The weights that the encoder had.
    pub weights: String,
    /// What was encoded.
    pub data: String,
    /// `class`, `mean` or `patches`.
    pub pool: String,
    /// Rows and columns of pixels of an image.
    pub image_size: [usize; 2],
    /// Names of the classes; none if they are not known.
    pub classes: Vec<String>,
    /// Names of the images.
    pub ids: Vec<String>,
}

/// What is beside an array of NumPy's.
#[derive(Serialize)]
struct Beside<'a> {
    #[serde(flatten)]
    about: &'a About,
    labels: &'a Option<Vec<u32>>,
}

/// The path in `features:PATH`.
pub fn reference(name: &str) -> Option<&Path> {
    name.strip_prefix(PREFIX).map(Path::new)
}

/// Looks whether a file can be written, before there is anything to write.
pub fn check_place(out: &Path, overwrite: bool) -> anyhow::Result<()> {
    let shown = out.display();
    let extension = out.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if !FORMATS.contains(&extension) {
        let known = FORMATS.map(|format| format!(".{format}")).join(" or ");
        return Err(usage(format!("--out {shown}: expected a name that ends in {known}")));
    }
    let folder = folder_of(out);
    if !folder.is_dir() {
        bail!("--out {shown}: there is no such folder");
    }
    for path in places(out) {
        if path.is_dir() {
            bail!("--out {shown}: {} is a folder", path.display());
        }
        if path.exists() && !overwrite {
            bail!("--out {shown}: {} is there already (--overwrite replaces it)", path.display());
        }
    }
    let probe = tempfile::tempfile_in(folder);
    probe.map(|_| ()).with_context(|| format!("--out {shown}: cannot write there"))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The files that are written: the features, and with an array of NumPy's what belongs to them.
fn places(out: &Path) -> Vec<PathBuf> {
    match out.extension().is_some_and(|extension| extension == "npy") {
        true => vec![out.with_extension("json"), out.to_owned()],
        false => vec![out.to_owned()],
    }
}

/// Writes features, each file whole or not at all.
pub fn write(out: &Path, stored: &Stored) -> anyhow::Result<()> {
    match &places(out)[..] {
        [json, array] => {
            let beside = Beside { about: &stored.about, labels: &stored.labels };
            replace(json, |file| Ok(serde_json::to_writer(file, &beside)?))?;
            replace(array, |file| write_npy(file, &stored.features))
        }
        _ => write_safetensors(out, stored),
    }
}

fn write_safetensors(out: &Path, stored: &Stored) -> anyhow::Result<()> {
    // One key, since the library writes several in any order.
    let metadata = HashMap::from([(KEY.to_owned(), serde_json::to_string(&stored.about)?)]);
    let mut tensors = vec![("features", stored.features.clone())];
    if let Some(labels) = &stored.labels {
        let labels: Vec<i64> = labels.iter().map(|label| i64::from(*label)).collect();
        tensors.push(("labels", Tensor::new(labels, &Device::Cpu)?));
    }
    let temporary = temporary(out);
    let written = safetensors::serialize_to_file(tensors, Some(metadata), &temporary);
    finish(written.map_err(Into::into), &temporary, out)
}

fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".tmp-{name}-{}", std::process::id()))
}

fn finish(written: anyhow::Result<()>, temporary: &Path, path: &Path) -> anyhow::Result<()> {
    let done = written.and_then(|()| Ok(fs::rename(temporary, path)?));
    done.map_err(|error| {
        // The first error is the one to report; there may be nothing to remove.
        let _ = fs::remove_file(temporary);
        error.context(format!("cannot write {}", path.display()))
    })
}

fn replace(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let temporary = temporary(path);
    let written = File::create(&temporary).map_err(Into::into).and_then(|file| {
        let mut file = BufWriter::new(file);
        fill(&mut file)?;
        Ok(file.into_inner()?.sync_all()?)
    });
    finish(written, &temporary, path)
}

/// NumPy's format 1.0: a magic, the length of a header, the header padded to a multiple of 64 bytes, the numbers.
fn write_npy(file: &mut impl Write, features: &Tensor) -> anyhow::Result<()> {
    let sizes: Vec<String> = features.dims().iter().map(ToString::to_string).collect();
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", sizes.join(", "));
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&u16::try_from(length)?.to_le_bytes())?;
    file.write_all(format!("{header:<width$}\n", width = length - 1).as_bytes())?;
    for row in 0..features.dims()[0] {
        let numbers = features.get(row)?.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        file.write_all(&bytes)?;
    }
    Ok(())
}

/// Reads what [`write`] wrote as safetensors.
pub fn read(path: &Path) -> anyhow::Result<Stored> {
    let shown = path.display();
    let bytes = fs::read(path).with_context(|| shown.to_string())?;
    let wrong = |what: &dyn std::fmt::Display| {
        anyhow!("{shown}: {what} (expected features as `longmae embed` writes them as safetensors)")
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| wrong(&error))?;
    let about = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
    let about = about.ok_or_else(|| wrong(&format!("its metadata has no `{KEY}`")))?;
    let about: About = serde_json::from_str(about).map_err(|error| wrong(&error))?;
    let mut tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
        .map_err(|error| wrong(&error))?;
    let features = tensors.remove("features").ok_or_else(|| wrong(&"there is no `features`"))?;
    if features.dtype() != DType::F32 || !(2..=3).contains(&features.rank()) {
        let (dtype, shape) = (features.dtype().as_str(), features.dims());
        return Err(wrong(&format!("`features` is {dtype} {shape:?}, expected f32 [images, dim]")));
    }
    let images = features.dims()[0];
    let labels = tensors.remove("labels");
    let labels = labels.map(|labels| labels.to_vec1::<i64>()).transpose();
    let labels = labels.map_err(|error| wrong(&error))?;
    let labels = labels.map(|labels| labels.into_iter().map(u32::try_from).collect());
    let labels: Option<Vec<u32>> = labels.transpose().map_err(|error| wrong(&error))?;
    let counts = [Some(about.ids.len()), labels.as_ref().map(Vec::len)];
    if counts.into_iter().flatten().any(|count| count != images) {
        return Err(wrong(&format!("{images} features, but not as many labels or names")));
    }
    Ok(Stored { features, labels, about })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(labels: Option<Vec<u32>>) -> Stored {
        let about = About {
            weights: "w".into(),
            data: "d".into(),
            pool: "class".into(),
            image_size: [32, 32],
            classes: vec!["ant".into(), "bee".into()],
            ids: vec!["a".into(), "b".into(), "c".into()],
        };
        let features = Tensor::new(&[[1f32, 2.0], [3.0, 4.0], [5.0, 6.5]], &Device::Cpu).unwrap();
        Stored { features, labels, about }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        for labels in [None, Some(vec![0, 1, 1])] {
            let stored = stored(labels);
            write(&path, &stored).unwrap();
            let read = read(&path).unwrap();
            assert_eq!((read.labels, read.about), (stored.labels, stored.about));
            let rows = |tensor: &Tensor| tensor.to_vec2::<f32>().unwrap();
            assert_eq!(rows(&read.features), rows(&stored.features));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_array_has_its_header_padded() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("a.npy"), &stored(Some(vec![0, 1, 1]))).unwrap();
        let bytes = fs::read(folder.path().join("a.npy")).unwrap();
        assert_eq!((&bytes[..8], bytes.len()), (&b"\x93NUMPY\x01\x00"[..], 128 + 24));
        let header = String::from_utf8_lossy(&bytes[10..128]);
        assert!(header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }"));
        assert!(header.ends_with(" \n") && bytes[148..] == 6.5f32.to_le_bytes());
        let json = fs::read_to_string(folder.path().join("a.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["labels"], serde_json::json!([0, 1, 1]));
        assert_eq!(json["ids"], serde_json::json!(["a", "b", "c"]));
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let plain = |tensors: Vec<(&str, Tensor)>| {
            safetensors::serialize_to_file(tensors, None, &path).unwrap();
        };
        plain(vec![("features", stored(None).features)]);
        assert!(read(&path).unwrap_err().to_string().contains(KEY));
        fs::write(&path, "no such file").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("a.safetensors"));
        let lie = Stored { labels: Some(vec![0]), ..stored(None) };
        write(&path, &lie).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("not as many labels"));
    }
}

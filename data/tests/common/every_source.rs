//! A small data set of every kind.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use longmae_data::{DecodeOptions, OpenOptions, Size, Source, Spec};
use serde_json::{Value, json};

use crate::common::{fixture, packed, shards};

/// What opens a data set, in any process.
pub struct Described {
    pub spec: String,
    pub channels: usize,
}

impl Described {
    pub fn open(&self) -> Arc<dyn Source> {
        let options = OpenOptions {
            decode: DecodeOptions { channels: self.channels, ..Default::default() },
            synthetic_size: Size::square(12).unwrap(),
            synthetic_len: 30,
            ..Default::default()
        };
        self.spec.parse::<Spec>().unwrap().open(&options).unwrap()
    }

    pub fn to_json(&self) -> Value {
        json!({"spec": self.spec, "channels": self.channels})
    }

    pub fn from_json(value: &Value) -> Self {
        let spec = value["spec"].as_str().unwrap().to_owned();
        Self { spec, channels: value["channels"].as_u64().unwrap() as usize }
    }
}

/// Writes data sets of all kinds below `root`.
pub fn write(root: &Path) -> Vec<Described> {
    let at = |name: &str| root.join(name).display().to_string();
    folders(root);
    tars(root);
    coco(&root.join("coco"));
    ade20k(&root.join("ade20k"));
    arrays(&root.join("arrays"));
    for folder in ["mnist", "cifar"] {
        fs::create_dir(root.join(folder)).unwrap();
    }
    packed::put_idx(&root.join("mnist"), "train", 10, true);
    for (number, count) in [(1, 10), (2, 8)] {
        let path = root.join(format!("cifar/data_batch_{number}.bin"));
        fs::write(path, packed::cifar(count, 1)).unwrap();
    }
    let (folder, plain) = (at("folder"), at("plain"));
    let specs = [
        folder.clone(),
        format!("list:{}", at("list.txt")),
        format!("wds:{plain}"),
        format!("wds:{}", at("packed")),
        format!("parquet:{}/{{hub,zstd,lz4}}.parquet", shards::shard("").display()),
        format!("coco:{}", at("coco")),
        format!("ade20k:{}", at("ade20k")),
        format!("mnist:{}", at("mnist")),
        format!("cifar10:{}", at("cifar")),
        "demo".into(),
        "synthetic".into(),
        format!("0.5*{folder};2*wds:{plain}"),
    ];
    let mut all: Vec<_> = specs.into_iter().map(|spec| Described { spec, channels: 3 }).collect();
    all.push(Described { spec: at("arrays"), channels: 5 });
    all
}

fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A PNG of 9 x 7 pixels, another for each number.
fn png(number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 9, 7);
    encoder.set_color(png::ColorType::Rgb);
    let pixels: Vec<u8> = (0..9 * 7 * 3).map(|at| (at * 5 + number * 37) as u8).collect();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&pixels).unwrap();
    writer.finish().unwrap();
    bytes
}

/// A folder of classes with images of several formats, and a list of them.
fn folders(root: &Path) {
    let mut list = String::new();
    for i in 0..30 {
        let (name, bytes) = match i % 3 {
            0 => (format!("{i}.jpg"), fs::read(fixture("420.jpg")).unwrap()),
            1 => (format!("{i}.tif"), fs::read(fixture("rgb.tif")).unwrap()),
            _ => (format!("{i}.png"), png(i)),
        };
        let name = format!("folder/{}/{name}", i % 4);
        put(&root.join(&name), &bytes);
        list += &format!("{name}\t{}\n", i % 4);
    }
    put(&root.join("list.txt"), list.as_bytes());
}

/// Tars as they are and packed by gzip.
fn tars(root: &Path) {
    for number in 0..3 {
        let mut tar = tar::Builder::new(Vec::new());
        for i in number * 9..number * 9 + 9 {
            let class = (i % 5).to_string().into_bytes();
            for (name, bytes) in [(format!("{i:03}.png"), png(i)), (format!("{i:03}.cls"), class)] {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, name, &bytes[..]).unwrap();
            }
        }
        let bytes = tar.into_inner().unwrap();
        put(&root.join(format!("packed/{number}.tar.gz")), &packed::gzip(&bytes));
        put(&root.join(format!("plain/{number}.tar")), &bytes);
    }
}

fn coco(root: &Path) {
    let image =
        |i: usize| json!({"id": i, "file_name": format!("{i}.png"), "height": 7, "width": 9});
    let object = |i: usize| {
        json!({"id": i, "image_id": i / 2, "category_id": 1 + i % 2, "bbox": [1, 1, 3, 2],
            "segmentation": [[1, 1, 4, 1, 4, 3]]})
    };
    let content = json!({
        "images": (0..26).map(image).collect::<Vec<_>>(),
        "annotations": (0..40).map(object).collect::<Vec<_>>(),
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    });
    (0..26).for_each(|i| put(&root.join(format!("train2017/{i}.png")), &png(i)));
    put(&root.join("annotations/instances_train2017.json"), content.to_string().as_bytes());
}

fn ade20k(root: &Path) {
    let labels = fs::read(fixture("palette4.png")).unwrap();
    for i in 0..22 {
        put(&root.join(format!("images/training/{i}.png")), &png(i));
        put(&root.join(format!("annotations/training/{i}.png")), &labels);
    }
}

/// Arrays of five bands of 16 bits.
fn arrays(root: &Path) {
    for i in 0..21 {
        let header = "{'descr': '<u2', 'fortran_order': False, 'shape': (7, 9, 5), }";
        let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        bytes.extend(format!("{header:<117}\n").bytes());
        bytes.extend((0..7 * 9 * 5).flat_map(|at| ((at * 131 + i * 977) as u16).to_le_bytes()));
        put(&root.join(format!("{i}.npy")), &bytes);
    }
}

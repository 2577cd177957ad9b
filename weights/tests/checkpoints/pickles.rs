//! Pickles, archives and streams written opcode by opcode, for what torch.save would not write.

use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Pickle's text.
pub fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// An integer of eight bytes.
pub fn int(value: i64) -> Vec<u8> {
    [&[0x8a, 8], &value.to_le_bytes()[..]].concat()
}

/// A tuple.
pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &items.concat()[..], b"t"].concat()
}

/// A tuple of integers.
pub fn ints(values: &[i64]) -> Vec<u8> {
    tuple(&values.iter().map(|value| int(*value)).collect::<Vec<_>>())
}

/// A class or function.
pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

/// A dict.
pub fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries = entries.iter().map(|(key, value)| [text(key), value.clone()].concat());
    [b"}(", &entries.collect::<Vec<_>>().concat()[..], b"u"].concat()
}

/// A call.
pub fn call(function: Vec<u8>, arguments: &[Vec<u8>]) -> Vec<u8> {
    [function, tuple(arguments), b"R".to_vec()].concat()
}

/// A storage and a place in it.
#[derive(Clone, Copy)]
pub struct Placed<'a> {
    pub class: &'a str,
    pub key: &'a str,
    pub count: i64,
    pub offset: i64,
    pub shape: &'a [i64],
    pub strides: &'a [i64],
}

/// Two by two numbers that fill the storage `0` of four.
pub const GOOD: Placed<'static> = Placed {
    class: "FloatStorage",
    key: "0",
    count: 4,
    offset: 0,
    shape: &[2, 2],
    strides: &[2, 1],
};

/// A tensor as torch writes it. `view` is the old stream's sixth entry of a storage.
pub fn tensor(placed: Placed<'_>, view: Option<Vec<u8>>) -> Vec<u8> {
    let Placed { class, key, count, offset, shape, strides } = placed;
    let mut storage =
        vec![text("storage"), global("torch", class), text(key), text("cpu"), int(count)];
    storage.extend(view);
    let storage = [tuple(&storage), b"Q".to_vec()].concat();
    let hooks = call(global("collections", "OrderedDict"), &[]);
    let arguments = [storage, int(offset), ints(shape), ints(strides), vec![0x89], hooks];
    call(global("torch._utils", "_rebuild_tensor_v2"), &arguments)
}

/// A pickle of protocol 2 that ends with this.
pub fn pickle(object: &[u8]) -> Vec<u8> {
    [b"\x80\x02", object, b"."].concat()
}

/// A zip archive of these entries, stored.
pub fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The sixteen bytes of [`GOOD`]'s numbers.
pub fn numbers() -> Vec<u8> {
    [1f32, 2.0, 3.0, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// An archive of torch with this object and the storage `0`.
pub fn zipped(object: &[u8]) -> Vec<u8> {
    archive(&[
        ("a/data.pkl", &pickle(object)),
        ("a/byteorder", b"little"),
        ("a/data/0", &numbers()),
    ])
}

/// A stream of torch: the object, the list of keys, and what follows.
pub fn stream(object: &[u8], keys: &[u8], storages: &[u8]) -> Vec<u8> {
    let magic = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    let system = dict(&[("little_endian", vec![0x88])]);
    let pickles =
        [pickle(magic), pickle(b"M\xe9\x03"), pickle(&system), pickle(object), pickle(keys)];
    [pickles.concat(), storages.to_vec()].concat()
}

/// The list of the key `0`.
pub fn keys() -> Vec<u8> {
    [b"](", &text("0")[..], b"e"].concat()
}

/// The storage `0` as a stream has it.
pub fn counted() -> Vec<u8> {
    [4u64.to_le_bytes().to_vec(), numbers()].concat()
}

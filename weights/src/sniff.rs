//! What a file that holds no table of tensors looks like, told from its first bytes, with what to do about it.

/// Bytes of a file that are enough to tell.
pub(crate) const SNIFF_LEN: u64 = 512;

const MAGIC: [(&[u8], &str); 9] = [
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"RIFF", "a WebP image or another RIFF file"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"\x89HDF", "an HDF5 file (Keras or TensorFlow weights?)"),
    (b"GGUF", "a GGUF file"),
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the file itself: fetch it with `git lfs pull`",
    ),
    (b"<", "a web page (a download that failed?)"),
];

/// Names the format that `start`, the first bytes of a file, belongs to.
pub(crate) fn describe(start: &[u8]) -> &'static str {
    if let Some((_, name)) = MAGIC.iter().find(|(magic, _)| start.starts_with(magic)) {
        return name;
    }
    if start.get(257..262) == Some(b"ustar") {
        return "a tar archive: unpack it first (PyTorch's of before 0.2: load and save it with a newer one)";
    }
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    match start.iter().all(is_text) {
        true => "plain text",
        false => "binary data of no format known here",
    }
}

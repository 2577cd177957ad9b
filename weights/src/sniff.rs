//! What a file that is not safetensors looks like, told from its first bytes, with what to do about it.

/// Bytes of a file that are enough to tell.
pub(crate) const SNIFF_LEN: u64 = 512;

const MAGIC: [(&[u8], &str); 12] = [
    (b"PK\x03\x04", PTH),
    (b"\x80\x02", PTH),
    (b"\x80\x04", PTH),
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

const PTH: &str = "a PyTorch .pth (zip or pickle): reading it is not there yet; if you trust it, convert it in Python with \
    `safetensors.torch.save_file(torch.load(FILE, weights_only=False)[\"model\"], \"model.safetensors\")`";

/// Names the format that `start`, the first bytes of a file, belongs to.
pub(crate) fn describe(start: &[u8]) -> &'static str {
    if let Some((_, name)) = MAGIC.iter().find(|(magic, _)| start.starts_with(magic)) {
        return name;
    }
    if start.get(257..262) == Some(b"ustar") {
        return "a tar archive: unpack it first";
    }
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    match start.iter().all(is_text) {
        true => "plain text",
        false => "binary data of no format known here",
    }
}

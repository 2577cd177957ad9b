//! What `--version` tells: the version, cargo features, and the instruction set of the kernels.

use std::sync::OnceLock;

use longmae_ops::Isa;

/// The text after the program's name.
pub fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let (version, found) = (env!("CARGO_PKG_VERSION"), Isa::detected());
        format!("{version} (features: none; device: cpu; instruction set: {found})")
    })
}

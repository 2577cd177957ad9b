//! What `--version` tells: the version, cargo features, and the instruction set of the kernels.

use std::sync::OnceLock;

use longmae_ops::Isa;

/// The text after the program's name.
pub fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let (version, found) = (env!("CARGO_PKG_VERSION"), Isa::detected());
        let (features, devices) = (features(), devices());
        format!("{version} (features: {features}; devices: {devices}; instruction set: {found})")
    })
}

/// The cargo features that the program was built with.
fn features() -> String {
    let all = [
        ("cuda", cfg!(feature = "cuda")),
        ("libjpeg-turbo", cfg!(feature = "libjpeg-turbo")),
        ("metal", cfg!(feature = "metal")),
        ("mpi", cfg!(feature = "mpi")),
        ("nccl", cfg!(feature = "nccl")),
    ];
    let built: Vec<&str> = all.iter().filter(|(_, built)| *built).map(|(name, _)| *name).collect();
    if built.is_empty() { "none".to_owned() } else { built.join(", ") }
}

/// What `--device` takes in this program, whatever the machine has.
fn devices() -> String {
    let all = [("cpu", true), ("cuda", cfg!(feature = "cuda")), ("metal", cfg!(feature = "metal"))];
    let built: Vec<&str> = all.iter().filter(|(_, built)| *built).map(|(name, _)| *name).collect();
    built.join(", ")
}

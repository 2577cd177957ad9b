//! What `--version` tells: the version, cargo features, and the processor's instruction sets.

use std::sync::OnceLock;

/// The text after the program's name.
pub fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        format!(
            "{} (features: none; device: cpu; instruction sets found: {})",
            env!("CARGO_PKG_VERSION"),
            instruction_sets()
        )
    })
}

#[cfg(target_arch = "x86_64")]
fn instruction_sets() -> String {
    let found = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    let names: Vec<&str> = found.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    if names.is_empty() { "x86-64 only".to_owned() } else { names.join(" ") }
}

#[cfg(not(target_arch = "x86_64"))]
fn instruction_sets() -> String {
    std::env::consts::ARCH.to_owned()
}

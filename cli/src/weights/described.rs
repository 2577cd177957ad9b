//! What is known of a model, with what is not.

use longmae_weights::{Checkpoint, Error, Known, ModelInfo};

/// What a file, its neighbours and convention say of a model.
pub struct Described {
    pub info: ModelInfo,
    /// Keys of `info` that nobody says, and which have a value that only makes the rest complete.
    pub unsaid: Vec<String>,
}

impl Described {
    pub fn says(&self, key: &str) -> bool {
        !self.unsaid.iter().any(|unsaid| unsaid == key)
    }
}

/// The model's information, from the file's metadata if it has any. `may_lack` says what may be unknown.
pub fn described(
    checkpoint: &Checkpoint,
    known: &Known,
    may_lack: impl Fn(&str) -> bool,
) -> Result<Described, Error> {
    complete(checkpoint, known, may_lack, Checkpoint::model_info)
}

/// As [`described`], from the shapes, whatever the metadata says.
pub fn inferred(checkpoint: &Checkpoint) -> Result<Described, Error> {
    complete(checkpoint, &Known::default(), |_| true, Checkpoint::inferred_info)
}

fn complete(
    checkpoint: &Checkpoint,
    known: &Known,
    may_lack: impl Fn(&str) -> bool,
    info: impl Fn(&Checkpoint, &Known) -> Result<ModelInfo, Error>,
) -> Result<Described, Error> {
    let keys = match info(checkpoint, known) {
        Err(Error::Unsaid { keys, .. }) => keys,
        other => return Ok(Described { info: other?, unsaid: Vec::new() }),
    };
    // A key is followed by what it means.
    let unsaid: Vec<String> =
        keys.iter().filter_map(|key| key.split(' ').next()).map(str::to_owned).collect();
    let mut known = known.clone();
    for key in unsaid.iter().filter(|key| may_lack(key)) {
        stand_in(checkpoint, &mut known, key);
    }
    Ok(Described { info: info(checkpoint, &known)?, unsaid })
}

/// Some value that no shape contradicts.
fn stand_in(checkpoint: &Checkpoint, known: &mut Known, key: &str) {
    let size = |name: &str, index: usize| {
        let shape = checkpoint.shape(name).unwrap_or_default();
        shape.get(index).copied().unwrap_or_default()
    };
    let channels = size("patch_embed.proj.weight", 1);
    match key {
        "heads" => known.heads = Some(1),
        "decoder_heads" => known.decoder_heads = Some(1),
        "image_size" => {
            let patch = size("patch_embed.proj.weight", 2);
            let patches = size("pos_embed", 1).saturating_sub(1);
            known.image_size = Some([patch, patch.saturating_mul(patches)]);
        }
        "mean" => known.mean = Some(vec![0.0; channels]),
        "std" => known.std = Some(vec![1.0; channels]),
        "layer_norm_eps" => known.layer_norm_eps = Some(1e-6),
        "norm_pix_loss" => known.norm_pix_loss = Some(true),
        _ => {}
    }
}

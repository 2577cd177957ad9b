//! How the learning rate falls.

use longmae_train::Decay;

use super::flags::Flags;
use crate::choice::one_of;
use crate::exit::usage;

/// ViTDet's: at 163,889 and 177,546 of 184,375 steps.
const DROPS: [f64; 2] = [163_889.0 / 184_375.0, 177_546.0 / 184_375.0];

/// Checks what must be known before `min_lr` is filled in.
pub fn check(flags: &mut Flags) -> anyhow::Result<()> {
    let name = flags.lr_schedule.get_or_insert_with(|| "step".to_owned());
    one_of("lr_schedule", name, &["step", "cosine"], &[])?;
    match name.as_str() {
        "step" if flags.optimisation.min_lr.is_some() => Err(usage(
            "min_lr is for --lr-schedule cosine: where the rate drops in steps, it ends at a hundredth",
        )),
        "cosine" if flags.lr_drops.is_some() => Err(usage("lr_drops is for --lr-schedule step")),
        _ => Ok(()),
    }
}

/// The decay, with every default filled in.
pub fn resolve(flags: &mut Flags) -> anyhow::Result<Decay> {
    if flags.lr_schedule.as_deref() == Some("cosine") {
        return Ok(Decay::Cosine);
    }
    flags.optimisation.min_lr = None;
    let drops = flags.lr_drops.get_or_insert_with(|| DROPS.to_vec());
    match drops[..] {
        [first, second] if 0.0 < first && first <= second && second <= 1.0 => {
            Ok(Decay::Steps { at: [first, second] })
        }
        _ => Err(usage(format!(
            "lr_drops {drops:?}: expected two shares of the run, above 0 and at most 1, the smaller one first"
        ))),
    }
}

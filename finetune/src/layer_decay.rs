use candle_core::Var;
use longmae_ops::Param;
use longmae_vit::Backbone;

use crate::{Error, Result};

/// How a parameter is optimised in fine-tuning.
#[derive(Debug, Clone)]
pub struct TunedParam {
    /// Its name in a checkpoint.
    pub name: String,
    /// Its values.
    pub var: Var,
    /// Factor on the learning rate.
    pub lr_scale: f64,
    /// Whether weight decay applies.
    pub decay: bool,
}

/// Layer-wise learning-rate decay (arXiv 2106.08254): a parameter of layer `i` of `n` learns at `decay^(n - 1 - i)` of the
/// rate, by [`Backbone::layer_id`]; heads are of the last layer. 1 is no decay.
///
/// Parameters of one dimension and [`Backbone::no_weight_decay`] take no weight decay (MAE's `param_groups_lrd`). What is
/// not trainable is left out.
///
/// # Errors
/// When `decay` is not above 0 and at most 1.
pub fn layer_decay<B: Backbone + ?Sized>(
    backbone: &B,
    params: &[Param],
    decay: f64,
) -> Result<Vec<TunedParam>> {
    if !(decay > 0.0 && decay <= 1.0) {
        return Err(Error::Setting {
            name: "layer decay",
            found: decay.to_string(),
            expected: "above 0 and at most 1".to_owned(),
        });
    }
    let last = backbone.layers().saturating_sub(1);
    let tuned = |param: &Param| {
        let depth = last.saturating_sub(backbone.layer_id(&param.name));
        TunedParam {
            name: param.name.clone(),
            var: param.var.clone(),
            lr_scale: decay.powi(depth as i32),
            decay: param.var.rank() > 1
                && !backbone.no_weight_decay().contains(&param.name.as_str()),
        }
    };
    Ok(params.iter().filter(|param| param.trainable).map(tuned).collect())
}

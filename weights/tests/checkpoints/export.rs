//! Writing in other packages' layouts: what is written, what is left out, and what is refused by name.

use crate::common::{info, tensors, values, vars};
use candle_core::{DType, Tensor};
use longmae_weights::{
    Checkpoint, Error, Kind, Known, Layout, Metadata, ModelInfo, TowerInfo, export,
};
use serde_json::Value;
use std::path::Path;

type Shapes = Vec<(&'static str, Vec<usize>)>;

/// All names of a model of 2 x 2 patches of 8 x 8 with one channel, an encoder of one block 4 wide, a decoder 8 wide.
fn full() -> Shapes {
    let block = |names: [&'static str; 12], dim: usize| {
        let shapes = [
            vec![dim],
            vec![dim],
            vec![3 * dim, dim],
            vec![3 * dim],
            vec![dim, dim],
            vec![dim],
            vec![dim],
            vec![dim],
            vec![4 * dim, dim],
            vec![4 * dim],
            vec![dim, 4 * dim],
            vec![dim],
        ];
        names.into_iter().zip(shapes).collect::<Shapes>()
    };
    let encoder = block(
        [
            "blocks.0.norm1.weight",
            "blocks.0.norm1.bias",
            "blocks.0.attn.qkv.weight",
            "blocks.0.attn.qkv.bias",
            "blocks.0.attn.proj.weight",
            "blocks.0.attn.proj.bias",
            "blocks.0.norm2.weight",
            "blocks.0.norm2.bias",
            "blocks.0.mlp.fc1.weight",
            "blocks.0.mlp.fc1.bias",
            "blocks.0.mlp.fc2.weight",
            "blocks.0.mlp.fc2.bias",
        ],
        4,
    );
    let decoder = block(
        [
            "decoder_blocks.0.norm1.weight",
            "decoder_blocks.0.norm1.bias",
            "decoder_blocks.0.attn.qkv.weight",
            "decoder_blocks.0.attn.qkv.bias",
            "decoder_blocks.0.attn.proj.weight",
            "decoder_blocks.0.attn.proj.bias",
            "decoder_blocks.0.norm2.weight",
            "decoder_blocks.0.norm2.bias",
            "decoder_blocks.0.mlp.fc1.weight",
            "decoder_blocks.0.mlp.fc1.bias",
            "decoder_blocks.0.mlp.fc2.weight",
            "decoder_blocks.0.mlp.fc2.bias",
        ],
        8,
    );
    let outer = vec![
        ("cls_token", vec![1, 1, 4]),
        ("pos_embed", vec![1, 5, 4]),
        ("patch_embed.proj.weight", vec![4, 1, 8, 8]),
        ("patch_embed.proj.bias", vec![4]),
        ("norm.weight", vec![4]),
        ("norm.bias", vec![4]),
        ("mask_token", vec![1, 1, 8]),
        ("decoder_embed.weight", vec![8, 4]),
        ("decoder_embed.bias", vec![8]),
        ("decoder_pos_embed", vec![1, 5, 8]),
        ("decoder_norm.weight", vec![8]),
        ("decoder_norm.bias", vec![8]),
        ("decoder_pred.weight", vec![64, 8]),
        ("decoder_pred.bias", vec![64]),
    ];
    [outer, encoder, decoder].concat()
}

fn metadata(kind: Kind) -> Metadata {
    let tower = |dim| TowerInfo { dim, depth: 1, heads: 2, mlp_ratio: 4.0 };
    let info = ModelInfo { encoder: tower(4), decoder: Some(tower(8)), ..info() };
    Metadata { kind, info, recipe: Some("patch_size = 8\n".to_owned()) }
}

fn with(mut shapes: Shapes, more: &[(&'static str, &[usize])]) -> Shapes {
    shapes.extend(more.iter().map(|(name, shape)| (*name, shape.to_vec())));
    shapes
}

fn encoder(shapes: Shapes) -> Shapes {
    shapes.into_iter().filter(|(name, _)| !longmae_weights::is_decoder(name)).collect()
}

#[track_caller]
fn refusal(shapes: &Shapes, metadata: &Metadata, layout: Layout) -> String {
    let error = export(&tensors(shapes), metadata, layout).unwrap_err();
    assert!(matches!(error, Error::CannotHold { .. }), "{error}");
    error.to_string()
}

#[test]
fn what_a_layout_cannot_hold_is_refused_by_name() {
    let (whole, alone) = (metadata(Kind::Full), metadata(Kind::Encoder));
    for layout in [Layout::Timm, Layout::HfVit, Layout::Detectron2] {
        let text = refusal(&full(), &whole, layout);
        let expected =
            format!("layout `{layout}` cannot hold `mask_token`: it holds encoders only");
        assert!(text.starts_with(&expected), "{text}");
        export(&tensors(&full()), &alone, layout).unwrap();
    }
    let down = with(full(), &[("decoder_downsample.weight", &[8, 8, 2, 2])]);
    assert!(refusal(&down, &whole, Layout::HfVitMae).contains("`decoder_downsample.weight`"));
    export(&tensors(&down), &alone, Layout::HfVitMae).unwrap();

    let pooled: Shapes =
        encoder(full()).into_iter().filter(|(n, _)| !n.starts_with("norm.")).collect();
    let pooled =
        with(pooled, &[("fc_norm.weight", &[4]), ("fc_norm.bias", &[4]), ("head.weight", &[3, 4])]);
    for layout in [Layout::HfVit, Layout::HfVitMae, Layout::Detectron2] {
        assert!(refusal(&pooled, &alone, layout).contains("cannot hold `fc_norm.weight`"));
    }
    export(&tensors(&pooled), &alone, Layout::Timm).unwrap();
    let both = with(pooled, &[("norm.weight", &[4])]);
    assert!(refusal(&both, &alone, Layout::Timm).contains("`norm.weight`"));

    let odd = with(full(), &[("neck.weight", &[4])]);
    for layout in Layout::ALL {
        let text = refusal(&odd, &whole, layout);
        assert!(text.contains("`neck.weight`") || text.contains("`mask_token`"), "{text}");
    }
    assert!(refusal(&odd, &whole, Layout::Mae).contains("`neck.weight`: it is no parameter"));
}

#[test]
fn what_a_package_cannot_be_told_is_refused() {
    let mut metadata = metadata(Kind::Encoder);
    metadata.info.layer_norm_eps = 1e-5;
    for layout in [Layout::Timm, Layout::Detectron2] {
        assert!(refusal(&full(), &metadata, layout).contains("layer_norm_eps 1e-5"));
    }
    let export = export(&tensors(&full()), &metadata, Layout::HfVit).unwrap();
    let config: Value = serde_json::from_str(&export.files[0].1).unwrap();
    assert_eq!(config["layer_norm_eps"], 1e-5);

    metadata.info.layer_norm_eps = 1e-6;
    metadata.info.image_size = [8, 32];
    assert!(refusal(&full(), &metadata, Layout::Detectron2).contains("images of 8x32"));
    metadata.kind = Kind::Full;
    assert!(refusal(&full(), &metadata, Layout::HfVitMae).contains("images of 8x32"));
}

#[test]
fn information_of_another_model_is_refused() {
    let mut metadata = metadata(Kind::Full);
    metadata.info.encoder.dim = 8;
    let error = export(&tensors(&full()), &metadata, Layout::Timm).unwrap_err().to_string();
    assert!(error.contains("has tensors of encoder width 4, its information says 8"), "{error}");
    let error = export(&tensors(&full())[..3], &metadata, Layout::Timm).unwrap_err().to_string();
    assert!(error.contains("has no `blocks.0.mlp.fc1.weight`"), "{error}");
}

/// Through each layout's file the same numbers come back under MAE's names, and the file says everything.
#[test]
fn every_layout_goes_there_and_back() {
    let folder = tempfile::tempdir().unwrap();
    for layout in Layout::ALL {
        let kind = match layout {
            Layout::Mae | Layout::HfVitMae => Kind::Full,
            _ => Kind::Encoder,
        };
        let metadata = metadata(kind);
        let export = export(&tensors(&full()), &metadata, layout).unwrap();
        let written = export.save_folder(folder.path().join(layout.name())).unwrap();
        assert_eq!(written.len(), 1 + export.files.len());
        let file = Checkpoint::open(written.last().unwrap()).unwrap();
        assert_eq!((file.layout(), file.kind()), (Some(layout), Some(kind)));
        assert_eq!(file.metadata(), Some(&metadata));
        assert_eq!(file.model_info(&Known::default()).unwrap(), metadata.info);

        let left_out = ["cls_token", "norm.weight", "norm.bias"];
        let left_out = if layout == Layout::Detectron2 { &left_out[..] } else { &[] };
        assert_eq!(export.left_out, left_out);
        let wanted: Shapes = full()
            .into_iter()
            .filter(|(name, _)| kind == Kind::Full || !longmae_weights::is_decoder(name))
            .filter(|(name, _)| !left_out.contains(name))
            .collect();
        let model = vars(&wanted, DType::F32);
        file.load_into(&model).unwrap();
        let originals = tensors(&full());
        for (name, var) in &model {
            let (_, original) = originals.iter().find(|(other, _)| other == name).unwrap();
            assert_eq!(values(var), values(original), "{layout} {name}");
        }
    }
}

/// The model with its encoder's and decoder's key bias taken out.
fn without_key_bias() -> (Vec<(String, Tensor)>, Metadata) {
    let mut metadata = metadata(Kind::Full);
    metadata.info.key_bias = false;
    let mut shapes: Shapes =
        full().into_iter().filter(|(name, _)| !name.ends_with("attn.qkv.bias")).collect();
    shapes = with(
        shapes,
        &[
            ("blocks.0.attn.q_bias", &[4]),
            ("blocks.0.attn.v_bias", &[4]),
            ("decoder_blocks.0.attn.q_bias", &[8]),
            ("decoder_blocks.0.attn.v_bias", &[8]),
        ],
    );
    (tensors(&shapes), metadata)
}

#[test]
fn a_model_without_key_bias_gets_one_of_zeros_and_loses_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let (model, metadata) = without_key_bias();
    let export = export(&model, &metadata, Layout::HfVitMae).unwrap();
    let key = export
        .tensors
        .iter()
        .find(|(name, _)| name == "vit.encoder.layer.0.attention.attention.key.bias");
    assert_eq!(values(&key.unwrap().1), [0.0; 4]);
    let path = folder.path().join("model.safetensors");
    export.save_file(&path).unwrap();
    let vars: Vec<_> = model
        .iter()
        .map(|(name, tensor)| {
            let zeros = tensor.zeros_like().unwrap();
            (name.clone(), candle_core::Var::from_tensor(&zeros).unwrap())
        })
        .collect();
    let report = Checkpoint::open(&path).unwrap().load_into(&vars).unwrap();
    assert_eq!(report.key_biases, 2);
    for ((name, original), (_, var)) in model.iter().zip(&vars) {
        assert_eq!(values(var), values(original), "{name}");
    }
}

fn config(folder: &Path, text: &str) {
    std::fs::write(folder.join("config.json"), text).unwrap();
}

#[test]
fn files_beside_the_weights_tell_what_shapes_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let export = export(&tensors(&full()), &metadata(Kind::Full), Layout::HfVitMae).unwrap();
    // As another program writes it: without longmae's metadata.
    safetensors::serialize_to_file(export.tensors.clone(), None, &path).unwrap();
    let file = Checkpoint::open(&path).unwrap();
    let unsaid = file.model_info(&Known::default()).unwrap_err();
    let Error::Unsaid { keys, .. } = &unsaid else { panic!("{unsaid}") };
    let asked = ["heads", "decoder_heads", "mean", "std", "layer_norm_eps", "norm_pix_loss"];
    assert_eq!(keys.len(), asked.len(), "{unsaid}");
    assert!(keys.iter().zip(asked).all(|(key, name)| key.starts_with(name)), "{unsaid}");

    for (name, text) in &export.files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let ours = metadata(Kind::Full).info;
    let said = file.model_info(&Known::default()).unwrap();
    let training = ModelInfo {
        steps: ours.steps,
        loss: ours.loss,
        code_version: ours.code_version.clone(),
        classifier: None,
        detector: None,
        ..said
    };
    assert_eq!(training, ours);

    config(folder.path(), r#"{"model_type": "vit_mae", "hidden_size": 768}"#);
    let error = file.model_info(&Known::default()).unwrap_err().to_string();
    assert!(error.contains("says hidden_size 768") && error.contains("4 wide"), "{error}");
    config(folder.path(), r#"{"hidden_act": "gelu_new"}"#);
    let error = file.model_info(&Known::default()).unwrap_err().to_string();
    assert!(error.contains("hidden_act `gelu_new`"), "{error}");
    config(folder.path(), "{");
    let error = file.model_info(&Known::default()).unwrap_err();
    assert!(matches!(error, Error::Config { .. }), "{error}");
}

#[test]
fn layouts_have_names() {
    for layout in Layout::ALL {
        assert_eq!(layout.to_string().parse::<Layout>().unwrap(), layout);
    }
    let error = "keras".parse::<Layout>().unwrap_err().to_string();
    assert_eq!(
        error,
        "there is no layout `keras`; there are mae, timm, hf-vit-mae, hf-vit, detectron2"
    );
}

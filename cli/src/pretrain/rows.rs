//! The recipes of the long-sequence paper against what its published code computes (`tests/fixtures/make_rows.py`).

use std::path::Path;

use longmae_masking::MaskPlan;
use serde_json::Value;

use super::dry_run::shape;
use super::flags::Flags;
use super::settings::Settings;
use crate::recipe;
use crate::run::RunSettings;

fn published() -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/paper_rows.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn settings(name: &str) -> Settings {
    let (_, table) = recipe::load::<Flags>(name, Settings::COMMAND).unwrap();
    Settings::resolve(recipe::to_flags(name, &table).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as usize).collect()
}

#[test]
fn every_row_is_in_the_fixture() {
    let rows = published();
    let compared: Vec<&str> = rows.iter().map(|row| row["recipe"].as_str().unwrap()).collect();
    let ours = recipe::BUILT_IN.iter().map(|recipe| recipe.name);
    let mut ours: Vec<&str> = ours.filter(|name| name.starts_with("long-")).collect();
    let mut theirs = compared.clone();
    ours.sort_unstable();
    theirs.sort_unstable();
    assert_eq!(ours, theirs);
}

#[test]
fn lengths_and_cost_are_those_of_the_published_code() {
    for row in published() {
        let name = row["recipe"].as_str().unwrap();
        let cost = shape(&settings(name)).cost().unwrap();
        let found = [
            cost.patches as u64,
            cost.encoder_tokens as u64,
            cost.decoder_tokens as u64,
            cost.encoder_parameters,
            cost.decoder_parameters,
            cost.forward_flops as u64,
        ];
        let keys = [
            "L",
            "encoder_tokens",
            "decoder_tokens",
            "encoder_parameters",
            "decoder_parameters",
            "forward_flops",
        ];
        let expected = keys.map(|key| row[key].as_u64().unwrap());
        assert_eq!(found, expected, "{name}: {keys:?}");
    }
}

#[test]
fn schedules_are_those_of_the_published_code() {
    for row in published() {
        let name = row["recipe"].as_str().unwrap();
        let settings = settings(name);
        let common = &settings.common;
        let passes = common.epochs * common.repeat as f64;
        assert!((passes - row["passes"].as_f64().unwrap()).abs() < 1e-9, "{name}");
        assert!((common.lr - row["lr"].as_f64().unwrap()).abs() < 1e-12, "{name}");
        assert_eq!(common.batching.effective, 4096, "{name}");
        assert_eq!(common.warmup_epochs, Some(40.0), "{name}");
        assert!(settings.mae.norm_pix_loss && common.encoder.tower.key_bias, "{name}");
    }
}

#[test]
fn masks_are_those_of_the_published_code() {
    for row in published() {
        let name = row["recipe"].as_str().unwrap();
        let settings = settings(name);
        let (units, kept) = settings.masks.on(settings.mae.encoder.grid).unwrap();
        let order = units.expand(&numbers(&row["unit_perm"])).unwrap();
        let plan = MaskPlan::from_order(&order, kept).unwrap();
        let keep: Vec<usize> = plan.ids_keep().iter().map(|id| *id as usize).collect();
        assert_eq!(keep, numbers(&row["ids_keep"]), "{name}");
    }
}

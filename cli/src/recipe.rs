//! Recipes: settings in TOML, built in by name or read from a file, with flags over them.

use std::path::Path;

use anyhow::Context;
use clap::Command;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::choice::{nearest, unknown};
use crate::exit::usage;

/// Settings as they are written: flags and a recipe's keys are the same list.
pub trait Keys: clap::Args + Serialize + DeserializeOwned {}

impl<F: clap::Args + Serialize + DeserializeOwned> Keys for F {}

/// A recipe that is built in.
pub struct BuiltIn {
    /// The command that it is for.
    pub command: &'static str,
    pub name: &'static str,
    pub text: &'static str,
}

/// Lists recipes by command and name; each is in the file of its name.
macro_rules! built_in {
    ($($command:literal: $($name:literal),+;)+) => {
        &[$($(BuiltIn {
            command: $command,
            name: $name,
            text: include_str!(concat!("../recipes/", $name, ".toml")),
        }),+),+]
    };
}

/// The built-in recipes. Those called `long-...` are the rows of arXiv 2210.07224 (see docs/studies.md).
pub const BUILT_IN: &[BuiltIn] = built_in! {
    "mae-pretrain":
        "demo",
        "mae-vit-base-224",
        "mae-vit-large-224",
        "mae-vit-huge-224",
        "long-vit-base-448",
        "long-vit-large-448",
        "long-vit-base-448-1600ep",
        "long-vit-large-448-1600ep",
        "long-coco-vit-base-448",
        "long-coco-vit-large-448",
        "long-i448-p64",
        "long-i448-p32",
        "long-i448-p8",
        "long-i112-p16",
        "long-i224-p16",
        "long-i672-p16",
        "long-i112-p4",
        "long-i224-p8",
        "long-i672-p24",
        "long-i448-p16-unit1",
        "long-i448-p16-unit4",
        "long-i448-p16-ratio0.9375",
        "long-i448-p16-decoder-down2",
        "long-i224-p16-4x",
        "long-large-i112-p16",
        "long-large-i224-p16",
        "long-in1k-i224-p16",
        "cifar10-pretrain",
        "fashion-mnist-pretrain";
    "classify":
        "finetune-vit-base-224",
        "finetune-vit-large-224",
        "finetune-vit-huge-224",
        "cifar10-classify",
        "fashion-mnist-classify";
    "linprobe":
        "linprobe-vit-base-224",
        "linprobe-vit-large-224",
        "linprobe-vit-huge-224";
    "detect":
        "vitdet-base",
        "vitdet-large",
        "vitdet-huge",
        "cascade-vitdet-base",
        "cascade-vitdet-large",
        "cascade-vitdet-huge",
        "detect-tiny";
    "study":
        "study-cifar10",
        "study-paper",
        "study-speed";
};

/// A built-in recipe.
pub fn built_in(name: &str) -> anyhow::Result<&'static BuiltIn> {
    let known: Vec<&str> = BUILT_IN.iter().map(|recipe| recipe.name).collect();
    let found = BUILT_IN.iter().find(|recipe| recipe.name == name);
    found.ok_or_else(|| unknown("recipe", name, &known))
}

/// The first comment of a recipe: what it is.
pub fn title(text: &str) -> &str {
    about(text).next().unwrap_or_default()
}

/// The comments that a recipe begins with: what it is, and where it is from.
pub fn about(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim)
}

/// Whether a name is a file's, and not that of something built in.
pub fn is_file(reference: &str) -> bool {
    reference.to_lowercase().ends_with(".toml") || Path::new(reference).components().count() > 1
}

/// The text of a recipe, by name or path.
pub fn text(reference: &str) -> anyhow::Result<String> {
    if !is_file(reference) {
        return Ok(built_in(reference)?.text.to_owned());
    }
    std::fs::read_to_string(reference).with_context(|| format!("recipe {reference}"))
}

/// A recipe for a command, by name or path: its short name and its settings, over those of its `base`.
pub fn load<F: Keys>(reference: &str, command: &str) -> anyhow::Result<(String, Table)> {
    let place = format!("recipe {reference}");
    if !is_file(reference) {
        check_command(&place, built_in(reference)?.command, command)?;
    }
    let table = parse::<F>(&place, &text(reference)?, command)?;
    let name = match is_file(reference) {
        true => Path::new(reference).file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        false => reference.to_owned(),
    };
    Ok((name, over_base::<F>(&place, table, command)?))
}

/// Puts settings over those of the built-in recipe that they name as their `base`. Bases of bases end: they are built in,
/// and tested.
fn over_base<F: Keys>(place: &str, mut table: Table, command: &str) -> anyhow::Result<Table> {
    let Some(base) = table.remove("base") else { return Ok(table) };
    let name = base.as_str().filter(|name| !is_file(name)).ok_or_else(|| {
        usage(format!("{place}: `base` is {base}: expected the name of a built-in recipe"))
    })?;
    let (_, mut lower) = load::<F>(name, command)?;
    overlay(&mut lower, &table);
    Ok(lower)
}

/// How a command is typed.
pub fn called(command: &str) -> String {
    if command == "mae-pretrain" { command.to_owned() } else { format!("longmae {command}") }
}

/// Refuses the recipe of another command.
pub fn check_command(place: &str, own: &str, command: &str) -> anyhow::Result<()> {
    if own == command {
        return Ok(());
    }
    let (own, command) = (called(own), called(command));
    Err(usage(format!("{place} is for `{own}`, this is `{command}`")))
}

/// Reads a recipe's text for a command; `place` is where it stands, for messages.
pub fn parse<F: Keys>(place: &str, text: &str, command: &str) -> anyhow::Result<Table> {
    let table: Table = text
        .parse()
        .map_err(|e: toml::de::Error| usage(format!("{place} is not TOML: {}", e.message())))?;
    // A resolved recipe says whose it is.
    if let Some(own) = table.get("command").and_then(Value::as_str) {
        check_command(place, own, command)?;
    }
    let mut own = table.clone();
    own.remove("base");
    to_flags::<F>(place, &own)?;
    Ok(table)
}

/// Settings as a table, those that are set.
pub fn to_table(flags: &impl Serialize) -> anyhow::Result<Table> {
    // All that can fail is a number beyond what TOML holds.
    Table::try_from(flags)
        .map_err(|_| usage(format!("a number is too large: at most {} can be written", i64::MAX)))
}

/// A table as settings. Unknown keys are refused with the nearest known one.
pub fn to_flags<F: Keys>(place: &str, table: &Table) -> anyhow::Result<F> {
    check_keys::<F>(place, table.keys())?;
    for key in table.keys() {
        let one = Table::from_iter([(key.clone(), table[key].clone())]);
        one.try_into::<F>().map_err(|e| {
            let reason = e.message().to_owned();
            usage(format!("{place}: `{key}` is {}: {reason}", table[key]))
        })?;
    }
    table.clone().try_into().map_err(|e| usage(format!("{place}: {e}")))
}

/// Puts settings over others. What is set anew replaces what the others say of the same thing in another way:
/// `blr` replaces `lr`, and of the three batch numbers the effective one stays, unless two others are set.
pub fn overlay(table: &mut Table, upper: &Table) {
    let has = |key: &str| upper.contains_key(key);
    for pair in [["lr", "blr"], ["val_data", "val_share"]] {
        if pair.into_iter().any(has) {
            pair.into_iter().for_each(|key| drop(table.remove(key)));
        }
    }
    let gives_way = match (has("batch_size"), has("accum_iter"), has("effective_batch_size")) {
        (true, true, _) => Some("effective_batch_size"),
        (true, false, _) | (false, false, true) => Some("accum_iter"),
        (false, true, _) => Some("batch_size"),
        (false, false, false) => None,
    };
    if let Some(key) = gives_way {
        table.remove(key);
    }
    table.extend(upper.clone());
}

/// `KEY=VALUE` of `--set`; the value is TOML, or else a text.
pub fn parse_set<F: Keys>(text: &str) -> anyhow::Result<Table> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| usage(format!("--set {text}: expected KEY=VALUE, such as mask_unit=2")))?;
    let key = key.trim().replace('-', "_");
    let parsed = format!("value = {value}").parse::<Table>().ok();
    let value = parsed
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(value.trim().to_owned()));
    let table = Table::from_iter([(key, value)]);
    to_flags::<F>("--set", &table)?;
    Ok(table)
}

/// Refuses keys that no recipe has, with the nearest known one.
pub fn check_keys<'a, F: Keys>(
    place: &str,
    keys: impl IntoIterator<Item = &'a String>,
) -> anyhow::Result<()> {
    let known = known_keys::<F>();
    match keys.into_iter().find(|key| !known.contains(key)) {
        None => Ok(()),
        Some(key) => {
            let hint = nearest(key, known.iter().map(String::as_str))
                .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            Err(usage(format!("{place}: unknown key `{key}`{hint}")))
        }
    }
}

/// Every key a recipe may have: the flags' names, and what is found out by itself.
fn known_keys<F: Keys>() -> Vec<String> {
    let command = F::augment_args(Command::new("keys"));
    let flags = command.get_arguments().map(|arg| arg.get_id().to_string());
    flags.chain(["command", "ranks"].map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrain::Flags;
    use crate::{classify, detect, linprobe, study};

    #[test]
    fn built_in_recipes_parse_and_have_titles() {
        for BuiltIn { command, name, text } in BUILT_IN {
            if *command == study::COMMAND {
                let (_, study) = study::StudyFile::load(name).unwrap();
                assert!(!study.rows.is_empty() && title(text).len() > 10, "{name}");
                continue;
            }
            let loaded = match *command {
                "classify" => load::<classify::Flags>(name, command),
                "detect" => load::<detect::Flags>(name, command),
                "linprobe" => load::<linprobe::Flags>(name, command),
                _ => load::<Flags>(name, command),
            };
            let (_, table) = loaded.unwrap();
            assert!(!table.contains_key("base"), "{name}");
            assert!(title(text).len() > 10, "{name}");
        }
    }

    #[test]
    fn a_recipe_stands_on_its_base() {
        let (_, table) = load::<Flags>("long-coco-vit-large-448", "mae-pretrain").unwrap();
        let expected =
            "model = \"vit-large\"\nimage_size = 448\nrepeat = 5".parse::<Table>().unwrap();
        expected.iter().for_each(|(key, value)| assert_eq!(&table[key], value, "{key}"));
        let over = |base: &str| {
            let table = format!("base = {base}\nlr = 1.0").parse().unwrap();
            over_base::<Flags>("mine", table, "mae-pretrain").map_err(|e| e.to_string())
        };
        let over_long = over("\"long-vit-base-448\"").unwrap();
        assert!(over_long.contains_key("lr") && !over_long.contains_key("blr"));
        assert!(over("\"long-vit-base\"").unwrap_err().contains("did you mean"));
        assert!(over("\"x.toml\"").unwrap_err().contains("name of a built-in recipe"));
        assert!(over("3").unwrap_err().contains("`base` is 3"));
        let other = over("\"cifar10-classify\"").unwrap_err();
        assert!(other.contains("is for `longmae classify`"), "{other}");
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let error =
            parse::<Flags>("mine", "mask_unti = 2", "mae-pretrain").unwrap_err().to_string();
        assert_eq!(error, "mine: unknown key `mask_unti`; did you mean `mask_unit`?");
    }

    #[test]
    fn what_is_typed_replaces_what_says_the_same_otherwise() {
        let merged = |lower: &str, upper: &str| {
            let mut table: Table = lower.parse().unwrap();
            overlay(&mut table, &upper.parse().unwrap());
            table
        };
        assert_eq!(merged("lr = 1.0", "blr = 2.0"), "blr = 2.0".parse().unwrap());
        let resolved = "batch_size = 16\naccum_iter = 256\neffective_batch_size = 4096";
        for (typed, expected) in [
            ("batch_size = 8", "batch_size = 8\neffective_batch_size = 4096"),
            ("accum_iter = 1", "accum_iter = 1\neffective_batch_size = 4096"),
            ("effective_batch_size = 64", "batch_size = 16\neffective_batch_size = 64"),
            ("batch_size = 8\naccum_iter = 1", "batch_size = 8\naccum_iter = 1"),
        ] {
            assert_eq!(merged(resolved, typed), expected.parse().unwrap(), "{typed}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_names_its_key() {
        let error =
            parse::<Flags>("mine", "epochs = \"many\"", "mae-pretrain").unwrap_err().to_string();
        assert!(error.contains("`epochs` is \"many\""), "{error}");
    }

    #[test]
    fn flags_survive_the_way_through_toml() {
        let mut flags = Flags::default();
        flags.data.image_size = Some("224x320".parse().unwrap());
        flags.data.mean = Some(vec![0.5]);
        flags.data.flip = Some(false);
        flags.optimisation.epochs = Some(3.0);
        flags.run.save_every = Some("500".to_owned());
        let text = to_table(&flags).unwrap().to_string();
        assert_eq!(to_flags::<Flags>("x", &text.parse().unwrap()).unwrap(), flags);
    }
}

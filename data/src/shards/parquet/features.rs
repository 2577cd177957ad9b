//! The names of classes, as the Python package `datasets` notes them.

use serde_json::Value;

/// The names in the value of the file's key `huggingface` for a column: `info.features.COLUMN.names`, or the same
/// one level further in. None if it is not a `ClassLabel` or says nothing of names.
pub(super) fn class_names(huggingface: &str, column: &str) -> Vec<String> {
    let value = serde_json::from_str::<Value>(huggingface).unwrap_or_default();
    let feature = value.get("info").and_then(|info| info.get("features")?.get(column));
    feature.and_then(names).unwrap_or_default()
}

fn names(feature: &Value) -> Option<Vec<String>> {
    let is_class = feature.get("_type").is_none_or(|kind| kind == "ClassLabel");
    let direct = feature.get("names").filter(|_| is_class).and_then(list);
    direct.or_else(|| {
        ["dtype", "class_label", "feature"].iter().find_map(|key| names(feature.get(key)?))
    })
}

/// A list of names, or an object of which the keys are `0`, `1` and so on.
fn list(names: &Value) -> Option<Vec<String>> {
    let text = |name: &Value| name.as_str().map(str::to_owned);
    match names {
        Value::Array(names) => names.iter().map(text).collect(),
        Value::Object(names) => {
            (0..names.len()).map(|number| text(names.get(&number.to_string())?)).collect()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_all_forms() {
        let of = |feature: &str| {
            class_names(&format!(r#"{{"info": {{"features": {{"label": {feature}}}}}}}"#), "label")
        };
        assert_eq!(of(r#"{"names": ["a", "b"], "_type": "ClassLabel"}"#), ["a", "b"]);
        assert_eq!(
            of(r#"{"dtype": {"class_label": {"names": {"1": "b", "0": "a"}}}}"#),
            ["a", "b"]
        );
        assert_eq!(of(r#"{"feature": {"names": ["a"], "_type": "ClassLabel"}}"#), ["a"]);
        for none in [
            r#"{"dtype": "int64", "_type": "Value"}"#,
            r#"{"names": ["a"], "_type": "Value"}"#,
            r#"{"names": {"1": "b"}}"#,
            r#"{"names": [1]}"#,
            "3",
        ] {
            assert!(of(none).is_empty(), "{none}");
        }
        assert!(class_names("{", "label").is_empty());
    }
}

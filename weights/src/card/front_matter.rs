//! The front matter, by which the Hub sorts models.

use super::ModelCard;

const TAGS: [&str; 4] =
    ["masked-autoencoder", "vision-transformer", "self-supervised-learning", "pre-training"];

impl ModelCard {
    pub(super) fn front_matter(&self) -> String {
        let mut lines = vec!["---".to_owned(), "library_name: longmae".to_owned()];
        let mut one = |key: &str, value: &Option<String>| {
            lines.extend(value.iter().map(|value| format!("{key}: {}", text(value))));
        };
        one("license", &self.license);
        one("base_model", &self.base_model);
        lines.push("pipeline_tag: image-feature-extraction".to_owned());
        let mut many = |key: &str, values: &mut dyn Iterator<Item = &str>| {
            let items: Vec<String> = values.map(|value| format!("- {}", text(value))).collect();
            if !items.is_empty() {
                lines.push(format!("{key}:"));
                lines.extend(items);
            }
        };
        many("tags", &mut TAGS.into_iter());
        many("datasets", &mut self.datasets.iter().map(String::as_str));
        lines.push("---\n".to_owned());
        lines.join("\n")
    }
}

/// A text that YAML cannot take for anything else; as JSON writes it, which is YAML too.
fn text(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::tests::card;
    use super::*;

    #[test]
    fn only_what_is_known_is_said() {
        let expected = "---\nlibrary_name: longmae\npipeline_tag: image-feature-extraction\ntags:\n\
                        - \"masked-autoencoder\"\n- \"vision-transformer\"\n- \"self-supervised-learning\"\n\
                        - \"pre-training\"\n---\n";
        assert_eq!(card().front_matter(), expected);
        let full = ModelCard {
            license: Some("no".into()),
            base_model: Some("org/base".into()),
            datasets: vec!["org/a".into(), "org/b".into()],
            ..card()
        };
        let text = full.front_matter();
        for part in [
            "\nlicense: \"no\"\n",
            "\nbase_model: \"org/base\"\n",
            "\ndatasets:\n- \"org/a\"\n- \"org/b\"\n---\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}

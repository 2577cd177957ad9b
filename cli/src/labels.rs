//! The classes of labelled images, and that all parts of a dataset mean the same by them.

use std::sync::Arc;

use anyhow::bail;
use longmae_data::{Part, Sample, Source, Target};

/// The most names that a message lists.
const SHOWN: usize = 8;
/// Classes beyond which labels are taken for a mistake.
const MOST_CLASSES: usize = 1 << 20;

/// The classes of labelled images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes {
    /// Their names; numbers where the data has none.
    pub names: Vec<String>,
    /// Whether the data has names, which are then what is compared.
    named: bool,
}

impl Classes {
    /// The classes of `source`, which `what` names in messages.
    ///
    /// # Errors
    /// When a sample has no class, or there are fewer than two classes.
    pub fn of(source: &dyn Source, what: &str) -> anyhow::Result<Self> {
        let largest = largest_label(source, what)?;
        let classes = source.classes();
        let named = !classes.is_empty();
        if named && largest >= classes.len() {
            bail!("{what}: a label is {largest}, but the data names {} classes", classes.len());
        }
        let names: Vec<String> =
            if named { classes.to_vec() } else { (0..=largest).map(|n| n.to_string()).collect() };
        if names.len() < 2 {
            bail!(
                "{what}: all images are of one class ({}); a classifier needs two at least, such as a folder each",
                names.first().map_or("none", String::as_str)
            );
        }
        Ok(Self { names, named })
    }

    /// As a file of weights has them; without names, their numbers.
    pub fn stored(names: Vec<String>, named: bool) -> Self {
        Self { names, named }
    }

    /// Whether they have names, by which other data is matched.
    pub fn are_named(&self) -> bool {
        self.named
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// `source` with labels that count these classes. Names decide where both sides have them: a class that the source
    /// lacks is no mistake, one that only the source has is.
    pub fn align(&self, source: &Arc<dyn Source>, what: &str) -> anyhow::Result<Arc<dyn Source>> {
        let largest = largest_label(source.as_ref(), what)?;
        let theirs = source.classes();
        if !self.named && !theirs.is_empty() && theirs.len() != self.len() {
            bail!(
                "{what} names {} classes, those trained on are {} numbers: which is which cannot be told",
                theirs.len(),
                self.len()
            );
        }
        if !self.named || theirs.is_empty() {
            if largest >= self.len() {
                bail!(
                    "{what}: a label is {largest}, expected one below {} (the classes trained on)",
                    self.len()
                );
            }
            return Ok(source.clone());
        }
        if theirs == self.names {
            return Ok(source.clone());
        }
        let number = |name: &String| self.names.iter().position(|known| known == name);
        let map: Vec<Option<usize>> = theirs.iter().map(number).collect();
        let unknown: Vec<&str> = theirs
            .iter()
            .zip(&map)
            .filter(|(_, known)| known.is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        if !unknown.is_empty() {
            bail!(
                "{what}: {} of its {} classes are not among those trained on: {}; trained on are {}",
                unknown.len(),
                theirs.len(),
                few(&unknown),
                few(&self.names)
            );
        }
        Ok(Arc::new(Relabelled {
            source: source.clone(),
            names: self.names.clone(),
            map: map.into_iter().flatten().collect(),
        }))
    }
}

/// The first few of a list.
fn few<T: AsRef<str>>(names: &[T]) -> String {
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    names.iter().take(SHOWN).map(AsRef::as_ref).collect::<Vec<_>>().join(", ") + more
}

/// The class of a target.
pub fn class(target: &Target) -> Option<usize> {
    match target {
        Target::Class(class) => Some(*class),
        _ => None,
    }
}

fn largest_label(source: &dyn Source, what: &str) -> anyhow::Result<usize> {
    let mut largest = 0;
    for index in 0..source.len() {
        // What cannot be read is a corrupt sample, which the loader counts.
        let Ok(target) = source.target(index) else { continue };
        let Some(class) = class(&target) else {
            bail!(
                "{what}: {} has no class; expected a folder for each class, or a dataset with labels",
                source.id(index)
            );
        };
        if class >= MOST_CLASSES {
            bail!("{what}: {} has the label {class}, which is no class", source.id(index));
        }
        largest = largest.max(class);
    }
    Ok(largest)
}

/// A source whose classes are counted as others are.
struct Relabelled {
    source: Arc<dyn Source>,
    names: Vec<String>,
    map: Vec<usize>,
}

impl Relabelled {
    fn relabel(&self, target: Target) -> Target {
        match target {
            Target::Class(class) => Target::Class(self.map[class]),
            other => other,
        }
    }
}

impl Source for Relabelled {
    fn len(&self) -> usize {
        self.source.len()
    }

    fn id(&self, index: usize) -> String {
        self.source.id(index)
    }

    fn get(&self, index: usize) -> longmae_data::Result<Sample> {
        let sample = self.source.get(index)?;
        Ok(Sample { target: self.relabel(sample.target), ..sample })
    }

    fn classes(&self) -> &[String] {
        &self.names
    }

    fn target(&self, index: usize) -> longmae_data::Result<Target> {
        Ok(self.relabel(self.source.target(index)?))
    }

    fn parts(&self) -> Vec<Part> {
        self.source.parts()
    }

    fn expect(&self, in_flight: usize) {
        self.source.expect(in_flight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Labels {
        labels: Vec<usize>,
        names: Vec<String>,
    }

    fn labelled(labels: &[usize], names: &[&str]) -> Arc<dyn Source> {
        let names = names.iter().map(ToString::to_string).collect();
        Arc::new(Labels { labels: labels.to_vec(), names })
    }

    impl Source for Labels {
        fn len(&self) -> usize {
            self.labels.len()
        }

        fn id(&self, index: usize) -> String {
            index.to_string()
        }

        fn get(&self, index: usize) -> longmae_data::Result<Sample> {
            Err(longmae_data::Error::NoSuchSample { index, len: 0 })
        }

        fn classes(&self) -> &[String] {
            &self.names
        }

        fn target(&self, index: usize) -> longmae_data::Result<Target> {
            Ok(Target::Class(self.labels[index]))
        }
    }

    fn refused(outcome: anyhow::Result<impl Sized>) -> String {
        outcome.err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn validation_data_is_matched_by_name() {
        let train = labelled(&[0, 1, 2], &["ant", "bee", "cat"]);
        let classes = Classes::of(train.as_ref(), "train").unwrap();
        let fewer = classes.align(&labelled(&[1, 0], &["ant", "cat"]), "val").unwrap();
        assert_eq!(fewer.target(0).unwrap(), Target::Class(2));
        assert_eq!(fewer.target(1).unwrap(), Target::Class(0));
        let error = refused(classes.align(&labelled(&[0, 1], &["ant", "dog"]), "val"));
        assert_eq!(
            error,
            "val: 1 of its 2 classes are not among those trained on: dog; trained on are ant, bee, cat"
        );
    }

    #[test]
    fn numbers_stand_for_themselves() {
        let classes = Classes::of(labelled(&[0, 3], &[]).as_ref(), "train").unwrap();
        assert_eq!(classes.len(), 4);
        assert!(classes.align(&labelled(&[3], &[]), "val").is_ok());
        let error = refused(classes.align(&labelled(&[4], &[]), "val"));
        assert!(error.contains("a label is 4, expected one below 4"), "{error}");
        let error = refused(classes.align(&labelled(&[0, 1], &["ant", "bee"]), "val"));
        assert!(error.contains("val names 2 classes, those trained on are 4 numbers"), "{error}");
    }

    #[test]
    fn names_that_are_numbers_are_names() {
        let train = labelled(&[0, 1, 2], &["0", "1", "2"]);
        let classes = Classes::of(train.as_ref(), "train").unwrap();
        let classes = Classes::stored(classes.names.clone(), classes.are_named());
        let some = classes.align(&labelled(&[0], &["2"]), "val").unwrap();
        assert_eq!(some.target(0).unwrap(), Target::Class(2));
    }

    #[test]
    fn one_class_is_no_task() {
        let error = refused(Classes::of(labelled(&[0, 0], &["ant"]).as_ref(), "train"));
        assert!(error.contains("all images are of one class (ant)"), "{error}");
    }
}

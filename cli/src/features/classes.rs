//! The classes of images that are compared with each other.

use anyhow::bail;
use candle_core::Tensor;
use longmae_data::{Source, Target};
use longmae_finetune::probes::Features;

/// Classes that have no names are numbers below this.
const MOST_UNNAMED: usize = 1 << 16;
/// Names that are listed.
const MOST_LISTED: usize = 8;

/// What the labels of a source mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Classes {
    /// The names, if they are known.
    names: Vec<String>,
    /// For a source with some of the classes: the number that each of its own has.
    numbers: Option<Vec<usize>>,
}

/// What the labels of two sources mean, in which a class must have the same number.
///
/// The second one may lack classes of the first, which are then told by name; it must not have others.
pub fn common_classes([first, second]: [(&str, &[String]); 2]) -> anyhow::Result<[Classes; 2]> {
    let ((first_name, first), (second_name, second)) = (first, second);
    let known = Classes::named(first);
    // Without names, numbers are all there is to go by.
    if first.is_empty() || second.is_empty() || first == second {
        let both = Classes::named(if first.is_empty() { second } else { first });
        return Ok([both.clone(), both]);
    }
    let others: Vec<&str> =
        second.iter().filter(|name| !first.contains(name)).map(String::as_str).collect();
    if !others.is_empty() {
        let missing = few(&others);
        bail!(
            "{second_name} has classes that {first_name} lacks: {missing} (found {} classes there, {} here)",
            second.len(),
            first.len()
        );
    }
    let number = |name: &String| first.iter().position(|known| known == name);
    let numbers = second.iter().filter_map(number).collect();
    Ok([known, Classes { names: first.to_vec(), numbers: Some(numbers) }])
}

/// The first few, and how many more.
fn few(names: &[&str]) -> String {
    let more = names.len().saturating_sub(MOST_LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names[..names.len().min(MOST_LISTED)].join(", "))
}

impl Classes {
    /// Classes of these names, numbered in this order; or of unknown ones, if there are none.
    pub fn named(names: &[String]) -> Self {
        Self { names: names.to_vec(), numbers: None }
    }

    /// The names, if they are known.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the source lacks some of the classes, and its labels were given their numbers.
    pub fn is_part(&self) -> bool {
        self.numbers.is_some()
    }

    /// An error unless a source has classes, as far as its first image shows.
    pub fn check(name: &str, source: &dyn Source) -> anyhow::Result<()> {
        // An image that cannot be read is met again, and counted, when all are.
        match source.target(0) {
            Ok(Target::Class(_)) | Err(_) => Ok(()),
            Ok(other) => Err(no_class(name, &source.id(0), &other)),
        }
    }

    /// The class of each sample.
    pub fn labels(
        &self,
        name: &str,
        ids: &[String],
        targets: &[Target],
    ) -> anyhow::Result<Vec<u32>> {
        let label = |(id, target): (&String, &Target)| match target {
            Target::Class(class) => self.number(name, id, *class),
            other => Err(no_class(name, id, other)),
        };
        ids.iter().zip(targets).map(label).collect()
    }

    fn number(&self, name: &str, id: &str, class: usize) -> anyhow::Result<u32> {
        let own = match &self.numbers {
            Some(numbers) => numbers.get(class).copied(),
            None => Some(class),
        };
        let most = if self.names.is_empty() { MOST_UNNAMED } else { self.names.len() };
        match own.filter(|class| *class < most) {
            Some(class) => Ok(class as u32),
            None => bail!("{name}: {id} is of class {class}; expected a number below {most}"),
        }
    }
}

/// Features of both sides, which have as many classes as are named, or as the largest label shows.
pub fn both_features(
    classes: &Classes,
    [first, second]: [(Tensor, Vec<u32>); 2],
) -> anyhow::Result<[Features; 2]> {
    let greatest = first.1.iter().chain(&second.1).max().copied().unwrap_or_default();
    let count = classes.names.len().max(greatest as usize + 1);
    if first.1.iter().all(|label| Some(label) == first.1.first()) {
        bail!("all images to learn from are of one class: there is nothing to tell apart");
    }
    Ok([Features::new(first.0, first.1, count)?, Features::new(second.0, second.1, count)?])
}

fn no_class(name: &str, id: &str, found: &Target) -> anyhow::Error {
    let found = match found {
        Target::None => "nothing",
        Target::Instances(_) => "objects",
        Target::LabelMap(_) => "a map of labels",
        _ => "something else",
    };
    anyhow::anyhow!(
        "{name}: {id} has no class, but {found} (a folder needs one subfolder a class, and no image beside them)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn common(first: &[&str], second: &[&str]) -> anyhow::Result<[Classes; 2]> {
        common_classes([("train", &names(first)), ("val", &names(second))])
    }

    fn labels(classes: &Classes, own: &[usize]) -> anyhow::Result<Vec<u32>> {
        let targets: Vec<_> = own.iter().map(|class| Target::Class(*class)).collect();
        classes.labels("val", &names(&vec!["x"; own.len()]), &targets)
    }

    #[test]
    fn a_part_of_the_classes_is_told_by_name() {
        let [train, val] = common(&["ant", "bee", "cat"], &["bee", "cat"]).unwrap();
        assert_eq!((train.is_part(), val.is_part()), (false, true));
        assert_eq!(labels(&train, &[0, 2]).unwrap(), [0, 2]);
        assert_eq!(labels(&val, &[0, 1]).unwrap(), [1, 2]);
        assert_eq!(val.names(), names(&["ant", "bee", "cat"]));
    }

    #[test]
    fn other_classes_are_named() {
        let error = common(&["ant", "bee"], &["ant", "dog"]).unwrap_err().to_string();
        assert!(error.contains("val has classes that train lacks: dog"), "{error}");
        let many: Vec<String> = (0..20).map(|i| format!("c{i}")).collect();
        let error = common_classes([("train", &names(&["ant"])), ("val", &many)]).unwrap_err();
        assert!(error.to_string().contains("c7 and 12 more"), "{error}");
    }

    #[test]
    fn numbers_do_where_there_are_no_names() {
        let [train, val] = common(&[], &[]).unwrap();
        assert_eq!((train.clone(), labels(&val, &[3]).unwrap()), (val.clone(), vec![3]));
        assert!(labels(&val, &[MOST_UNNAMED]).is_err());
        let [_, val] = common(&["ant", "bee"], &[]).unwrap();
        let error = labels(&val, &[2]).unwrap_err().to_string();
        assert!(error.contains("x is of class 2; expected a number below 2"), "{error}");
    }

    #[test]
    fn what_has_no_class_is_named() {
        let [classes, _] = common(&["ant"], &["ant"]).unwrap();
        let error = classes.labels("val", &names(&["a.png"]), &[Target::None]).unwrap_err();
        assert!(error.to_string().contains("val: a.png has no class"), "{error}");
    }
}

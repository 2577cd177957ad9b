//! Several sources as one.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::instances::{Instance, Instances};
use crate::source::{Part, Sample, Source, Target};

/// The largest weight, far beyond use; the passes of an epoch are numbered with fewer bits than it might have.
pub(crate) const MAX_WEIGHT: f64 = 10_000.0;

/// Sources one after the other, each drawn as often as its weight says.
///
/// The names of samples begin with the source's number, `0/`, `1/`, since two sources may use the same names. Classes are
/// those of all sources, by name: first those of the first source, then what the others have beside them. Where some
/// sources name their classes and others do not, nobody can tell which is which, and there are none.
#[derive(Clone)]
pub struct Join {
    sources: Vec<Weighted>,
    classes: Vec<String>,
}

#[derive(Clone)]
struct Weighted {
    source: Arc<dyn Source>,
    weight: f64,
    /// The number of its first sample.
    start: usize,
    classes: Numbering,
}

/// What a source's own numbers of classes become.
#[derive(Clone)]
enum Numbering {
    /// They are the same.
    Own,
    /// The number of each among all classes.
    Of(Vec<usize>),
    /// No class, since others have no names.
    Unknown,
}

impl Numbering {
    fn target(&self, target: Target) -> Target {
        match (self, target) {
            (Self::Of(numbers), Target::Class(class)) => {
                numbers.get(class).map_or(Target::None, |class| Target::Class(*class))
            }
            (Self::Of(numbers), Target::Instances(instances)) => {
                let renumbered = instances.list.iter().map(|instance| Instance {
                    category: numbers.get(instance.category).copied().unwrap_or(instance.category),
                    ..instance.clone()
                });
                Target::Instances(Instances { list: renumbered.collect(), ..instances })
            }
            (Self::Unknown, Target::Class(_)) => Target::None,
            (_, target) => target,
        }
    }
}

/// All classes, and what each source's numbers become.
fn numberings(sources: &[(Arc<dyn Source>, f64)]) -> (Vec<String>, Vec<Numbering>) {
    let lists: Vec<&[String]> = sources.iter().map(|(source, _)| source.classes()).collect();
    if lists.iter().all(|list| *list == lists[0]) {
        return (lists[0].to_vec(), vec![Numbering::Own; lists.len()]);
    }
    if lists.iter().any(|list| list.is_empty()) {
        return (Vec::new(), vec![Numbering::Unknown; lists.len()]);
    }
    let mut all = Vec::new();
    let mut number_of = HashMap::new();
    let numberings = lists.iter().map(|list| {
        let number = |name: &String| {
            *number_of.entry(name.clone()).or_insert_with(|| {
                all.push(name.clone());
                all.len() - 1
            })
        };
        Numbering::Of(list.iter().map(number).collect())
    });
    let numberings = numberings.collect();
    (all, numberings)
}

impl Join {
    /// Joins sources with their weights: how often an epoch draws each of a source's samples. 1 is once, 10 ten times,
    /// 0.25 a quarter of the samples, another one in each epoch.
    ///
    /// # Errors
    /// [`Error::Setting`] for no source at all, or a weight that is not above 0 and at most 10,000.
    pub fn new(sources: Vec<(Arc<dyn Source>, f64)>) -> Result<Self> {
        if sources.is_empty() {
            return Err(Error::setting("sources to join", "none", "at least one"));
        }
        if let Some((_, weight)) = sources.iter().find(|(_, w)| !(*w > 0.0 && *w <= MAX_WEIGHT)) {
            return Err(Error::setting("weight", weight, "a number above 0 and at most 10000"));
        }
        let (classes, numberings) = numberings(&sources);
        let mut start = 0;
        let sources = sources
            .into_iter()
            .zip(numberings)
            .map(|((source, weight), classes)| {
                let len = source.len();
                start += len;
                Weighted { source, weight, start: start - len, classes }
            })
            .collect();
        Ok(Self { sources, classes })
    }

    /// The number of the source that holds a sample, and the sample's number in it.
    fn find(&self, index: usize) -> Result<(usize, usize)> {
        let number = self.sources.partition_point(|weighted| weighted.start <= index) - 1;
        let weighted = &self.sources[number];
        match index - weighted.start {
            inner if inner < weighted.source.len() => Ok((number, inner)),
            _ => Err(Error::NoSuchSample { index, len: self.len() }),
        }
    }
}

impl Source for Join {
    fn len(&self) -> usize {
        self.sources.last().map_or(0, |last| last.start + last.source.len())
    }

    fn id(&self, index: usize) -> String {
        match self.find(index) {
            Ok((number, inner)) => format!("{number}/{}", self.sources[number].source.id(inner)),
            Err(e) => e.to_string(),
        }
    }

    fn get(&self, index: usize) -> Result<Sample> {
        let (number, inner) = self.find(index)?;
        let Weighted { source, classes, .. } = &self.sources[number];
        let sample = source.get(inner)?;
        let target = classes.target(sample.target);
        Ok(Sample { id: format!("{number}/{}", sample.id), target, ..sample })
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn target(&self, index: usize) -> Result<Target> {
        let (number, inner) = self.find(index)?;
        let Weighted { source, classes, .. } = &self.sources[number];
        Ok(classes.target(source.target(inner)?))
    }

    fn parts(&self) -> Vec<Part> {
        let of_source = |weighted: &Weighted| {
            let (weight, start) = (weighted.weight, weighted.start);
            let parts = weighted.source.parts().into_iter();
            parts
                .map(move |part| Part { weight: part.weight * weight, ..part }.shifted(start))
                .collect::<Vec<_>>()
        };
        self.sources.iter().flat_map(of_source).collect()
    }

    /// Each source has its share of them, as its samples are spread over the whole order.
    fn expect(&self, in_flight: usize) {
        let draws = |weighted: &Weighted| weighted.source.len() as f64 * weighted.weight;
        let all: f64 = self.sources.iter().map(draws).sum();
        for weighted in self.sources.iter().filter(|weighted| !weighted.source.is_empty()) {
            let share = (in_flight as f64 * draws(weighted) / all).ceil();
            weighted.source.expect(share as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Synthetic;

    fn source(len: usize) -> Arc<dyn Source> {
        Arc::new(Synthetic { len, height: 2, width: 2, channels: 3, seed: 0 })
    }

    #[test]
    fn samples_are_found_where_they_are() {
        let join = Join::new(vec![(source(3), 1.0), (source(0), 1.0), (source(2), 2.5)]).unwrap();
        assert_eq!(join.len(), 5);
        assert_eq!(join.id(2), "0/synthetic-000002");
        assert_eq!(join.get(3).unwrap().id, "2/synthetic-000000");
        assert!(matches!(join.get(5), Err(Error::NoSuchSample { index: 5, len: 5 })));
        let parts = join.parts();
        assert_eq!(parts.iter().map(Part::draws).collect::<Vec<_>>(), [3, 0, 5]);
        assert_eq!(parts[2].samples, 3..5);
    }

    /// One sample a class.
    struct Named(Vec<String>, usize);

    fn named(names: &[&str]) -> (Arc<dyn Source>, f64) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        (Arc::new(Named(names.clone(), names.len().max(2))), 1.0)
    }

    impl Source for Named {
        fn len(&self) -> usize {
            self.1
        }

        fn id(&self, index: usize) -> String {
            index.to_string()
        }

        fn get(&self, index: usize) -> Result<Sample> {
            Err(Error::NoSuchSample { index, len: 0 })
        }

        fn classes(&self) -> &[String] {
            &self.0
        }

        fn target(&self, index: usize) -> Result<Target> {
            Ok(Target::Class(index))
        }
    }

    #[test]
    fn classes_are_told_by_name() {
        let targets = |join: &Join| {
            (0..join.len()).map(|index| join.target(index).unwrap()).collect::<Vec<_>>()
        };
        let join = Join::new(vec![named(&["b", "c"]), named(&["a", "b"])]).unwrap();
        assert_eq!(join.classes(), ["b", "c", "a"]);
        assert_eq!(targets(&join), [0, 1, 2, 0].map(Target::Class));
        let same = Join::new(vec![named(&["a", "b"]), named(&["a", "b"])]).unwrap();
        assert_eq!(
            (same.classes().len(), targets(&same)),
            (2, [0, 1, 0, 1].map(Target::Class).to_vec())
        );
        let mixed = Join::new(vec![named(&["a", "b"]), named(&[])]).unwrap();
        assert!(mixed.classes().is_empty());
        assert!(targets(&mixed).iter().all(|target| *target == Target::None));
    }

    #[test]
    fn weights_that_cannot_be_are_refused() {
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e7] {
            assert!(Join::new(vec![(source(3), weight)]).is_err(), "{weight}");
        }
        assert!(Join::new(Vec::new()).is_err());
    }
}

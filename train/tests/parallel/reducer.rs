//! Gradients that are summed over ranks.

use std::sync::Arc;

use longmae_train::{Collective, Error, Gradients, Reducer, Result, Status};

use super::model::{Model, values};
use super::threads::{Rank, ranks};

const ACCUM: usize = 2;
/// Some parameters of a block.
const BUCKET: usize = 600;

type Numbers = Vec<Option<Vec<f32>>>;

/// The batch of a rank's micro-batch, when all ranks together go through them in order.
fn batch(world: usize, rank: usize, step: usize, micro: usize) -> usize {
    (step * ACCUM + micro) * world + rank
}

fn reducer(model: &Model, rank: &Arc<Rank>) -> Reducer {
    Reducer::with_bucket_bytes(&model.parameters, rank.clone(), BUCKET)
}

/// A step on one rank, in which block 1 is used `times` times, and how many sums had begun before its end.
fn step(
    model: &Model,
    (reducer, rank): (&Reducer, &Rank),
    step: usize,
    times: usize,
) -> (Result<Gradients>, usize) {
    let share = 1.0 / ACCUM as f64;
    let mut sum = Gradients::empty(model.parameters.len());
    let batch = |micro| batch(rank.world(), rank.rank(), step, micro);
    (0..ACCUM - 1).for_each(|micro| model.add(&mut sum, batch(micro), share));
    let before = rank.sums();
    model.add_last(&mut sum, (batch(ACCUM - 1), times), share, reducer);
    let begun = rank.sums() - before;
    (reducer.finish(&mut sum).map(|()| sum), begun)
}

/// Some steps on all ranks: each rank's gradients and sums begun early, step by step.
fn together(world: usize, steps: usize) -> Vec<Vec<(Numbers, usize)>> {
    ranks(world, |rank| {
        let model = Model::new();
        let reducer = reducer(&model, &rank);
        (0..steps)
            .map(|number| {
                let (sum, begun) = step(&model, (&reducer, &rank), number, 1);
                (values(&sum.unwrap()), begun)
            })
            .collect()
    })
}

/// The same on one rank with as much more accumulation.
fn alone(world: usize, number: usize) -> Numbers {
    let model = Model::new();
    let mut sum = Gradients::empty(model.parameters.len());
    for micro in 0..ACCUM * world {
        let batch = number * ACCUM * world + micro;
        model.add(&mut sum, batch, 1.0 / (ACCUM * world) as f64);
    }
    values(&sum)
}

fn assert_near(found: &Numbers, expected: &Numbers) {
    for (parameter, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.is_some(), expected.is_some(), "parameter {parameter}");
        let (found, expected) = (found.iter().flatten(), expected.iter().flatten());
        let largest = expected.clone().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        for (x, y) in found.zip(expected) {
            assert!((x - y).abs() <= 1e-6 * largest.max(1.0), "parameter {parameter}: {x} {y}");
        }
    }
}

#[test]
fn gradients_are_those_of_one_process_with_more_accumulation() {
    for world in [1, 2, 3] {
        let all = together(world, 3);
        for number in 0..3 {
            let expected = alone(world, number);
            assert!(expected[2].is_none(), "`never` has a gradient");
            for rank in &all {
                assert_near(&rank[number].0, &expected);
                assert_eq!(rank[number].0, all[0][number].0, "ranks differ");
            }
        }
    }
}

#[test]
fn sums_begin_during_the_backward_pass_from_the_second_step_on() {
    for rank in together(2, 3) {
        let begun: Vec<usize> = rank.iter().map(|(_, begun)| *begun).collect();
        assert_eq!(begun[0], 0);
        assert!(begun[1] >= 4, "{begun:?}");
        assert_eq!(begun[1], begun[2]);
    }
}

#[test]
fn the_same_ranks_give_the_same_bits() {
    assert_eq!(together(3, 2), together(3, 2));
}

#[test]
fn the_first_step_sums_as_the_others() {
    // A run that is resumed at step 1 has that as its first.
    let whole = together(3, 2);
    let resumed = ranks(3, |rank| {
        let model = Model::new();
        values(&step(&model, (&reducer(&model, &rank), &rank), 1, 1).0.unwrap())
    });
    assert_eq!(resumed[0], whole[0][1].0);
}

#[test]
fn a_parameter_without_gradient_counts_as_zero_unless_no_rank_has_one() {
    // Of two ranks the second has the odd batches, which alone use `some`.
    let all = together(2, 1);
    let own = alone(2, 0);
    assert!(own[1].is_some() && own[2].is_none());
    assert_near(&all[0][0].0, &own);
}

#[test]
fn a_rank_that_fails_ends_all_with_its_reason() {
    let errors = ranks(3, |rank| {
        let model = Model::new();
        let reducer = reducer(&model, &rank);
        (0..4)
            .find_map(|number| {
                // It fails before its backward pass, when the others have begun.
                let failure = (number == 2 && rank.rank() == 1).then(|| "disk on fire".to_owned());
                match failure {
                    Some(_) => reducer.drain().unwrap(),
                    None => drop(step(&model, (&reducer, &rank), number, 1).0.unwrap()),
                }
                Status { failure, ..Status::default() }.agree(&*rank).err().map(|e| (number, e))
            })
            .expect("an error")
    });
    for (number, error) in errors {
        assert_eq!((number, error.to_string()), (2, "rank 1 failed: disk on fire".to_owned()));
    }
}

#[test]
fn a_failure_in_the_first_step_leaves_nobody_waiting() {
    let errors = ranks(2, |rank| {
        let model = Model::new();
        let reducer = reducer(&model, &rank);
        let failure = (rank.rank() == 0).then(|| "no data".to_owned());
        match failure {
            Some(_) => reducer.drain().unwrap(),
            None => drop(step(&model, (&reducer, &rank), 0, 1).0.unwrap()),
        }
        Status { failure, ..Status::default() }.agree(&*rank).unwrap_err().to_string()
    });
    assert_eq!(errors, ["rank 0 failed: no data"; 2]);
}

#[test]
fn a_late_addition_is_an_error_that_names_the_parameter() {
    let errors = ranks(2, |rank| {
        let model = Model::new();
        let reducer = reducer(&model, &rank);
        step(&model, (&reducer, &rank), 0, 1).0.unwrap();
        // On rank 1 block 1 is used twice in the second step.
        let times = 1 + rank.rank();
        let failure = step(&model, (&reducer, &rank), 1, times).0.err();
        assert!(failure.iter().all(|error| matches!(error, Error::LateGradient(_))));
        let failure = failure.map(|error| error.to_string());
        Status { failure, ..Status::default() }.agree(&*rank).unwrap_err().to_string()
    });
    for error in errors {
        assert!(error.starts_with("rank 1 failed: the gradient of `1."), "{error}");
    }
}

//! What ranks tell each other after a step.

use longmae_train::{Alone, Collective, Status};

use super::threads::ranks;

#[test]
fn all_get_everyone_s_stop_samples_and_sums() {
    let all = ranks(3, |rank| {
        let number = rank.rank();
        let status = Status {
            stop: number == 2,
            failure: None,
            bad_samples: (0..number).map(|i| format!("{number}-{i}")).collect(),
            sums: vec![number as f64, 0.5],
        };
        status.agree(&*rank).unwrap()
    });
    for status in all {
        assert!(status.stop);
        assert_eq!(status.bad_samples, ["1-0", "2-0", "2-1"]);
        assert_eq!(status.sums, [3.0, 1.5]);
    }
}

#[test]
fn nobody_stops_if_no_one_was_asked_to() {
    let all = ranks(2, |rank| Status::default().agree(&*rank).unwrap());
    assert_eq!(all, [Status::default(), Status::default()]);
}

#[test]
fn the_first_rank_s_failure_is_everyone_s() {
    let errors = ranks(3, |rank| {
        let failure = (rank.rank() > 0).then(|| format!("reason {}", rank.rank()));
        Status { failure, ..Status::default() }.agree(&*rank).unwrap_err().to_string()
    });
    assert_eq!(errors, ["rank 1 failed: reason 1"; 3]);
}

#[test]
fn one_process_alone_hears_itself() {
    let status = Status { stop: true, sums: vec![2.0], ..Status::default() };
    assert_eq!(status.clone().agree(&Alone).unwrap(), status);
    assert_eq!(Alone.gather_bytes(vec![1, 2]).unwrap(), [[1, 2]]);
}

//! The variable that chooses an instruction set.

mod common;

use common::child::rerun;
use longmae_ops::{Error, ISA_VARIABLE, Isa};

/// Runs `check` in this test once more, in a process where the variable is `value`.
fn with_variable(test: &str, value: &str, check: impl FnOnce()) {
    match std::env::var(ISA_VARIABLE) {
        Ok(found) if found == value => check(),
        Ok(_) => {}
        Err(_) => drop(rerun(&[test, "--exact"], &[(ISA_VARIABLE, value)])),
    }
}

#[test]
fn every_name_is_read_back() {
    for isa in Isa::ALL {
        assert_eq!(isa.name().parse::<Isa>().unwrap(), isa);
        assert_eq!(isa.to_string(), isa.name());
    }
    assert!(Isa::ALL.is_sorted());
}

#[test]
fn other_names_are_errors() {
    for name in ["", "sse9", "AVX2", " avx2", "avx512_bf16"] {
        let error = name.parse::<Isa>().unwrap_err();
        assert!(matches!(&error, Error::UnknownIsa(found) if found == name), "{error}");
        let choices = "portable, avx2, avx512, avx512bf16 or amx";
        assert_eq!(error.to_string(), format!("LONGMAE_ISA `{name}`: expected {choices}"));
    }
}

#[test]
fn an_unknown_one_in_the_variable_is_an_error() {
    with_variable("an_unknown_one_in_the_variable_is_an_error", "sse9", || {
        let error = Isa::requested().unwrap_err();
        assert!(matches!(error, Error::UnknownIsa(name) if name == "sse9"));
        assert_eq!(Isa::current(), Isa::detected());
    });
}

#[test]
fn one_that_the_machine_lacks_is_an_error() {
    let best = Isa::detected();
    if best == Isa::Amx {
        return;
    }
    with_variable("one_that_the_machine_lacks_is_an_error", "amx", || {
        let error = Isa::requested().unwrap_err();
        assert!(matches!(error, Error::IsaMissing { wanted: Isa::Amx, .. }));
        let expected = format!("LONGMAE_ISA `amx`: this machine has no more than {best}");
        assert_eq!(error.to_string(), expected);
        assert_eq!(Isa::current(), best);
    });
}

#[test]
fn a_lower_one_is_used() {
    with_variable("a_lower_one_is_used", "portable", || {
        assert_eq!(Isa::requested().unwrap(), Isa::Portable);
        assert_eq!(Isa::current(), Isa::Portable);
    });
}

#[test]
fn none_means_the_best() {
    if std::env::var_os(ISA_VARIABLE).is_none() {
        assert_eq!(Isa::requested().unwrap(), Isa::detected());
        assert_eq!(Isa::current(), Isa::detected());
    }
}

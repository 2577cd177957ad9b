//! This test binary once more, in another environment.

use std::process::Command;

use longmae_ops::{ISA_VARIABLE, Isa};

/// Runs the tests that `args` choose, and gives what they print.
pub fn rerun(args: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(args).env_remove(ISA_VARIABLE).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?} with {variables:?}: {text}{errors}");
    assert!(text.contains("test result: ok.") && !text.contains("ok. 0 passed"), "{text}");
    text
}

/// Runs all other tests of this binary on every instruction set that this machine has.
pub fn on_every_instruction_set() {
    if std::env::var_os(ISA_VARIABLE).is_some() {
        return;
    }
    for isa in Isa::ALL.into_iter().filter(|isa| *isa < Isa::detected()) {
        rerun(&["--skip", "every_instruction_set"], &[(ISA_VARIABLE, isa.name())]);
    }
}

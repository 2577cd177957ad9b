//! This test binary once more, in a process of its own.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Names the file with the task of the child.
const TASK: &str = "LONGMAE_TEST_TASK";

/// The child's task, or `None` in the parent.
pub fn task() -> Option<Value> {
    let path = std::env::var_os(TASK)?;
    Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}

/// Gives the parent the child's answer.
pub fn answer(answer: &Value) {
    let path = std::env::var_os(TASK).unwrap();
    let path = Path::new(&path).with_extension("answer");
    std::fs::write(path, answer.to_string()).unwrap();
}

/// Runs the test `name` of this binary in a new process with this task, and gives its answer.
pub fn run(name: &str, task: &Value) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("task.json");
    std::fs::write(&path, task.to_string()).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", name]).env(TASK, &path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{name} with {task}: {text}");
    let answer = std::fs::read(path.with_extension("answer")).unwrap();
    serde_json::from_slice(&answer).unwrap()
}

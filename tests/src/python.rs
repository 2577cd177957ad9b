use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter that `LONGMAE_PYTHON` names, with the packages of `interop/requirements.txt`; none, and it is said,
/// if the variable is not set.
pub fn python() -> Option<PathBuf> {
    let python = std::env::var_os("LONGMAE_PYTHON").filter(|path| !path.is_empty());
    if python.is_none() {
        eprintln!("skipped: set LONGMAE_PYTHON to a Python with tests/interop/requirements.txt");
    }
    python.map(PathBuf::from)
}

/// Runs a program of `interop/` on a folder, and gives what it printed.
///
/// # Panics
/// With its output, if it fails.
#[track_caller]
pub fn run_interop(python: &Path, program: &str, folder: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(program);
    let output = Command::new(python).arg(script).arg(folder).output().unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{program}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

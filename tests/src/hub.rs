use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::python;

/// A run of `interop/hub.py` with the server at `url` as the Hub and `cache` as Python's folder for it; none where there is
/// no Python for it.
pub fn hub_script(url: &str, cache: &Path) -> Option<Command> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/hub.py");
    let mut command = Command::new(python()?);
    command
        .args([OsString::from("-B"), script.into()])
        .env("HF_ENDPOINT", url)
        .env("HF_HOME", cache)
        // Xet is a protocol of its own, which the server does not have.
        .env("HF_HUB_DISABLE_XET", "1")
        .env("HF_HUB_DISABLE_TELEMETRY", "1")
        .env_remove("HF_HUB_OFFLINE")
        .env_remove("HF_HUB_CACHE")
        .env_remove("HF_TOKEN");
    Some(command)
}

/// Runs a command to its good end, and gives the last line that it printed.
///
/// # Panics
/// With its output, if it fails.
#[track_caller]
pub fn last_line(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.trim_end().lines().last().unwrap_or_default().to_owned()
}

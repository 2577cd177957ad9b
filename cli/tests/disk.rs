//! A disk that is full, or cannot be written; checkpoints that were damaged.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{SMALL, fails, losses, pretrain, small, stderr, succeeds};

/// Eight steps, a checkpoint after each.
const RUN: [&str; 8] = ["--data", "demo", "--max-steps", "8", "--save-every", "1", "--keep", "3"];

fn checkpoint(run: &Path, step: u64) -> PathBuf {
    run.join(format!("checkpoints/step-{step:08}"))
}

fn checkpoints(run: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(run.join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The tensors of a safetensors file.
fn tensors(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].to_vec()
}

/// A finished run `run` with checkpoints of steps 6, 7 and 8.
fn finished() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    succeeds(&small(folder.path(), &[&RUN[..], &["--out", "run"]].concat()));
    folder
}

/// Goes on with a run whose newest checkpoint is damaged; it must pass over it, say so, and end as before.
fn passes_over(damage: impl FnOnce(&Path)) -> String {
    let folder = finished();
    let run = folder.path().join("run");
    let (encoder, before) = (tensors(&run.join("encoder.safetensors")), losses(&run));
    damage(&checkpoint(&run, 8));
    let output = pretrain(folder.path(), &["--resume", "run"]);
    assert!(succeeds(&output).contains("1 step to go"), "{}", stderr(&output));
    assert!(encoder == tensors(&run.join("encoder.safetensors")));
    assert_eq!(before, losses(&run));
    let log = fs::read_to_string(run.join("log.txt")).unwrap();
    let said = log.lines().find(|line| line.contains("WARN")).unwrap().to_owned();
    assert!(said.contains("step-00000008") && said.contains("the one before it"), "{said}");
    said
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn flipped_bytes_are_noticed_in_every_file() {
    for name in ["model.safetensors", "optimizer.safetensors"] {
        let said = passes_over(|folder| change(&folder.join(name), |bytes| bytes[9_999] ^= 1));
        assert!(said.contains(name), "{said}");
        let said = passes_over(|folder| change(&folder.join(name), |bytes| bytes[9] ^= 64));
        assert!(said.contains(name), "{said}");
    }
    for (what, with) in [("\"updates\": 8", "\"updates\": 9"), ("\"loss\"", "\"lost\"")] {
        passes_over(|folder| {
            let path = folder.join("state.json");
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(what), "{text}");
            fs::write(path, text.replacen(what, with, 1)).unwrap();
        });
    }
}

#[test]
fn cut_and_missing_files_are_noticed() {
    for name in ["model.safetensors", "optimizer.safetensors", "state.json", "state.json.sha256"] {
        passes_over(|folder| change(&folder.join(name), |bytes| bytes.truncate(bytes.len() / 2)));
        passes_over(|folder| change(&folder.join(name), Vec::clear));
        passes_over(|folder| fs::remove_file(folder.join(name)).unwrap());
    }
}

#[test]
fn a_checkpoint_of_another_model_is_refused() {
    let folder = finished();
    let other = ["--decoder-dim", "32", "--decoder-heads", "2", "--out", "other"];
    succeeds(&small(folder.path(), &[&RUN[..], &other].concat()));
    let [run, other] = ["run", "other"].map(|name| folder.path().join(name));
    fs::remove_dir_all(checkpoint(&run, 8)).unwrap();
    fs::rename(checkpoint(&other, 8), checkpoint(&run, 8)).unwrap();
    let refused = pretrain(folder.path(), &["--resume", "run"]);
    fails(&refused, 1, &["step-00000008", "decoder_dim was 32, now 64"]);
    assert_eq!(checkpoints(&run), ["step-00000006", "step-00000007", "step-00000008"]);
}

#[test]
fn where_all_are_damaged_nothing_is_deleted() {
    let folder = finished();
    let run = folder.path().join("run");
    for step in [6, 7, 8] {
        change(&checkpoint(&run, step).join("model.safetensors"), |bytes| bytes[9_999] ^= 1);
    }
    let (before, lines) = (checkpoints(&run), losses(&run));
    let refused = pretrain(folder.path(), &["--resume", "run"]);
    fails(&refused, 1, &["no usable checkpoint in run/checkpoints"]);
    assert_eq!((before, lines), (checkpoints(&run), losses(&run)));
}

/// File systems that only root, or a user's own name space, can mount.
#[cfg(target_os = "linux")]
mod mounted {
    use std::process::{Command, Output};

    use super::*;

    /// Runs a script in which `$P` is `mae-pretrain` with [`SMALL`] and `$R` is it alone, in a folder where `disk` is a
    /// mounted tmpfs of so many KiB. None where nothing can be mounted.
    fn on_a_small_disk(kib: u32, script: &str) -> Option<Output> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("disk")).unwrap();
        let script = format!("mount -t tmpfs -o size={kib}k tmpfs disk || exit 77\n{script}");
        let program = env!("CARGO_BIN_EXE_mae-pretrain");
        let output = Command::new("unshare")
            .args(["-Urm", "bash", "-c", &script])
            .env("R", program)
            .env("P", format!("{program} {}", SMALL.join(" ")))
            .env("RAYON_NUM_THREADS", "1")
            .current_dir(folder.path())
            .output();
        match output {
            Ok(output) if !matches!(output.status.code(), Some(1 | 77)) => Some(output),
            other => {
                skipped(&other);
                None
            }
        }
    }

    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    fn skipped(why: &std::io::Result<Output>) {
        eprintln!("skipped: a tmpfs cannot be mounted here: {why:?}");
    }

    /// What a script printed, which ends with `exit 7` if all went as it should.
    fn said(output: &Output) -> String {
        let text = format!("{}{}", common::stdout(output), stderr(output));
        assert_eq!(output.status.code(), Some(7), "{text}");
        assert!(!text.contains("panicked"), "{text}");
        text
    }

    #[test]
    fn a_full_disk_keeps_the_last_checkpoint() {
        // One checkpoint of some 15 MB has room, a second one beside it has not.
        let script = "
            $P --data demo --max-steps 8 --out whole >out 2>&1 || exit 3
            $P --data demo --max-steps 8 --save-every 3 --out disk/run >out 2>&1
            test $? = 1 || exit 4
            grep '^error' out
            ls -A disk/run/checkpoints
            mount -o remount,size=100m disk || exit 5
            $R --resume disk/run >more 2>&1 || { cat more; exit 6; }
            grep -o '[0-9]* steps to go' more
            ls -A disk/run/checkpoints
            tensors() { tail -c 1000000 $1/encoder.safetensors | sha256sum; }
            test \"$(tensors whole)\" = \"$(tensors disk/run)\" || exit 8
            exit 7";
        let Some(output) = on_a_small_disk(24 << 10, script) else { return };
        let text = said(&output);
        let lines: Vec<&str> = text.lines().collect();
        let [error, rest @ ..] = lines.as_slice() else { panic!("{text}") };
        for part in ["the run ended early", "disk/run", "No space left", "--resume disk/run"] {
            assert!(error.contains(part), "`{part}` is not in {error}");
        }
        let expected = ["step-00000003", "5 steps to go", "step-00000006", "step-00000008"];
        assert_eq!(rest, expected);
    }

    #[test]
    fn a_disk_that_is_full_before_the_first_step_leaves_no_half_recipe() {
        let script = "
            head -c 1000000000 /dev/zero >disk/filler 2>/dev/null
            $P --data demo --max-steps 2 --out disk/run >out 2>&1
            test $? = 1 || exit 4
            cat out
            ls -A disk/run 2>/dev/null
            rm disk/filler
            mount -o remount,size=100m disk || exit 5
            $P --data demo --max-steps 2 --resume auto --out disk/run >more 2>&1 || { cat more; exit 6; }
            exit 7";
        let Some(output) = on_a_small_disk(64, script) else { return };
        let text = said(&output);
        assert!(text.contains("error: cannot write disk/run/recipe.toml: No space left"), "{text}");
        assert_eq!(text.lines().count(), 1, "nothing half-written stays: {text}");
    }

    #[test]
    fn metrics_that_find_no_room_end_the_run() {
        // Room for metrics and log, and for a line or two more, but not for a checkpoint.
        let script = "
            $P --data demo --max-steps 3 --save-every 1 --out disk/run >out 2>&1 || exit 3
            head -c 1000000000 /dev/zero >disk/filler 2>/dev/null
            $R --resume disk/run --max-steps 900 --save-every 1000 --allow-changes max_steps >out 2>&1
            test $? = 1 || exit 4
            grep '^error' out
            rm disk/filler
            $R --resume disk/run --max-steps 6 --allow-changes max_steps >more 2>&1 || { cat more; exit 6; }
            grep -c '\"train\"' disk/run/metrics.jsonl
            exit 7";
        let Some(output) = on_a_small_disk(100 << 10, script) else { return };
        let text = said(&output);
        assert!(text.contains("disk/run") && text.contains("No space left"), "{text}");
        assert_eq!(text.lines().last(), Some("6"), "{text}");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_refused() {
        let script = "
            $P --data demo --max-steps 2 --out disk/run >out 2>&1 || exit 3
            mount -o remount,ro disk || exit 77
            $R --resume disk/run >out 2>&1
            test $? = 1 || exit 4
            cat out
            $P --data demo --max-steps 2 --out disk/other >out 2>&1
            test $? = 1 || exit 5
            cat out
            exit 7";
        let Some(output) = on_a_small_disk(100 << 10, script) else { return };
        let text = said(&output);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("error: cannot write disk/run"), "{text}");
        assert!(lines[1].starts_with("error: cannot create disk/other"), "{text}");
        assert!(lines.iter().all(|line| line.contains("Read-only file system")), "{text}");
    }
}

#!/usr/bin/env python3
"""Runs PyTorch and longmae in turn on the same work and prints a Markdown table of time and memory: see README.md."""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WARM_UP = 2  # steps dropped from the front of every run
DISTURBED = 0.1  # cores busy with other programs, above which a run's numbers are worth little


class Failure(Exception):
    """Something that the user can put right."""


@dataclass(frozen=True)
class Case:
    """The same work on both sides: arguments of a script beside this one, and of a longmae program."""

    name: str
    script: str
    pytorch: tuple
    program: str  # `pretrain`, `encoder`, `finetune` or `detect`
    longmae: tuple


def pretrain_case(length, precision, image, unit, batch, decoder, checkpoint=False):
    """A step of ViT-B with MAE's own decoder (`base`) or the one for long sequences (`base-long`), or of ViT-L (`large`)."""
    model, width, heads = {
        "base": ("vit-base", 512, 16), "base-long": ("vit-base", 384, 12), "large": ("vit-large", 512, 16),
    }[decoder]
    shared = {"--mask-unit": unit, "--precision": precision}
    pytorch = {"--model": decoder, "--image": image, "--batch": batch, **shared}
    longmae = {
        "--data": "synthetic", "--model": model, "--image-size": image, "--batch-size": batch, **shared,
        "--decoder-dim": width, "--decoder-heads": heads, "--epochs": 1, "--save-every": 1_000_000,
    }
    extra = ("--grad-checkpoint",) if checkpoint else ()
    name = f"L={length} {precision}" + (" grad-checkpoint" if checkpoint else "")
    return Case(name, "pytorch_mae.py", flat(pytorch), "pretrain", flat(longmae) + extra)


def encoder_case(compiled):
    """Features of whole images, in bf16, without gradients."""
    name = "encoder bf16" + (" vs torch.compile" if compiled else "")
    shared = flat({"--batch": 8, "--precision": "bf16"})
    extra = ("--compile",) if compiled else ()
    return Case(name, "pytorch_encoder.py", shared + extra, "encoder", shared)


def finetune_case(task, precision):
    """A step of fine-tuning a ViT-B classifier, or the logits of a batch."""
    shared = flat({"--task": task, "--batch": 8, "--precision": precision})
    name = {"train": "fine-tuning", "eval": "evaluation"}[task]
    return Case(f"{name} {precision}", "pytorch_finetune.py", shared, "finetune", shared)


def detect_case(precision):
    """A step of ViTDet's Mask R-CNN with ViT-B on one image of 1024 x 1024, every block computed again in the backward pass."""
    shared = (*flat({"--precision": precision}), "--checkpoint")
    return Case(f"ViTDet {precision} grad-checkpoint", "pytorch_detect.py", shared, "detect", shared)


def gpu_case(name, image, unit, batch, decoder):
    """A step in bf16 on a GPU, PyTorch compiled."""
    case = pretrain_case(0, "bf16", image, unit, batch, decoder)
    device = ("--device", "cuda")
    return replace(case, name=name, pytorch=case.pytorch + device + ("--compile",), longmae=case.longmae + device)


def gpu_cases():
    return [
        gpu_case("GPU ViT-B L=196 batch 256", 224, 1, 256, "base"),
        gpu_case("GPU ViT-B L=784 batch 64", 448, 2, 64, "base-long"),
        gpu_case("GPU ViT-L L=784 batch 32", 448, 2, 32, "large"),
    ]


def flat(options):
    return tuple(str(part) for option in options.items() for part in option)


def all_cases():
    precisions = ("fp32", "bf16")
    cases = [pretrain_case(196, p, 224, 1, 8, "base") for p in precisions]
    cases += [pretrain_case(784, p, 448, 2, 4, "base-long") for p in precisions]
    for checkpoint in (False, True):
        cases += [pretrain_case(3136, p, 896, 2, 1, "base-long", checkpoint) for p in precisions]
    cases += [encoder_case(compiled) for compiled in (False, True)]
    cases += [finetune_case(task, p) for task in ("train", "eval") for p in precisions]
    return cases + [detect_case(p) for p in precisions]


# Running


class GpuMemory:
    """The most of the GPU's memory that is in use beyond what was before, in MiB, looked at ten times a second."""

    def __enter__(self):
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--loop-ms=100"]
        self.process = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
        self.before = int(self.process.stdout.readline())
        return self

    def __exit__(self, *_):
        self.process.terminate()
        seen = [int(line) for line in self.process.stdout.read().split()]
        self.peak = max(seen, default=self.before) - self.before


def measured(command, threads):
    """Runs a command; its output, its peak of memory and CPU time, and what other programs did meanwhile.

    Memory is that of the GPU where the command names one, else what is resident.
    """
    if "cuda" in command:
        with GpuMemory() as memory:
            out, usage = on_cpu(command, threads)
        return out, usage | {"peak_mib": memory.peak}
    return on_cpu(command, threads)


def on_cpu(command, threads):
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as log:
        busy, began = busy_seconds(), time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=log, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        others = busy_seconds() - busy - usage.ru_utime - usage.ru_stime
        out.seek(0)
        log.seek(0)
        if process.returncode:
            last = "\n".join(log.read().splitlines()[-10:])
            raise Failure(f"exit status {process.returncode} of: {' '.join(command)}\n{last}")
        unit = 2**20 if sys.platform == "darwin" else 2**10
        cores = max(others, 0) / (time.monotonic() - began)
        cpu = round(usage.ru_utime + usage.ru_stime, 3)
        peak = round(usage.ru_maxrss / unit, 1)
        return out.read(), {"peak_mib": peak, "other_cores": round(cores, 3), "cpu_seconds": cpu}


def busy_seconds():
    """Seconds that all cores together have worked since the start, or were kept from it by a hypervisor's others."""
    try:
        fields = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    except OSError:
        return 0.0  # no Linux: nobody is noticed
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def run_pytorch(case, options):
    command = [options.python, str(HERE / case.script), *case.pytorch]
    limits = flat({"--steps": options.steps, "--threads": options.threads})
    out, usage = measured([*command, *limits], options.threads)
    return record(json.loads(out), usage, options.steps)


def run_longmae(case, options):
    programs = {"pretrain": run_pretrain, "encoder": run_encoder}
    return programs.get(case.program, run_training)(case, options)


def run_pretrain(case, options):
    with tempfile.TemporaryDirectory(prefix="longmae-compare-") as folder:
        limits = flat({"--max-steps": options.steps, "--threads": options.threads, "--out": folder})
        _, usage = measured([str(options.binary), *case.longmae, *limits], options.threads)
        lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    result = {"seconds": [step["step_seconds"] for step in steps], "loss": steps[-1]["loss"] if steps else None}
    return record(result, usage, options.steps)


def run_encoder(case, options):
    command = [str(example(options, "encoder")), *case.longmae, "--iterations", str(options.steps)]
    out, usage = measured(command, options.threads)
    return record(json.loads(out), usage, options.steps)


def run_training(case, options):
    command = [str(example(options, case.program)), *case.longmae, "--steps", str(options.steps)]
    out, usage = measured(command, options.threads)
    return record(json.loads(out), usage, options.steps)


def record(result, usage, steps):
    if len(result["seconds"]) != steps:
        raise Failure(f"{len(result['seconds'])} steps were timed, expected {steps}")
    kept = {key: result[key] for key in ("seconds", "loss") if result.get(key) is not None}
    return kept | usage


def example(options, name):
    return options.binary.parent / "examples" / name


def run_rounds(cases, options, machine):
    """Every case once a round, PyTorch and then longmae; `{case: [{side: run}, ..]}`."""
    results = {case.name: [] for case in cases}
    for number in range(1, options.rounds + 1):
        for case in cases:
            sides = {}
            for side, run in (("pytorch", run_pytorch), ("longmae", run_longmae)):
                sides[side] = run(case, options)
                progress(f"round {number}/{options.rounds}, {case.name}: {side} {describe(sides[side])}")
            results[case.name].append(sides)
        if options.json:
            raw = {"machine": machine, "warm_up": WARM_UP, "cases": results}
            options.json.write_text(json.dumps(raw, indent=1) + "\n")
    return results


def describe(run):
    warning = ", DISTURBED by other programs" if run["other_cores"] > DISTURBED else ""
    return f"{statistics.median(timed(run)):.3f} s, {run['peak_mib']:.0f} MiB{warning}"


def progress(text):
    print(text, file=sys.stderr, flush=True)


# The table


def timed(run):
    return run["seconds"][WARM_UP:]


def seconds(rounds, side):
    """The median of all steps, and each round's."""
    runs = [sides[side] for sides in rounds]
    every = [step for run in runs for step in timed(run)]
    return statistics.median(every), [statistics.median(timed(run)) for run in runs]


def peaks(rounds, side):
    """The median of the rounds' peaks, and the peaks."""
    values = [sides[side]["peak_mib"] for sides in rounds]
    return statistics.median(values), values


def ratio(above, below):
    """The ratio of two medians, and each round's."""
    return above[0] / below[0], [a / b for a, b in zip(above[1], below[1])]


def cell(value, digits):
    middle, by_round = value
    spread = f" ({min(by_round):.{digits}f}–{max(by_round):.{digits}f})" if len(by_round) > 1 else ""
    return f"{middle:.{digits}f}{spread}"


def row(name, rounds):
    times = [seconds(rounds, side) for side in ("pytorch", "longmae")]
    memory = [peaks(rounds, side) for side in ("pytorch", "longmae")]
    cells = [name, *(cell(value, 3) for value in times), cell(ratio(*times), 2)]
    return cells + [*(f"{value[0]:.0f}" for value in memory), cell(ratio(*reversed(memory)), 2)]


def table(results):
    head = ["Case", "PyTorch, s", "longmae, s", "PyTorch / longmae"]
    head += ["PyTorch, MiB", "longmae, MiB", "longmae / PyTorch"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    rows += [row(name, rounds) for name, rounds in results.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


# The machine


def cpu_model():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def torch_version(python):
    probe = "import timm, torch; print(torch.__version__, 'timm', timm.__version__)"
    try:
        found = subprocess.run([python, "-c", probe], capture_output=True, text=True)
    except OSError as error:
        raise Failure(f"cannot run {python}: {error.strerror}; name a Python with --python") from error
    if found.returncode:
        why = (found.stderr.splitlines() or ["no reason given"])[-1]
        raise Failure(f"{python} cannot import torch and timm ({why}); install them or name another with --python")
    return found.stdout.strip()


def longmae_version(binary):
    if not binary.is_file():
        raise Failure(f"{binary} is not built: cargo build --release --bin mae-pretrain")
    return subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def inspect(cases, options):
    """What the numbers were measured on; fails if something is missing."""
    machine = {"cpu": cpu_model(), "cores": os.cpu_count(), "threads": options.threads}
    programs = {case.program for case in cases}
    for name in programs - {"pretrain"}:
        if not example(options, name).is_file():
            raise Failure(f"{example(options, name)} is not built: cargo build --release -p longmae-benches --examples")
    pretrain = "pretrain" in programs or options.binary.is_file()
    machine["longmae"] = longmae_version(options.binary) if pretrain else "longmae's examples alone"
    if options.gpu:
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        machine["gpu"] = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    return machine | {"pytorch": torch_version(options.python)}


def heading(machine, results, options):
    runs = [run for rounds in results.values() for sides in rounds for run in sides.values()]
    most, disturbed = max(run["other_cores"] for run in runs), sum(run["other_cores"] > DISTURBED for run in runs)
    gpu = [f"- GPU: {machine['gpu']}"] if "gpu" in machine else []
    return "\n".join([
        *gpu,
        f"- CPU: {machine['cpu']}, {machine['cores']} cores; {machine['threads']} threads on both sides",
        f"- PyTorch {machine['pytorch']}",
        f"- {machine['longmae']}",
        f"- other programs kept up to {most:.2f} cores busy, more than {DISTURBED} in {disturbed} of {len(runs)} runs",
        f"- rounds: {options.rounds}, of {options.steps} steps less {WARM_UP} for warm-up; in brackets the rounds' range",
    ])


# The command line


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default="python3", metavar="PATH", help="a Python with torch and timm")
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/mae-pretrain", metavar="PATH",
                        help="mae-pretrain; the other programs are looked for in examples/ beside it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6, help=f"of a run; the first {WARM_UP} are dropped")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cases", default="", metavar="TEXT", help="only cases whose name holds TEXT")
    parser.add_argument("--gpu", action="store_true", help="the GPU's cases; longmae built with its feature `cuda`")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all numbers to this file")
    options = parser.parse_args()
    options.binary = options.binary.resolve()
    if options.rounds < 1 or options.threads < 1 or options.steps <= WARM_UP:
        parser.error(f"at least 1 round, 1 thread and {WARM_UP + 1} steps are needed")
    return options


def main():
    options = arguments()
    known = gpu_cases() if options.gpu else all_cases()
    cases = [case for case in known if options.cases in case.name]
    if not cases:
        raise Failure(f"no case holds {options.cases!r}: {', '.join(case.name for case in known)}")
    machine = inspect(cases, options)
    results = run_rounds(cases, options, machine)
    print(heading(machine, results, options), table(results), sep="\n\n")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"compare.py: {failure}")

"""Loading a checkpoint of ViT-L's encoder (1.2 GB): PyTorch and longmae in turn, seconds and peak memory.

    pip install torch timm safetensors
    cargo build --release -p longmae-benches --example load
    python benches/compare/load.py [--rounds 7] [--threads 2] [--example PATH] [--folder DIR]

The file is written into a temporary folder below DIR and is in the page cache. Each side runs in a process of its own,
makes the model, and times what it takes from opening the file to the last tensor in the model:
`safetensors.torch.load_file` and `load_state_dict(strict=True)` there, `Checkpoint::open` and `load_encoder_into` here.
Memory is the whole process' peak over the size of the file; the model itself is as large as that.
"""
import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from compare import DISTURBED, ROOT, Failure, measured

SIDES = ("pytorch", "longmae")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--example", type=Path, default=ROOT / "target/release/examples/load", metavar="PATH")
    parser.add_argument("--folder", default=None, metavar="DIR")
    parser.add_argument("--peer", choices=["write", "read"], help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    return parser.parse_args()


def peer(args):
    """The PyTorch side: writes the file, or times reading it."""
    import timm
    import torch
    from safetensors.torch import load_file, save_file

    torch.set_num_threads(args.threads)
    model = timm.create_model("vit_large_patch16_224", num_classes=0)
    if args.peer == "write":
        return save_file(model.state_dict(), args.file)
    began = time.perf_counter()
    model.load_state_dict(load_file(args.file), strict=True)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "parameters": sum(value.numel() for value in model.state_dict().values())}))


def warm(path):
    """Reads the file, by little: what this process has had in memory counts as its children's peak."""
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass


def python(args, job, path):
    return [sys.executable, __file__, "--threads", str(args.threads), "--peer", job, "--file", str(path)]


def run(args, side, path):
    command = python(args, "read", path) if side == "pytorch" else [str(args.example), str(path)]
    out, usage = measured(command, args.threads)
    return json.loads(out) | usage


def rounds(args, path):
    """Every side once a round, taking turns in who begins."""
    for number in range(args.rounds):
        order = SIDES if number % 2 == 0 else SIDES[::-1]
        sides = {side: run(args, side, path) for side in order}
        if sides["pytorch"]["parameters"] != sides["longmae"]["parameters"]:
            raise Failure(f"the sides loaded different models: {sides}")
        print(f"round {number + 1}/{args.rounds}: {sides}", file=sys.stderr, flush=True)
        yield sides


def report(results, size):
    seconds, peaks = ({side: [sides[side][key] for sides in results] for side in SIDES} for key in ("seconds", "peak_mib"))
    middle = {side: statistics.median(seconds[side]) for side in SIDES}
    ratios = [ours / theirs for theirs, ours in zip(seconds["pytorch"], seconds["longmae"])]
    busiest = max(run["other_cores"] for sides in results for run in sides.values())
    print(f"file of {size / 1e9:.2f} GB, {len(results)} rounds, other programs kept up to {busiest:.2f} cores busy\n")
    print("| | seconds (range) | peak memory / file |\n|---|---:|---:|")
    for side in SIDES:
        spread = f"{min(seconds[side]):.3f}–{max(seconds[side]):.3f}"
        print(f"| {side} | {middle[side]:.3f} ({spread}) | {statistics.median(peaks[side]) * 2**20 / size:.2f} |")
    ratio = middle["longmae"] / middle["pytorch"]
    print(f"\nlongmae / PyTorch: {ratio:.2f} (of each round: {', '.join(f'{value:.2f}' for value in ratios)})")
    if busiest > DISTURBED:
        print(f"DISTURBED: above {DISTURBED} busy cores the numbers are worth little")


def main():
    args = parse()
    if args.peer:
        return peer(args)
    if not args.example.is_file():
        raise Failure(f"{args.example} is not built: cargo build --release -p longmae-benches --example load")
    with tempfile.TemporaryDirectory(prefix="longmae-load-", dir=args.folder) as folder:
        path = Path(folder) / "vit-large.safetensors"
        measured(python(args, "write", path), args.threads)
        warm(path)
        report(list(rounds(args, path)), path.stat().st_size)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"load.py: {failure}")

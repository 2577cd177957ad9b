"""COCO's evaluation of a large dataset: pycocotools, faster-coco-eval and longmae in turn, seconds and peak memory.

    pip install pycocotools faster-coco-eval
    cargo build --release -p longmae-benches --example coco_eval
    python benches/compare/coco_eval.py [--rounds 3] [--images 5000] [--threads 2] [--example PATH] [--folder DIR]

The dataset is made up: as many objects an image and of a category as COCO has, 80 categories, masks of about 20 corners; 100
detections an image, of which some two thirds lie near an object; they are written into DIR, or a temporary folder. Each side
runs in a process of its own and times, imports and start left out, reading both files, and everything from then to the twelve
figures, which must agree to 1e-9. `ours / theirs` are ratios of the sums of both.
"""
import argparse
import contextlib
import io
import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path

from compare import DISTURBED, ROOT, Failure, measured

SIDES = ("pycocotools", "faster-coco-eval", "longmae")
CATEGORIES = 80
DETECTIONS = 100
SIZE = (480, 640)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--example", type=Path, default=ROOT / "target/release/examples/coco_eval", metavar="PATH")
    parser.add_argument("--folder", type=Path, default=None, metavar="DIR")
    parser.add_argument("--peer", choices=["make", *SIDES[:2]], help=argparse.SUPPRESS)
    parser.add_argument("--iou-type", help=argparse.SUPPRESS)
    return parser.parse_args()


def polygon(rng, box):
    """A wobbly ellipse within a box."""
    x, y, w, h = box
    angles = [2 * math.pi * i / 20 for i in range(20)]
    radii = rng.uniform(0.7, 1.0, 20)
    return [round(float(v), 2) for a, r in zip(angles, radii) for v in (x + w / 2 * (1 + r * math.cos(a)), y + h / 2 * (1 + r * math.sin(a)))]


def random_box(rng):
    height, width = SIZE
    w, h = (min(float(side), limit - 1) for side, limit in zip(rng.lognormal(4.0, 0.9, 2) + 4, (width, height)))
    return [round(v, 2) for v in (rng.uniform(0, width - w), rng.uniform(0, height - h), w, h)]


def detection(rng, objects):
    """A box near an object, or anywhere; the nearer, the better its score."""
    if objects and rng.random() < 0.65:
        one = objects[rng.integers(len(objects))]
        spread = float(rng.exponential(0.12))
        x, y, w, h = one["bbox"]
        box = [x + w * spread * rng.normal(), y + h * spread * rng.normal(), w * math.exp(spread * rng.normal()), h * math.exp(spread * rng.normal())]
        category = one["category_id"] if rng.random() < 0.9 else int(rng.integers(CATEGORIES)) + 1
        score = min(1.0, rng.beta(2, 2) * math.exp(-spread))
    else:
        box, category, score = random_box(rng), int(rng.integers(CATEGORIES)) + 1, rng.beta(1, 5)
    return [round(float(v), 2) for v in box], category, round(float(score), 5)


def make(folder, images):
    import numpy as np
    from pycocotools import mask

    rng = np.random.default_rng(0)
    height, width = SIZE
    shares = 1 / np.arange(1, CATEGORIES + 1)
    shares /= shares.sum()
    truth = {
        "images": [{"id": i + 1, "file_name": f"{i + 1}.jpg", "height": height, "width": width} for i in range(images)],
        "categories": [{"id": i + 1, "name": f"category {i + 1}"} for i in range(CATEGORIES)],
        "annotations": [],
    }
    boxes, masks = [], []
    for image in truth["images"]:
        objects = []
        for _ in range(int(rng.poisson(7.3))):
            box = random_box(rng)
            crowd = int(rng.random() < 0.01)
            outline = [polygon(rng, box)]
            rle = mask.frPyObjects(outline, height, width)[0]
            segmentation = outline
            if crowd:
                flat = mask.decode(rle).reshape(-1, order="F")
                ends = np.flatnonzero(np.diff(flat)) + 1
                segmentation = {"size": [height, width], "counts": np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()}
            objects.append({
                "id": len(truth["annotations"]) + len(objects) + 1, "image_id": image["id"],
                "category_id": int(rng.choice(CATEGORIES, p=shares)) + 1, "bbox": box, "area": float(mask.area(rle)),
                "iscrowd": crowd, "segmentation": segmentation,
            })  # fmt: skip
        truth["annotations"] += objects
        for _ in range(DETECTIONS):
            box, category, score = detection(rng, objects)
            result = {"image_id": image["id"], "category_id": category, "score": score}
            rle = mask.frPyObjects([polygon(rng, box)], height, width)[0]
            boxes.append({**result, "bbox": box})
            masks.append({**result, "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()}})
    for name, content in (("truth", truth), ("bbox", boxes), ("segm", masks)):
        (folder / f"{name}.json").write_text(json.dumps(content))


def peer(args):
    """A Python side: the seconds of reading and of evaluating, and the figures."""
    if args.peer == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as COCOeval
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(args.folder / "truth.json"))
        found = truth.loadRes(str(args.folder / f"{args.iou_type}.json"))
        read = time.perf_counter()
        evaluation = COCOeval(truth, found, args.iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ended = time.perf_counter()
    stats = [float(value) for value in evaluation.stats][:12]
    print(json.dumps({"read": read - began, "evaluate": ended - read, "stats": stats}))


def python(args, folder, *more):
    options = ["--images", str(args.images), "--folder", str(folder), *more]
    return [sys.executable, __file__, *options]


def run(args, side, folder, iou_type):
    if side == "longmae":
        command = [str(args.example), str(folder / "truth.json"), str(folder / f"{iou_type}.json"), iou_type]
    else:
        command = python(args, folder, "--peer", side, "--iou-type", iou_type)
    out, usage = measured(command, args.threads)
    return json.loads(out) | usage


def agree(sides):
    first = sides[SIDES[0]]["stats"]
    for side in SIDES[1:]:
        worst = max(abs(a - b) for a, b in zip(first, sides[side]["stats"]))
        if worst > 1e-9:
            raise Failure(f"{side} differs from {SIDES[0]} by {worst}: {sides}")


def rounds(args, folder, iou_type):
    """Every side once a round, taking turns in who begins."""
    for number in range(args.rounds):
        order = SIDES if number % 2 == 0 else SIDES[::-1]
        sides = {side: run(args, side, folder, iou_type) for side in order}
        agree(sides)
        shown = {side: {key: round(value, 3) for key, value in sides[side].items() if key != "stats"} for side in sides}
        print(f"{iou_type}, round {number + 1}/{args.rounds}: {shown}", file=sys.stderr, flush=True)
        yield sides


def report(iou_type, results):
    seconds = {side: [sides[side]["read"] + sides[side]["evaluate"] for sides in results] for side in SIDES}
    for side in SIDES:
        keys = ("read", "evaluate", "cpu_seconds", "peak_mib")
        read, evaluate, cpu, peak = (statistics.median(sides[side][key] for sides in results) for key in keys)
        ratios = [theirs / ours for theirs, ours in zip(seconds[side], seconds["longmae"])]
        spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f}–{max(ratios):.1f})"
        print(f"| {iou_type} | {side} | {read:.2f} | {evaluate:.2f} | {cpu:.2f} | {peak:.0f} | {spread} |")


def main():
    args = parse()
    if args.peer == "make":
        return make(args.folder, args.images)
    if args.peer:
        return peer(args)
    if not args.example.is_file():
        raise Failure(f"{args.example} is not built: cargo build --release -p longmae-benches --example coco_eval")
    with tempfile.TemporaryDirectory(prefix="longmae-coco-eval-") as temporary:
        folder = args.folder or Path(temporary)
        if not (folder / "segm.json").is_file():
            measured(python(args, folder, "--peer", "make"), args.threads)
        results = {iou_type: list(rounds(args, folder, iou_type)) for iou_type in ("bbox", "segm")}
    busiest = max(run["other_cores"] for kind in results.values() for sides in kind for run in sides.values())
    print(f"{args.images} images, {args.rounds} rounds, other programs kept up to {busiest:.2f} cores busy\n")
    print("| | | reading, s | evaluation, s | CPU of the process, s | peak memory, MiB | longmae is faster by (range) |\n|---|---|---:|---:|---:|---:|---:|")
    for iou_type, of_rounds in results.items():
        report(iou_type, of_rounds)
    if busiest > DISTURBED:
        print(f"\nDISTURBED: above {DISTURBED} busy cores the numbers are worth little")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"coco_eval.py: {failure}")

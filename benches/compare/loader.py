"""Loading data: this program and the Python packages in turn, images per second and their ratio.

    pip install torch torchvision pillow webdataset datasets
    cargo build --release --bin longmae
    python benches/compare/loader.py FOLDER [--wds TARS] [--parquet FILES] [--size 224] [--workers 2] [--rounds 3] [--only NAME]

FOLDER is an ImageFolder. Each side makes a random resized crop (bicubic, a fifth to all of the area), mirrors,
normalises and batches 32 images; the first epoch is not counted. The median of the rounds is printed, as Markdown.
"""
import argparse
import glob
import io
import json
import statistics
import subprocess
import sys
import time


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--wds")
    parser.add_argument("--parquet")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--longmae", default="target/release/longmae")
    parser.add_argument("--extra", default="", help="more flags for longmae, such as '--decode scaled'")
    parser.add_argument("--only", help="one of PIL, tensors, webdataset, datasets")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    return parser.parse_args()


def longmae(args, spec):
    command = [args.longmae, "data", "bench", spec, "--image-size", str(args.size), "--workers", str(args.workers)]
    command += ["--epochs", str(args.epochs), *args.extra.split()]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(found)["images_per_second"]


def peer(args, name):
    """Runs one Python side in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--peer", name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def transform(size, tensors):
    import torch
    from torchvision.transforms import InterpolationMode, v2

    crop = v2.RandomResizedCrop(size, scale=(0.2, 1.0), interpolation=InterpolationMode.BICUBIC, antialias=True)
    to_tensor = [] if tensors else [v2.PILToTensor()]
    normalize = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    return v2.Compose(
        [crop, v2.RandomHorizontalFlip(), *to_tensor, v2.ToDtype(torch.float32, scale=True), normalize]
    )


def folder(args, tensors):
    import torch
    from PIL import Image
    from torchvision import datasets
    from torchvision import io as images

    def pil(path):
        return Image.open(path).convert("RGB")

    def tensor(path):
        return images.decode_jpeg(images.read_file(path), mode=images.ImageReadMode.RGB)

    data = datasets.ImageFolder(args.folder, transform(args.size, tensors), loader=tensor if tensors else pil)
    return torch.utils.data.DataLoader(
        data, batch_size=32, shuffle=True, num_workers=args.workers, persistent_workers=True
    )


def tars(args):
    import torch
    import webdataset

    apply = transform(args.size, False)
    # Tars are shared over workers, so that there must be one for each.
    data = webdataset.WebDataset(sorted(glob.glob(args.wds)), shardshuffle=100)
    data = data.shuffle(1000).decode("pilrgb").to_tuple("jpg;jpeg;png").map_tuple(apply)
    return torch.utils.data.DataLoader(
        data.batched(32), batch_size=None, num_workers=args.workers, persistent_workers=True
    )


def parquet(args):
    import datasets
    import torch

    apply = transform(args.size, False)
    data = datasets.load_dataset("parquet", data_files=sorted(glob.glob(args.parquet)), split="train")
    column = "image" if "image" in data.column_names else "img"
    data = data.with_transform(lambda rows: {"x": [apply(image.convert("RGB")) for image in rows[column]]})
    return torch.utils.data.DataLoader(
        data, batch_size=32, shuffle=True, num_workers=args.workers, persistent_workers=True
    )


def measure(args, name):
    import torch

    torch.set_num_threads(1)
    loader = {
        "PIL": lambda: folder(args, False),
        "tensors": lambda: folder(args, True),
        "webdataset": lambda: tars(args),
        "datasets": lambda: parquet(args),
    }[name]()
    for epoch in range(args.epochs):
        if epoch == 1:
            begin, count = time.perf_counter(), 0
        for batch in loader:
            if epoch:
                count += len(batch["x"] if isinstance(batch, dict) else batch[0] if isinstance(batch, list) else batch)
    return count / (time.perf_counter() - begin)


def main():
    args = parse()
    if args.peer:
        print(measure(args, args.peer))
        return
    pairs = [("PIL", args.folder), ("tensors", args.folder)]
    pairs += [("webdataset", f"wds:{args.wds}")] if args.wds else []
    pairs += [("datasets", f"parquet:{args.parquet}")] if args.parquet else []
    pairs = [(name, spec) for name, spec in pairs if args.only in (None, name)]
    print("| | Python, images/s | longmae, images/s | ratio (of each round) |\n|---|---|---|---|")
    for name, spec in pairs:
        rounds = [(peer(args, name), longmae(args, spec)) for _ in range(args.rounds)]
        theirs, ours = (statistics.median(side) for side in zip(*rounds))
        ratios = ", ".join(f"{b / a:.2f}" for a, b in rounds)
        title = name if name in ("webdataset", "datasets") else f"torchvision on {name}"
        print(f"| {title} | {theirs:.0f} | {ours:.0f} | {ours / theirs:.2f} ({ratios}) |", flush=True)


if __name__ == "__main__":
    main()

"""Classifiers of timm's, evaluated by timm; and one that longmae trained, loaded by timm.

`classifier.py make FOLDER` writes `images/CLASS/*.png` of other sizes than the model's and `exact/CLASS/*.png` of its own,
and for each pooling `POOL.safetensors` (a randomly initialised timm model), `POOL-images.json` and `POOL-exact.json` (what
timm says of each image, cropped as usual or as it is).
`classifier.py check FOLDER FILE` loads longmae's FILE strictly and prints what timm says of each image.
"""

import json
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

CLASSES = ["ant", "bee", "cat"]
SIZE = 32


def model(pool, depth=2, dim=128, heads=2):
    return timm.models.VisionTransformer(
        img_size=SIZE, patch_size=8, embed_dim=dim, depth=depth, num_heads=heads, num_classes=len(CLASSES), global_pool=pool
    ).eval()


def images(folder, exact):
    rng = np.random.default_rng(0)
    for number in range(12):
        place = folder / CLASSES[number % len(CLASSES)]
        place.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        size = (SIZE, SIZE) if exact else (SIZE + 9 + number, SIZE + 11)
        Image.fromarray(coarse).resize(size, Image.BICUBIC).save(place / f"{number:02}.png")


def logits(net, folder, crop_pct):
    transform = timm.data.create_transform(
        (3, SIZE, SIZE), interpolation="bicubic", crop_pct=crop_pct, mean=timm.data.IMAGENET_DEFAULT_MEAN, std=timm.data.IMAGENET_DEFAULT_STD
    )
    found = {}
    with torch.inference_mode():
        for path in sorted(folder.glob("*/*.png")):
            batch = transform(Image.open(path).convert("RGB"))[None]
            found[f"{path.parent.name}/{path.name}"] = net(batch)[0].softmax(0).tolist()
    return found


def make(folder):
    images(folder / "images", exact=False)
    images(folder / "exact", exact=True)
    for pool in ["avg", "token"]:
        torch.manual_seed(1)
        net = model(pool)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        save_file(net.state_dict(), folder / f"{pool}.safetensors")
        for name, crop_pct in [("images", 0.875), ("exact", 1.0)]:
            (folder / f"{pool}-{name}.json").write_text(json.dumps(logits(net, folder / name, crop_pct)))


def check(folder, file):
    state = load_file(file)
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    net = model("avg", depth=depth, dim=state["cls_token"].shape[-1], heads=4)
    net.load_state_dict(state, strict=True)
    print(json.dumps(logits(net, folder / "images", 0.875)))


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    make(folder) if sys.argv[1] == "make" else check(folder, sys.argv[3])

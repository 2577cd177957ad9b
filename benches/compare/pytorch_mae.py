"""The PyTorch side of pre-training: whole optimiser steps (forward, backward, AdamW) of MAE on random pixels.

Prints one JSON line with the seconds of each step and the last loss. Needs torch and timm.
"""
import argparse
import json
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "fixtures"))
import mae_reference  # noqa: E402

BASE = {"dim": 768, "depth": 12, "heads": 12}
LARGE = {"dim": 1024, "depth": 24, "heads": 16}
PUBLISHED = {"decoder_dim": 512, "decoder_depth": 8, "decoder_heads": 16}
MODELS = {
    "base": BASE | PUBLISHED,
    "base-long": BASE | {"decoder_dim": 384, "decoder_depth": 8, "decoder_heads": 12},
    "large": LARGE | PUBLISHED,
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="base", choices=MODELS)
    parser.add_argument("--image", type=int, default=224)
    parser.add_argument("--patch", type=int, default=16)
    parser.add_argument("--mask-unit", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--compile", action="store_true", help="run the model through torch.compile")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser.parse_args()


def step_function(options):
    """A function that does one step and returns the loss."""
    size = (options.image, options.image)
    config = mae_reference.Config(image_size=size, patch_size=options.patch, **MODELS[options.model])
    model = mae_reference.Mae(config).to(options.device)
    groups = mae_reference.parameter_groups(model, 0.05)
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95), fused=True)
    images = torch.randn(options.batch, config.channels, *size, device=options.device)
    generator = torch.Generator().manual_seed(0)
    masks = mae_reference.masks(options.batch, config.grid, options.mask_unit, config.mask_ratio, generator)
    masks = {name: values.to(options.device) for name, values in masks.items()}
    forward = torch.compile(model) if options.compile else model

    def step():
        with torch.autocast(options.device, torch.bfloat16, enabled=options.precision == "bf16"):
            loss = forward(images, masks["ids_keep"], masks["ids_restore"])[0]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    step = step_function(options)
    seconds = []
    for _ in range(options.steps):
        began = time.perf_counter()
        loss = step()
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"seconds": seconds, "loss": loss}))


if __name__ == "__main__":
    main()

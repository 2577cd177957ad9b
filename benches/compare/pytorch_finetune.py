"""The PyTorch side of fine-tuning: whole optimiser steps of timm's ViT-B/16 classifier at 224 x 224, or its logits alone.

Soft targets, drop path 0.1, layer-wise learning-rate decay 0.65, AdamW (fused). Prints one JSON line with the seconds of each
step. Needs torch and timm.
"""
import argparse
import json
import time

import timm
import torch
from timm.loss import SoftTargetCrossEntropy
from timm.optim import param_groups_layer_decay

CLASSES = 1000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="train", choices=["train", "eval"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--compile", action="store_true", help="run the model through torch.compile")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def step_function(options):
    """A function that does one step or evaluates one batch, and returns the loss or a logit."""
    model = timm.create_model(
        "vit_base_patch16_224", num_classes=CLASSES, global_pool="avg", drop_path_rate=0.1)
    images = torch.randn(options.batch, 3, 224, 224)
    targets = torch.full((options.batch, CLASSES), 1 / CLASSES)
    forward = torch.compile(model) if options.compile else model
    autocast = {"device_type": "cpu", "dtype": torch.bfloat16, "enabled": options.precision == "bf16"}
    if options.task == "eval":
        model.eval()
        return lambda: forward(images)[0, 0].item()
    groups = param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.65)
    for group in groups:
        group["lr"] = 1e-4 * group.pop("lr_scale")
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), fused=True)
    criterion = SoftTargetCrossEntropy()

    def step():
        with torch.autocast(**autocast):
            logits = forward(images)
        loss = criterion(logits.float(), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def timed(step, options):
    seconds = []
    for _ in range(options.steps):
        began = time.perf_counter()
        loss = step()
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds, "loss": loss}


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    step = step_function(options)
    if options.task == "train":
        result = timed(step, options)
    else:
        # One autocast around all batches: weights are rounded to bf16 once and kept.
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
            result = timed(step, options)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

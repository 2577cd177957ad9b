"""The PyTorch side of inference: features of whole images from timm's ViT-B/16 at 224 x 224.

Prints one JSON line with the seconds of each batch. Needs torch and timm.
"""
import argparse
import json
import time

import timm
import torch


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16"])
    parser.add_argument("--compile", action="store_true", help="run the model through torch.compile")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = timm.create_model("vit_base_patch16_224", num_classes=0).eval()
    encode = torch.compile(model.forward_features) if options.compile else model.forward_features
    images = torch.randn(options.batch, 3, 224, 224)
    seconds = []
    # One autocast around all batches: weights are rounded to bf16 once and kept.
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
        for _ in range(options.steps):
            began = time.perf_counter()
            encode(images)
            seconds.append(time.perf_counter() - began)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()

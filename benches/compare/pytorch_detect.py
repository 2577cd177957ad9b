"""The PyTorch side of detection: whole optimiser steps of ViTDet's Mask R-CNN with ViT-B, one image of 1024 x 1024.

torchvision's Mask R-CNN (two convolutions before the proposals, four before boxes and masks, LayerNorm) on the backbone and the
pyramid of detectron2, written out in finetune/tests/fixtures/detectron2_vit.py; attention is one call of
scaled_dot_product_attention with the relative positions as its mask, which is faster than detectron2's. Drop path is left out.
Layer-wise learning-rate decay, AdamW (fused). Prints one JSON line with the seconds of each step. Needs torch and torchvision.
"""
import argparse
import json
import sys
import time
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import AnchorGenerator, RPNHead
from torchvision.ops import MultiScaleRoIAlign

sys.path.insert(0, str(Path(__file__).parents[2] / "finetune/tests/fixtures"))
import detectron2_vit as vit  # noqa: E402

CLASSES, CHANNELS = 80, 256


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--checkpoint", action="store_true", help="compute each block again in the backward pass")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def attention(self, x):
    """detectron2's formula, the scores never written out by ourselves."""
    batch, rows, cols, dim = x.shape
    qkv = self.qkv(x).reshape(batch, rows * cols, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    by_place = q.reshape(batch * self.heads, rows, cols, -1)
    of_rows = torch.einsum("bhwc,hkc->bhwk", by_place, vit.relative_positions(rows, self.rel_pos_h).to(q.dtype))
    of_cols = torch.einsum("bhwc,wkc->bhwk", by_place, vit.relative_positions(cols, self.rel_pos_w).to(q.dtype))
    bias = (of_rows[..., :, None] + of_cols[..., None, :]).reshape(batch, self.heads, rows * cols, rows * cols)
    x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    return self.proj(x.permute(0, 2, 1, 3).reshape(batch, rows, cols, dim))


class Backbone(nn.Module):
    """Maps by name, as torchvision has them."""

    def __init__(self, side, checkpointed):
        super().__init__()
        grid = (side // 16, side // 16)
        net = vit.ViT(grid, (14, 14), 16, 768, 12, 12, 14, {2, 5, 8, 11})
        if checkpointed:
            for block in net.blocks:
                block.forward = lambda x, inner=block.forward: checkpoint(inner, x, use_reentrant=False)
        self.body, self.out_channels = vit.Pyramid(net, 768, CHANNELS), CHANNELS

    def forward(self, x):
        return OrderedDict((str(i), level) for i, level in enumerate(self.body(x)))


def detector(options):
    vit.Attention.forward = attention
    backbone = Backbone(options.side, options.checkpoint)
    norm = vit.LayerNorm
    levels = ["0", "1", "2", "3"]
    model = MaskRCNN(
        backbone, None, min_size=options.side, max_size=options.side, image_mean=[0.0] * 3, image_std=[1.0] * 3,
        rpn_anchor_generator=AnchorGenerator(tuple((2**i,) for i in range(5, 10)), ((0.5, 1.0, 2.0),) * 5),
        rpn_head=RPNHead(CHANNELS, 3, conv_depth=2),
        rpn_pre_nms_top_n_train=2000, rpn_post_nms_top_n_train=1000,
        box_roi_pool=MultiScaleRoIAlign(levels, 7, 0), mask_roi_pool=MultiScaleRoIAlign(levels, 14, 0),
        box_head=FastRCNNConvFCHead((CHANNELS, 7, 7), [CHANNELS] * 4, [1024], norm_layer=norm),
        box_predictor=FastRCNNPredictor(1024, CLASSES + 1),
        mask_head=MaskRCNNHeads(CHANNELS, [CHANNELS] * 4, 1, norm_layer=norm),
        mask_predictor=MaskRCNNPredictor(CHANNELS, CHANNELS, CLASSES + 1))
    return model.train()


def objects(side):
    """Objects in two rows of four, each an ellipse in its box."""
    boxes, masks, cell = [], [], side / 4
    rows, cols = torch.arange(side)[:, None] + 0.5, torch.arange(side)[None] + 0.5
    for i in range(8):
        x, y = i % 4 * cell, i // 4 * 2 * cell
        width, height = cell * (0.3 + 0.08 * i), cell * (1.2 - 0.1 * i)
        boxes.append([x, y, x + width, y + height])
        masks.append(((cols - x) / width - 0.5) ** 2 + ((rows - y) / height - 0.5) ** 2 <= 0.25)
    labels = torch.arange(8) * 9 + 1
    return {"boxes": torch.tensor(boxes), "labels": labels, "masks": torch.stack(masks).to(torch.uint8)}


def groups(model, rate, decay):
    """Rates by layer: the patches first, then the blocks; what comes after them has the whole rate."""
    out = {}
    for name, param in model.named_parameters():
        layer = 13
        if "net.patch_embed" in name or "net.pos_embed" in name:
            layer = 0
        elif "net.blocks." in name:
            layer = int(name.split("net.blocks.")[1].split(".")[0]) + 1
        weight_decay = 0.1 if param.ndim > 1 and "pos" not in name else 0.0
        group = {"params": [], "lr": rate * decay ** (13 - layer), "weight_decay": weight_decay}
        out.setdefault((layer, weight_decay), group)["params"].append(param)
    return list(out.values())


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = detector(options)
    optimizer = torch.optim.AdamW(groups(model, 1e-5, 0.7), fused=True)
    images, targets = [torch.randn(3, options.side, options.side)], [objects(options.side)]
    seconds = []
    for _ in range(options.steps):
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
            loss = sum(model(images, targets).values())
        loss.backward()
        torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"seconds": seconds, "loss": loss.item()}))


if __name__ == "__main__":
    main()

"""CIFAR-10 in PyTorch: what longmae does from the command line, by the same recipe, to compare accuracies.

A masked autoencoder is pre-trained on the first `--images` images of a Parquet file, without their labels. Its encoder is
judged on the test file: by nearest neighbours and logistic regression on its class token, beside the same encoder as it was
before pre-training, and by fine-tuning, beside training from scratch for as many epochs. Progress goes to standard
error; the last line of standard output is a JSON object, accuracies from 0 to 1. The same seed and number of threads give
the same numbers.

Needs torch, torchvision, timm, scikit-learn, pyarrow. The files are the Hugging Face Hub's `cifar10`: columns `img`
(a struct with the encoded image in `bytes`) and `label`.
"""
import argparse
import copy
import io
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torchvision import transforms

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "fixtures"))
import mae_reference  # noqa: E402

SIZE, CLASSES = 32, 10
MEAN = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
WEIGHT_DECAY, SMOOTHING, TUNE_MIN_LR = 0.05, 0.1, 1e-6
PRETRAIN_CROP, TUNE_CROP = (0.2, 1.0), (0.5, 1.0)
NEIGHBOURS, TEMPERATURE = 20, 0.07
EVAL_BATCH = 500


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="TRAIN.parquet")
    parser.add_argument("--test", required=True, metavar="TEST.parquet")
    parser.add_argument("--images", type=int, default=10000, help="how many of the first training images are used")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pretrain-epochs", type=int, default=20)
    parser.add_argument("--tune-epochs", type=int, default=10)
    parser.add_argument("--model-dim", type=int, default=128)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--decoder-dim", type=int, default=64)
    parser.add_argument("--decoder-depth", type=int, default=2)
    parser.add_argument("--decoder-heads", type=int, default=4)
    parser.add_argument("--patch", type=int, default=4, help="pixels of a patch's side")
    parser.add_argument("--mask-unit", type=int, default=1, help="patches of a mask unit's side")
    parser.add_argument("--ratio", type=float, default=0.75, help="share of patches that is hidden")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--pretrain-lr", type=float, default=1e-3)
    parser.add_argument("--tune-lr", type=float, default=1e-3)
    parser.add_argument("--layer-decay", type=float, default=0.75, help="of fine-tuning; from scratch there is none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", metavar="JSON", help="a file for the results too")
    options = parser.parse_args()
    if options.images < max(options.batch, NEIGHBOURS):
        parser.error(f"--images {options.images}: a batch has {options.batch}, and {NEIGHBOURS} neighbours vote")
    if min(options.pretrain_epochs, options.tune_epochs) < 1:
        parser.error("--pretrain-epochs and --tune-epochs: expected at least 1")
    return options


def say(text):
    print(text, file=sys.stderr, flush=True)


# Images


def read(path, limit=None):
    """The first `limit` images of a file, and their labels `[n]`."""
    table = pyarrow.parquet.read_table(path, columns=["img", "label"]).slice(0, limit)
    if limit and len(table) < limit:
        sys.exit(f"{path}: there are {len(table)} images, --images asks for {limit}")
    images = [Image.open(io.BytesIO(row["bytes"])).convert("RGB") for row in table["img"].to_pylist()]
    if any(image.size != (SIZE, SIZE) for image in images):
        sys.exit(f"{path}: expected images of {SIZE} x {SIZE}")
    return images, torch.tensor(table["label"].to_pylist())


def tensor(images):
    """Images as `[n, 3, 32, 32]`, normalised."""
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return (pixels.permute(0, 3, 1, 2).contiguous().float() / 255 - MEAN) / STD


def batches(images, batch, scale):
    """An epoch in random order: indices and pixels, cropped and mirrored at random; an incomplete last batch is dropped."""
    crop = transforms.RandomResizedCrop(SIZE, scale, interpolation=transforms.InterpolationMode.BICUBIC)
    change = transforms.Compose([crop, transforms.RandomHorizontalFlip()])
    order = torch.randperm(len(images))
    for start in range(0, len(images) - batch + 1, batch):
        ids = order[start : start + batch]
        yield ids, tensor([change(images[i]) for i in ids.tolist()])


# Training


def rate(epoch, epochs, lr, min_lr):
    """The learning rate at a time in epochs: a twentieth of warm-up, then half a cosine."""
    warmup = epochs / 20
    if epoch < warmup:
        return lr * epoch / warmup
    return min_lr + (lr - min_lr) * 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup)))


def train(name, loss_of, optimizer, images, options, *, scale, epochs, lr, min_lr):
    """Each epoch's mean loss. `loss_of` takes indices and pixels."""
    steps, losses = len(images) // options.batch, []
    for epoch in range(epochs):
        began, total = time.perf_counter(), 0.0
        for step, (ids, pixels) in enumerate(batches(images, options.batch, scale)):
            for group in optimizer.param_groups:
                group["lr"] = rate(epoch + step / steps, epochs, lr, min_lr) * group.get("lr_scale", 1.0)
            loss = loss_of(ids, pixels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item()
        losses.append(total / steps)
        say(f"{name}: epoch {epoch + 1}/{epochs}, loss {losses[-1]:.4f}, {time.perf_counter() - began:.1f} s")
    return losses


class Mae(mae_reference.Mae):
    """The reference, started as MAE starts."""

    def initialise(self):
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.data.flatten(1))  # as the linear layer that it is
        nn.init.zeros_(self.patch_embed.proj.bias)
        for token in (self.cls_token, self.mask_token):
            nn.init.normal_(token, std=0.02)


def autoencoder(options):
    return Mae(mae_reference.Config(
        image_size=(SIZE, SIZE), patch_size=options.patch, dim=options.model_dim, depth=options.depth,
        heads=options.heads, decoder_dim=options.decoder_dim, decoder_depth=options.decoder_depth,
        decoder_heads=options.decoder_heads, mask_unit=options.mask_unit, mask_ratio=options.ratio))


def pretrain(model, images, options):
    config = model.config

    def loss_of(ids, pixels):
        masks = mae_reference.masks(
            len(ids), config.grid, config.mask_unit, config.mask_ratio, torch.default_generator)
        return model(pixels, masks["ids_keep"], masks["ids_restore"])[0]

    groups = mae_reference.parameter_groups(model, WEIGHT_DECAY)
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), fused=True)
    return train("pre-training", loss_of, optimizer, images, options, scale=PRETRAIN_CROP,
                 epochs=options.pretrain_epochs, lr=options.pretrain_lr, min_lr=0.0)


# Probes


@torch.inference_mode()
def class_tokens(model, pixels):
    """The class token `[n, dim]` of whole images, after the encoder's norm."""
    patches = math.prod(model.config.grid)
    every = torch.arange(patches)
    return torch.cat([model.encode(part, every.expand(len(part), -1))[:, 0] for part in pixels.split(EVAL_BATCH)])


def neighbours(known, labels, asked, answers):
    """The share of `asked` whose nearest in `known`, weighted by exp(cosine / temperature), vote for the right class."""
    known, asked, hits = F.normalize(known), F.normalize(asked), 0
    for part, right in zip(asked.split(EVAL_BATCH), answers.split(EVAL_BATCH)):
        near = (part @ known.T).topk(NEIGHBOURS)
        votes = torch.zeros(len(part), CLASSES).scatter_add_(
            1, labels[near.indices], ((near.values - near.values[:, :1]) / TEMPERATURE).exp())
        hits += (votes.argmax(1) == right).sum().item()
    return hits / len(answers)


def linear(known, labels, asked, answers):
    """The accuracy of logistic regression, solved, on features standardised by those it is fitted to."""
    scaler = StandardScaler().fit(known.double().numpy())
    model = LogisticRegression(C=1.0, solver="lbfgs", max_iter=1000)
    model.fit(scaler.transform(known.double().numpy()), labels.numpy())
    return model.score(scaler.transform(asked.double().numpy()), answers.numpy())


def probe(name, model, train_set, test_set):
    began = time.perf_counter()
    model.eval()
    known, asked = class_tokens(model, train_set[0]), class_tokens(model, test_set[0])
    model.train()
    labels, answers = train_set[1], test_set[1]
    result = {"knn": neighbours(known, labels, asked, answers), "linear": linear(known, labels, asked, answers)}
    seconds = time.perf_counter() - began
    say(f"{name} encoder: kNN {result['knn']:.2%}, linear probe {result['linear']:.2%}, {seconds:.1f} s")
    return result | {"seconds": seconds}


# Fine-tuning


def classifier(encoder, options):
    """timm's transformer with an encoder's weights: patch tokens averaged, a norm, a head near zero."""
    model = VisionTransformer(
        img_size=SIZE, patch_size=options.patch, num_classes=CLASSES, global_pool="avg", embed_dim=options.model_dim,
        depth=options.depth, num_heads=options.heads)
    own = {name: value for name, value in encoder.items() if name in model.state_dict()}
    found = model.load_state_dict(own, strict=False)
    new = {"fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"}
    assert set(found.missing_keys) == new, found.missing_keys
    nn.init.trunc_normal_(model.head.weight, std=2e-5)
    nn.init.zeros_(model.head.bias)
    return model


def tuned_groups(model, layer_decay):
    """MAE's `param_groups_lrd`: a layer's share of the rate falls with its distance from the head."""
    last, groups = len(model.blocks) + 1, {}
    for name, p in model.named_parameters():
        if name in ("cls_token", "pos_embed") or name.startswith("patch_embed."):
            layer = 0
        elif name.startswith("blocks."):
            layer = int(name.split(".")[1]) + 1
        else:
            layer = last
        decay = 0.0 if p.ndim == 1 or name in model.no_weight_decay() else WEIGHT_DECAY
        empty = {"params": [], "lr_scale": layer_decay ** (last - layer), "weight_decay": decay}
        groups.setdefault((layer, decay), empty)["params"].append(p)
    return list(groups.values())


@torch.inference_mode()
def top1(model, test_set):
    model.eval()
    logits = torch.cat([model(part) for part in test_set[0].split(EVAL_BATCH)])
    return (logits.argmax(1) == test_set[1]).double().mean().item()


def tune(name, encoder, images, labels, test_set, layer_decay, options):
    began = time.perf_counter()
    model = classifier(encoder, options)
    criterion = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    optimizer = torch.optim.AdamW(tuned_groups(model, layer_decay), lr=0.0, betas=(0.9, 0.999), fused=True)
    losses = train(name, lambda ids, pixels: criterion(model(pixels), labels[ids]), optimizer, images, options,
                   scale=TUNE_CROP, epochs=options.tune_epochs, lr=options.tune_lr, min_lr=TUNE_MIN_LR)
    accuracy, seconds = top1(model, test_set), time.perf_counter() - began
    say(f"{name}: top-1 {accuracy:.2%}, {seconds:.1f} s")
    return {"top1": accuracy, "losses": losses, "seconds": seconds}


def compare(options):
    """All results. Every stage draws from a generator of its own, so that none depends on how long another one was."""
    images, labels = read(options.data, options.images)
    test_images, test_labels = read(options.test)
    train_set, test_set = (tensor(images), labels), (tensor(test_images), test_labels)

    def stage(number):
        torch.manual_seed(options.seed * 10 + number)

    stage(0)
    model = autoencoder(options)
    start = copy.deepcopy(model.state_dict())
    probes = {"random": probe("random", model, train_set, test_set)}
    stage(1)
    began = time.perf_counter()
    losses = pretrain(model, images, options)
    pretrained = {"loss": losses[-1], "losses": losses, "seconds": time.perf_counter() - began}
    probes["pretrained"] = probe("pre-trained", model, train_set, test_set)
    tuned = {}
    for name, encoder, decay in [("pretrained", model.state_dict(), options.layer_decay), ("scratch", start, 1.0)]:
        stage(2)
        tuned[name] = tune(f"fine-tuning, {name}", encoder, images, labels, test_set, decay, options)
    return {
        "settings": vars(options),
        "test_images": len(test_labels),
        "pretrain": pretrained,
        "probe": probes,
        "finetune": tuned,
        "versions": {"torch": torch.__version__},
    }


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    began = time.perf_counter()
    with threadpool_limits(options.threads, user_api="blas"):
        result = compare(options)
    text = json.dumps(result | {"seconds": time.perf_counter() - began})
    if options.out:
        Path(options.out).write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()

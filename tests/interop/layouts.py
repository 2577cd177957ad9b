"""Loads what longmae wrote in PyTorch, timm and transformers, compares what they compute, and writes it for longmae again.

    python layouts.py FOLDER

FOLDER has a folder a case: `case.json` (the sizes), `expected.safetensors` (images and what longmae computes from them),
and a folder a layout. Each check prints a line; the first that fails ends the program. What timm, transformers and
PyTorch then save goes to the case's folder `back`.
"""
import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here may come from anywhere else

import timm
import torch
import transformers
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fixtures"))
from mae_reference import Config, Mae  # noqa: E402

TOLERANCE = 2e-5


def close(what, found, expected):
    assert found.shape == expected.shape, f"{what}: {tuple(found.shape)}, expected {tuple(expected.shape)}"
    worst = (found - expected).abs().max().item()
    assert worst <= TOLERANCE, f"{what}: differs by {worst:g}, allowed {TOLERANCE:g}"
    print(f"{what}: within {worst:.1e}")


class Case:
    def __init__(self, folder):
        self.folder, self.name = folder, folder.name
        self.about = json.loads((folder / "case.json").read_text())
        self.config = Config(**{**self.about["config"], "image_size": tuple(self.about["config"]["image_size"])})
        self.expected = load_file(folder / "expected.safetensors")
        self.back = folder / "back"
        self.back.mkdir()

    def layouts(self):
        return sorted(path.name for path in self.folder.iterdir() if (path / "model.safetensors").exists())

    def weights(self, layout):
        return load_file(self.folder / layout / "model.safetensors")

    def mae(self, layout):
        """The published names, full."""
        model = Mae(self.config).eval()
        model.load_state_dict(self.weights(layout), strict=True)
        e = self.expected
        loss, pred, mask, latent = model(e["imgs"], e["ids_keep"], e["ids_restore"])
        for what, found in ("loss", loss.reshape(1)), ("pred", pred), ("mask", mask), ("latent", latent):
            close(f"{self.name} {layout} {what}", found, e[what])
        close(f"{self.name} {layout} features", model.encode(e["imgs"], self.every_patch()), e["features"])
        torch.save({"model": model.state_dict(), "epoch": 3}, self.back / "mae.pth")

    def mae_encoder(self, layout):
        model = Mae(self.config).eval()
        lacking = model.load_state_dict(self.weights(layout), strict=False)
        assert not lacking.unexpected_keys and all("decoder" in k or k == "mask_token" for k in lacking.missing_keys)
        close(f"{self.name} {layout} features", model.encode(self.expected["imgs"], self.every_patch()),
              self.expected["features"])

    def every_patch(self):
        return torch.arange(self.expected["ids_restore"].shape[1]).expand(len(self.expected["imgs"]), -1)

    def timm_arguments(self, classes, pool):
        c = self.config
        return {"img_size": c.image_size, "patch_size": c.patch_size, "in_chans": c.channels, "embed_dim": c.dim,
                "depth": c.depth, "num_heads": c.heads, "num_classes": classes, "global_pool": pool}

    def timm(self, layout, classes=0, pool="token"):
        name, arguments = "vit_base_patch16_224", self.timm_arguments(classes, pool)
        strict = timm.create_model(name, **arguments)
        strict.load_state_dict(self.weights(layout), strict=True)
        by_path = timm.create_model(
            name, **arguments, checkpoint_path=str(self.folder / layout / "model.safetensors"))
        by_folder = timm.create_model(f"local-dir:{self.folder / layout}", pretrained=True)
        data = timm.data.resolve_model_data_config(by_folder)
        assert list(data["mean"]) == self.about["mean"] and list(data["std"]) == self.about["std"], data
        assert data["input_size"] == (self.config.channels, *self.config.image_size), data
        for way, model in ("strict", strict), ("checkpoint_path", by_path), ("local-dir", by_folder):
            model.eval()
            if pool == "token":
                close(f"{self.name} {layout} {way} features", model.forward_features(self.expected["imgs"]),
                      self.expected["features"])
            if classes and pool == "token":
                close(f"{self.name} {layout} {way} logits", model(self.expected["imgs"]), self.expected["logits"])
            if pool == "avg":
                self.same_logits(layout, way, model)
        save_file(strict.state_dict(), self.back / f"{layout}.safetensors")

    def same_logits(self, layout, way, model):
        """A mean-pooled classifier, put together from the weights by hand."""
        weights = self.weights(layout)
        model.blocks.register_forward_hook(lambda _, __, out: setattr(self, "hidden", out))
        found = model(self.expected["imgs"])
        mean = self.hidden[:, 1:].mean(1)
        normed = torch.nn.functional.layer_norm(
            mean, mean.shape[-1:], weights["fc_norm.weight"], weights["fc_norm.bias"], 1e-6)
        expected = normed @ weights["head.weight"].T + weights["head.bias"]
        close(f"{self.name} {layout} {way} logits", found, expected)

    def transformers(self, layout, model_class, **arguments):
        folder = self.folder / layout
        model, info = model_class.from_pretrained(folder, output_loading_info=True, **arguments)
        assert not any(info.values()), f"{self.name} {layout}: {info}"
        assert model.config.layer_norm_eps == 1e-6, model.config.layer_norm_eps
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
        assert list(processor.image_mean) == self.about["mean"] and list(processor.image_std) == self.about["std"]
        size = (processor.size["height"], processor.size["width"])
        assert size == self.config.image_size, size
        # As transformers 5 writes it, and as it has it in memory.
        model.save_pretrained(self.back / layout)
        model.save_pretrained(self.back / f"{layout}-memory", save_original_format=False)
        return model.eval()

    def hf_vit_mae(self, layout):
        model = self.transformers(layout, transformers.ViTMAEForPreTraining)
        assert model.config.norm_pix_loss == self.config.norm_pix_loss
        out = model(self.expected["imgs"], noise=self.expected["noise"])
        close(f"{self.name} {layout} loss", out.loss.reshape(1), self.expected["loss"])
        close(f"{self.name} {layout} logits", out.logits, self.expected["pred"])
        close(f"{self.name} {layout} mask", out.mask, self.expected["mask"])

    def hf_vit_mae_encoder(self, layout):
        model = self.transformers(layout, transformers.ViTMAEModel, mask_ratio=0.0)
        # Nothing is removed, and this noise keeps the order.
        noise = self.every_patch().float()
        close(f"{self.name} {layout} features", model(self.expected["imgs"], noise=noise).last_hidden_state,
              self.expected["features"])

    def hf_vit(self, layout):
        model = self.transformers(layout, transformers.ViTModel, add_pooling_layer=False)
        close(f"{self.name} {layout} features", model(self.expected["imgs"]).last_hidden_state,
              self.expected["features"])

    def hf_vit_classifier(self, layout):
        model = self.transformers(layout, transformers.ViTForImageClassification)
        close(f"{self.name} {layout} logits", model(self.expected["imgs"]).logits, self.expected["logits"])

    def detectron2(self, layout):
        """Not installed for this: the names below its prefix are those that its backbone shares with MAE."""
        weights = self.weights(layout)
        prefix = "backbone.net."
        assert all(name.startswith(prefix) for name in weights)
        model = Mae(Config(**{**self.config.__dict__, "key_bias": True})).eval()
        found = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
        lacking = model.load_state_dict(found, strict=False)
        encoder = {name for name in lacking.missing_keys if "decoder" not in name and name != "mask_token"}
        assert encoder == {"cls_token", "norm.weight", "norm.bias"} and not lacking.unexpected_keys, lacking
        print(f"{self.name} {layout}: the backbone's names")
        rel_pos = {f"{prefix}blocks.0.attn.rel_pos_{side}": torch.zeros(3, 4) for side in "hw"}
        neck = {"backbone.simfp_2.0.weight": torch.zeros(2), "roi_heads.mask_head.bias": torch.zeros(2)}
        save_file({**weights, **rel_pos, **neck}, self.back / f"{layout}.safetensors")


CHECKS = {
    "mae": Case.mae,
    "mae-encoder": Case.mae_encoder,
    "timm": Case.timm,
    "timm-classifier": lambda case, layout: Case.timm(case, layout, case.about["classes"]),
    "timm-mean-pooled": lambda case, layout: Case.timm(case, layout, case.about["classes"], "avg"),
    "hf-vit-mae": Case.hf_vit_mae,
    "hf-vit-mae-encoder": Case.hf_vit_mae_encoder,
    "hf-vit": Case.hf_vit,
    "hf-vit-classifier": Case.hf_vit_classifier,
    "detectron2": Case.detectron2,
}

with torch.no_grad():
    cases = [Case(folder) for folder in sorted(Path(sys.argv[1]).iterdir())]
    for case in cases:
        for layout in case.layouts():
            CHECKS[layout](case, layout)
            print(f"checked {case.name}/{layout}")

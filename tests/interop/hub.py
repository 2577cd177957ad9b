"""The Hub's own client, asked by the tests about a server that stands in for the Hub (HF_ENDPOINT).

    hub.py download REPO REVISION      prints each file's SHA-256, as JSON
    hub.py upload REPO BRANCH FOLDER   pushes a folder's files in one commit, in order of name
    hub.py card README                 prints a model card's front matter, as JSON
    hub.py snippets README IMAGES      runs the card's Python blocks as they are; those that make a model read IMAGES
                                       (safetensors, `images`) and their features are written to IMAGES.TITLE, the
                                       block's title; prints what each block was
"""

import hashlib
import json
import pathlib
import re
import sys

import huggingface_hub


def download(repo, revision):
    folder = pathlib.Path(huggingface_hub.snapshot_download(repo, revision=revision))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def upload(repo, branch, folder):
    api = huggingface_hub.HfApi()
    api.create_repo(repo, private=True, exist_ok=True)
    if branch != "main":
        api.create_branch(repo, branch=branch, exist_ok=True)
    operations = [
        huggingface_hub.CommitOperationAdd(path.name, path)
        for path in sorted(pathlib.Path(folder).iterdir())
    ]
    info = api.create_commit(repo, operations, commit_message="Add weights", revision=branch)
    return info.oid


def card(readme):
    return huggingface_hub.ModelCard(pathlib.Path(readme).read_text()).data.to_dict()


def snippets(readme, images):
    import torch
    from safetensors.torch import load_file, save_file

    text = pathlib.Path(readme).read_text()
    found = {}
    for title, body in re.findall(r"### (\w+)\n+```python\n(.*?)\n```", text, re.DOTALL):
        names = {}
        exec(body, names)
        if "model" in names:
            model = names["model"].eval()
            with torch.no_grad():
                features = model.forward_features(load_file(images)["images"])
            save_file({"features": features.contiguous()}, f"{images}.{title}")
            found[title] = type(model).__name__
        else:
            found[title] = sorted(names["state"])
    return found


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    print(json.dumps({f.__name__: f for f in (download, upload, card, snippets)}[command](*arguments)))

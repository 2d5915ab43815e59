"""A folder of pictures as people have them: odd names, every format, grey, turned, transparent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from photographs import picture
from PIL import Image

CLASSES = ("1 [bold]été", "Hündchen & Co", "猫")
TURNED = {6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180}


def transparent(seed: int) -> Image.Image:
    """Return a picture that fades from left to right."""
    colours = np.asarray(picture(seed=seed))
    height, width, _ = colours.shape
    fade = np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))
    return Image.fromarray(np.dstack([colours, fade]))


def turned(image: Image.Image, path: Path, orientation: int) -> Path:
    """Store a picture as it is, with an EXIF note that it is turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


def odd_class(folder: Path, *, seed: int) -> Mapping[str, int]:
    """Write ten pictures, one of each kind, and return the counts of their kinds."""
    folder.mkdir(parents=True)
    grey = picture(seed=seed, mode="L")
    deep = (np.asarray(grey).astype(np.uint16) << 8) + 7
    picture(seed=seed + 1).save(folder / "plain photograph.jpg")
    picture(seed=seed + 2).convert("CMYK").save(folder / "for print.jpg")
    transparent(seed + 3).save(folder / "clair é.png")
    turned(picture(seed=seed + 4), folder / "IMG 10.JPG", 6)
    grey.save(folder / "grey.jpg")
    Image.fromarray(deep).save(folder / "deep.png")
    picture(seed=seed + 5).convert("LA").save(folder / "猫.png")
    picture(seed=seed + 6).save(folder / "web.webp")
    picture(seed=seed + 7, width=1, height=1).convert("P").save(folder / "tiny.gif")
    picture(seed=seed + 8, width=900, height=30).save(folder / "wide.bmp")
    return {
        "cmyk": 1, "transparent": 1, "turned": 1, "deep": 1, "grey": 3, "PNG": 3, "WEBP": 1,
        "GIF": 1, "BMP": 1,
    }  # fmt: skip


def odd_folder(root: Path, *, classes: tuple[str, ...] = CLASSES) -> Path:
    """Write ten pictures of every kind for each class, and files that are none."""
    for number, name in enumerate(classes):
        odd_class(root / name, seed=100 * number)
    (root / "notes.txt").write_text("no picture")
    (root / classes[0] / "IMG_1.heic").write_bytes(b"no picture that we read")
    (root / ".hidden.jpg").write_bytes(b"x")
    return root

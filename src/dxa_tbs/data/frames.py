"""Decodes an image file into a frame of grey levels; files that are not plainly grey are refused."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

MAX_COLOUR_DIFFERENCE = 16  # between the channels of a grey image saved as colour, because JPEG rounds
PHOTOMETRIC = 262  # TIFF tag; value 0: white is stored as zero
DEEP_MODES = ("I;16", "I;16B", "I;16L")


class Header(NamedTuple):
    """Facts from the header of an image file.

    Attributes:
        is_deep: the file has 16-bit grey levels.
        is_turned: an orientation tag says that the pixels are not stored upright.
    """

    is_deep: bool
    is_turned: bool


class UnusableImage(Exception):  # noqa: N818 - collected, then refused together
    """The reason why a file cannot be used as a frame."""


def decode(path: Path) -> np.ndarray:
    """Return the upright frame, (H, W), uint8, or uint16 for 16-bit files.

    Reads PNG, TIFF, BMP and JPEG files that are grey, grey with opaque alpha, or grey saved as colour or with a
    palette. Orientation tags (EXIF, TIFF) are applied.

    Raises:
        UnusableImage: the file is unreadable, truncated, coloured, transparent, of several pages, or of another depth.
    """
    try:
        # open the file ourselves: given a path, Pillow maps uncompressed TIFFs, and swaps the sides of turned ones
        with path.open("rb") as file, Image.open(file) as image:
            if (pages := getattr(image, "n_frames", 1)) > 1:
                raise UnusableImage(f"has {pages} pages: save one page per file")
            return _grey(image)
    except UnidentifiedImageError:
        raise UnusableImage("is not an image") from None
    except UnusableImage:
        raise
    except Exception as error:  # a damaged file makes decoders raise anything
        raise UnusableImage(f"cannot be read ({error})") from None


def read_header(path: Path) -> Header:
    """Return the facts from a file's header; an unreadable file counts as 8-bit and upright."""
    try:
        with Image.open(path) as image:
            return Header(image.mode in DEEP_MODES, image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9))
    except Exception:  # decode reports the reason
        return Header(is_deep=False, is_turned=False)


def _grey(image: Image.Image) -> np.ndarray:
    if image.mode in DEEP_MODES:
        if dict(getattr(image, "tag_v2", {})).get(PHOTOMETRIC) == 0:
            raise UnusableImage("is a 16-bit TIFF that stores black as its largest value: save it with black as 0")
        return np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16)
    if image.mode == "L":
        return np.asarray(ImageOps.exif_transpose(image).convert("L"))
    if image.mode not in ("LA", "P", "PA", "RGB", "RGBA"):
        raise UnusableImage(f"has pixels of mode {image.mode}: save it as 8- or 16-bit grey")
    if any(";16" in str(raw_mode) for *_, raw_mode in getattr(image, "tile", ())):
        raise UnusableImage("has 16-bit colour, and only the upper 8 bits could be read: save it as grey")
    return _grey_of_colour(np.asarray(ImageOps.exif_transpose(image).convert("RGBA")).astype(np.int16))


def _grey_of_colour(pixels: np.ndarray) -> np.ndarray:
    colours, alpha = pixels[..., :3], pixels[..., 3]
    if alpha.min() < 255:
        raise UnusableImage("has transparent pixels: save it without an alpha channel")
    if np.ptp(colours, axis=-1).max() > MAX_COLOUR_DIFFERENCE:
        raise UnusableImage("is coloured (a region drawn in, or a screenshot?): export the raw grey image")
    return colours[..., 1].astype(np.uint8)

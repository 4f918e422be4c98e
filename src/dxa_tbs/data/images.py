"""The pixels of a cohort: decoded and cropped once, uint8, kept in a cache that knows what it was made from."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import scipy
from PIL import Image
from tqdm import tqdm

from dxa_tbs.cache import cached_folder
from dxa_tbs.config import Fit, Region
from dxa_tbs.data.cohort import ROI_COLUMNS
from dxa_tbs.data.frames import UnusableImage, decode, is_deep
from dxa_tbs.data.measures import MEASURES, keep_region, measure
from dxa_tbs.data.phantom import render
from dxa_tbs.errors import Refusal
from dxa_tbs.records import sha256_of_array, sha256_of_file

log = logging.getLogger("dxa_tbs.data")

SIZE_PX = 224
VERSION = 2  # raise when a change moves a pixel: cached images then count as stale

Source = Path | render.Candidate


@dataclass(frozen=True)
class Images:
    """Attributes: pixels, uint8 (N, 224, 224), in the order of the cohort; sha256 of each; bits used of 16; measures, a
    row per image."""

    pixels: np.ndarray
    sha256: list[str]
    bits: int | None
    measures: pd.DataFrame


@dataclass(frozen=True)
class Window:
    """What was made of one frame: image, uint8 (224, 224), its measures, and the frame's height and width."""

    image: np.ndarray
    measures: dict[str, float]
    shape: tuple[int, ...]


def hash_sources(table: pd.DataFrame) -> list[str]:
    """Return what identifies the content of each row's frame: the SHA-256 of its file, or of the phantom's recipe."""

    def digest(source: Source) -> str:
        if isinstance(source, Path):
            return sha256_of_file(source)
        return hashlib.sha256(f"{source} {render.VERSION}".encode()).hexdigest()

    jobs = (joblib.delayed(digest)(source) for source in table["source"])
    return list(joblib.Parallel(n_jobs=-1, prefer="threads")(jobs))


def load_images(
    table: pd.DataFrame,
    source_sha256: list[str],
    *,
    fit: Fit,
    bits: int | None,
    cache_dir: Path,
    region: Region = Region.whole,
) -> Images:
    """Return the images of a cohort, from the cache where it has them.

    Args:
        source_sha256: as `hash_sources` returns it; a changed file is a cache miss.
        fit: crop (around the region of interest, else the image's centre, no interpolation) or resize.
        bits: in use of 16-bit files; None: the fewest of 8, 10, 12, 14, 16 that hold the cohort's largest value.
        region: what is left of an image, the rest of it black.

    Raises:
        Refusal: some files cannot be used; all of them are listed.
    """
    rois = table.reindex(columns=list(ROI_COLUMNS)).to_numpy(float)
    recipe = {"version": VERSION, "fit": fit.value, "bits": bits, "sources": source_sha256, "rois": rois.tolist()}
    recipe["region"] = region.value
    recipe["libraries"] = [np.__version__, scipy.__version__]  # they may render a phantom otherwise
    if np.isnan(rois).any() and region is not Region.whole:
        num_without = int(np.isnan(rois).any(axis=1).sum())
        raise Refusal(
            f"preprocessing.region={region.value}: {num_without} of {len(table)} images have no box around L1-L4 (the "
            "columns roi_x0, roi_y0, roi_x1, roi_y1 of the table): add them, or drop it"
        )
    write = functools.partial(_build_entry, table=table, rois=rois, fit=fit, region=region, bits=bits)
    entry, _ = cached_folder(cache_dir, "images", recipe, write)
    notes = json.loads((entry / "notes.json").read_text(encoding="utf-8"))
    for text in notes["warnings"]:
        log.warning(text)
    measures = pd.DataFrame(np.load(entry / "measures.npy"), columns=MEASURES)
    return Images(np.load(entry / "images.npy", mmap_mode="r"), notes["sha256"], notes["bits"], measures)


def crop_frame(frame: np.ndarray, roi: np.ndarray) -> np.ndarray:
    """Return the 224 x 224 window around the middle of `roi` (x0, y0, x1, y1 in pixels; NaN: of the frame).

    The window stays within the frame; where the frame is smaller, black is put around it.
    """
    left, top = crop_corner(frame.shape, roi)
    window = frame[max(top, 0) : top + SIZE_PX, max(left, 0) : left + SIZE_PX]
    missing = [(SIZE_PX - size) for size in window.shape]
    return np.pad(window, [(gap // 2, gap - gap // 2) for gap in missing])


def crop_corner(shape: tuple[int, ...], roi: np.ndarray) -> tuple[int, int]:
    """Return column and row of the window's upper left pixel in a frame of that shape; negative where black is put."""
    height, width = shape
    middle_x, middle_y = (width / 2, height / 2) if np.isnan(roi).any() else (roi[[0, 2]].mean(), roi[[1, 3]].mean())
    left = int(np.clip(round(middle_x - SIZE_PX / 2), 0, max(0, width - SIZE_PX)))
    top = int(np.clip(round(middle_y - SIZE_PX / 2), 0, max(0, height - SIZE_PX)))
    return left - max(0, SIZE_PX - width) // 2, top - max(0, SIZE_PX - height) // 2


def read_frame(row: pd.Series, *, bits: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the whole frame of one row of a cohort, uint8, and its region of interest (NaN: none).

    Args:
        bits: in use of 16-bit files, as `load_images` found or was told.
    """
    frame = decode(row["source"]) if isinstance(row["source"], Path) else render.read_frame(row["source"])
    if frame.dtype == np.uint16:
        assert bits is not None, "known once the images were loaded"
        frame = (frame >> (bits - 8)).astype(np.uint8)
    return frame, row.reindex(list(ROI_COLUMNS)).to_numpy(float)


def resize_frame(frame: np.ndarray) -> np.ndarray:
    """Return the whole frame at 224 x 224, bilinear and antialiased; its texture is not what it was."""
    return np.asarray(Image.fromarray(frame).resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR))


def _build_entry(
    folder: Path, *, table: pd.DataFrame, rois: np.ndarray, fit: Fit, region: Region, bits: int | None
) -> None:
    """Write images.npy, measures.npy, and notes.json: what was found on the way."""
    sources: list[Source] = list(table["source"])
    deep = [source for source in sources if isinstance(source, Path) and is_deep(source)]
    bits = bits or (_bits_in_use(deep) if deep else 8)
    pixels = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (len(table), SIZE_PX, SIZE_PX))
    unusable, sha256, small, measures = [], [], [], []
    for row, window in enumerate(_read_all(sources, rois, fit=fit, region=region, bits=bits)):
        if isinstance(window, str):
            unusable.append(f"{sources[row]} {window}")
            continue
        pixels[row] = window.image
        sha256.append(sha256_of_array(window.image))
        measures.append(window.measures)
        small += [window.shape] if fit is Fit.crop and min(window.shape) < SIZE_PX else []
    if unusable:
        raise Refusal(f"{len(unusable)} of {len(table)} images cannot be used: mend or remove them", unusable)
    pixels.flush()
    np.save(folder / "measures.npy", [[one[name] for name in MEASURES] for one in measures])
    warnings = []
    if deep:
        warnings.append(f"{len(deep)} images have 16-bit pixels: {bits} bits taken as in use (dataset.bits)")
    if small:
        height, width = min(small, key=lambda shape: shape[0] * shape[1])
        warnings.append(
            f"{len(small)} images are smaller than {SIZE_PX} x {SIZE_PX} pixels, the smallest is {width} x {height}: "
            "black was put around them"
        )
    notes = {"warnings": warnings, "sha256": sha256, "bits": bits if deep else None}
    (folder / "notes.json").write_text(json.dumps(notes, indent=0), encoding="utf-8")


def _read_all(
    sources: list[Source], rois: np.ndarray, *, fit: Fit, region: Region, bits: int
) -> Iterator[Window | str]:
    """Yield what was made of each frame, or what is wrong with it, in order."""
    is_phantom = not isinstance(sources[0], Path)
    read = functools.partial(_read_one, fit=fit, region=region, bits=bits, measures_box=not np.isnan(rois).any())
    jobs = (joblib.delayed(read)(source, roi) for source, roi in zip(sources, rois, strict=True))
    parallel = joblib.Parallel(n_jobs=-1, prefer="processes" if is_phantom else "threads", return_as="generator")
    verb = "rendering" if is_phantom else "decoding"
    yield from tqdm(parallel(jobs), total=len(sources), desc=verb, unit="image", disable=None, leave=False)


def _read_one(
    source: Source, roi: np.ndarray, *, fit: Fit, region: Region, bits: int, measures_box: bool
) -> Window | str:
    if not isinstance(source, Path):
        frame = render.read_frame(source)
    else:
        try:
            frame = decode(source)
        except UnusableImage as reason:
            return str(reason)
    height, width = frame.shape
    if frame.dtype == np.uint16:
        if int(frame.max()) >> bits:
            return f"holds {frame.max()}, more than dataset.bits={bits} allows"
        frame = (frame >> (bits - 8)).astype(np.uint8)
    if not np.isnan(roi).any() and not (0 <= roi[0] < roi[2] <= width and 0 <= roi[1] < roi[3] <= height):
        return f"its region {roi.tolist()} is not x0 < x1, y0 < y1 inside {width} x {height} pixels"
    image = resize_frame(frame) if fit is Fit.resize else crop_frame(frame, roi)
    if image.min() == image.max():
        return f"shows nothing: every pixel is {image.min()}"
    box = _box_in_window(frame.shape, roi, fit)
    measures = measure(image, box if measures_box else np.full(4, np.nan))
    return Window(image if region is Region.whole else keep_region(image, box, region), measures, frame.shape)


def _box_in_window(shape: tuple[int, ...], roi: np.ndarray, fit: Fit) -> np.ndarray:
    """Return the region of interest in pixels of the 224 x 224 window."""
    if fit is Fit.resize:
        return np.asarray(roi * SIZE_PX / np.tile(shape[::-1], 2))
    return np.asarray(roi - np.tile(crop_corner(shape, roi), 2))


def _bits_in_use(paths: list[Path]) -> int:
    def largest(path: Path) -> int:
        try:
            return int(decode(path).max())
        except UnusableImage:
            return 0  # listed when the images are read

    top = max(joblib.Parallel(n_jobs=-1, prefer="threads")(joblib.delayed(largest)(path) for path in paths))
    return min(bits for bits in (8, 10, 12, 14, 16) if not top >> bits)

"""The images of a cohort, uint8: decoded and cropped once, then read from a cache keyed by their sources."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import scipy

from dxa_tbs.cache import cached_folder
from dxa_tbs.config.choices import Fit, Region
from dxa_tbs.data.cohort import ROI_COLUMNS
from dxa_tbs.data.depth import bits_in_use, to_bytes
from dxa_tbs.data.frames import decode, read_header
from dxa_tbs.data.measures import MEASURES
from dxa_tbs.data.phantom import render
from dxa_tbs.data.reading import Source, Window, read_window
from dxa_tbs.data.window import MIN_SHARE_SHOWN
from dxa_tbs.disk import create_array
from dxa_tbs.errors import Refusal
from dxa_tbs.hashes import sha256_of_array, sha256_of_file
from dxa_tbs.progress import OnProgress, ignore_progress, reported
from dxa_tbs.workers import worker_processes

log = logging.getLogger("dxa_tbs.data")

NO_IMAGE = np.empty((0, 0), np.uint8)
MAX_NAMED = 10
VERSION = 3  # increase when a change alters a pixel: cached images are then stale


@dataclass(frozen=True)
class Images:
    """The images of a cohort, in its order.

    Attributes:
        pixels: uint8 (N, S, S).
        sha256: hash of the pixels of each image.
        bits: bits in use in 16-bit files; None: there were no such files.
        measures: one row per image, see `measures`.
        signatures: of the whole frames, int8 (N, 512), see `likeness`.
    """

    pixels: np.ndarray
    sha256: list[str]
    bits: int | None
    measures: pd.DataFrame
    signatures: np.ndarray


def hash_sources(table: pd.DataFrame) -> list[str]:
    """Return the SHA-256 of the source of each row's frame: its file, or the recipe of a phantom."""

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
    size_px: int,
    bits: int | None,
    cache_dir: Path,
    region: Region = Region.whole,
    on_progress: OnProgress = ignore_progress,
) -> Images:
    """Return the images of a cohort, from the cache if it contains them.

    Args:
        source_sha256: as `hash_sources` returns it; a changed file is a cache miss.
        fit: crop (around the region of interest or, without one, the centre; no interpolation) or resize.
        size_px: side of the square images.
        bits: bits in use in 16-bit files; a few brighter pixels are made white. None: the smallest of 8, 10, 12, 14, 16
            that fits the largest value in the cohort.
        region: the part of an image to keep; the rest becomes black.

    Raises:
        Refusal: some files cannot be used; all of them are listed.
    """
    rois = table.reindex(columns=list(ROI_COLUMNS)).to_numpy(float)
    recipe = {"version": VERSION, "fit": fit.value, "bits": bits, "sources": source_sha256, "rois": rois.tolist()}
    recipe |= {"region": region.value, "size_px": size_px}
    recipe["libraries"] = [np.__version__, scipy.__version__]  # other versions may render a phantom differently
    if np.isnan(rois).any() and region is not Region.whole:
        num_without = int(np.isnan(rois).any(axis=1).sum())
        raise Refusal(
            f"preprocessing.region={region.value}: {num_without} of {len(table)} images have no box around L1-L4 (the "
            "columns roi_x0, roi_y0, roi_x1, roi_y1 of the table): add boxes, or drop this setting"
        )
    read = functools.partial(
        read_window, fit=fit, size_px=size_px, region=region, measures_box=not np.isnan(rois).any()
    )
    write = functools.partial(
        _build_entry, table=table, rois=rois, read=read, fit=fit, size_px=size_px, bits=bits, on_progress=on_progress
    )
    entry, _ = cached_folder(cache_dir, "images", recipe, write)
    notes = json.loads((entry / "notes.json").read_text(encoding="utf-8"))
    for text in notes["warnings"]:
        log.warning(text)
    rows = notes["shows_little"]
    _warn_of_little(size_px, table["image_id"].iloc[rows], ~np.isnan(rois[rows]).any(axis=1))
    measures = pd.DataFrame(np.load(entry / "measures.npy"), columns=MEASURES)
    signatures = np.load(entry / "signatures.npy")
    return Images(np.load(entry / "images.npy", mmap_mode="r"), notes["sha256"], notes["bits"], measures, signatures)


def read_frame(row: pd.Series, *, bits: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the whole frame of an image, uint8, and its region of interest (NaN: none).

    Args:
        row: one row of the cohort's table.
        bits: bits in use in 16-bit files, from `load_images`.
    """
    frame = decode(row["source"]) if isinstance(row["source"], Path) else render.read_frame(row["source"])
    if frame.dtype == np.uint16:
        assert bits is not None, "`load_images` returns the bits of 16-bit files"
        frame = to_bytes(frame, bits)
    return frame, row.reindex(list(ROI_COLUMNS)).to_numpy(float)


def _build_entry(
    folder: Path,
    *,
    table: pd.DataFrame,
    rois: np.ndarray,
    read: Callable[..., Window | str],
    fit: Fit,
    size_px: int,
    bits: int | None,
    on_progress: OnProgress,
) -> None:
    """Write images.npy, measures.npy, signatures.npy, and notes.json with hashes and warnings."""
    sources: list[Source] = list(table["source"])
    headers = {source: read_header(source) for source in sources if isinstance(source, Path)}
    deep = [path for path, header in headers.items() if header.is_deep]
    bits = bits or (bits_in_use(deep) if deep else 8)
    pixels = create_array(folder / "images.npy", np.dtype(np.uint8), (len(table), size_px, size_px))
    unusable, sha256, windows = [], [], []
    for row, window in enumerate(_read_all(sources, rois, functools.partial(read, bits=bits), on_progress)):
        if isinstance(window, str):
            unusable.append(f"{sources[row]} {window}")
            continue
        pixels[row] = window.image
        sha256.append(sha256_of_array(window.image))
        windows.append(dataclasses.replace(window, image=NO_IMAGE))
    if unusable:
        raise Refusal(f"{len(unusable)} of {len(table)} images cannot be used: repair or remove them", unusable)
    pixels.flush()
    np.save(folder / "measures.npy", [[one.measures[name] for name in MEASURES] for one in windows])
    np.save(folder / "signatures.npy", np.stack([one.signature for one in windows]))
    num_turned = sum(header.is_turned for header in headers.values())
    warnings = [
        *(
            [f"16-bit pixels in {len(deep)} of {len(table)} images: {bits} bits assumed in use (dataset.bits)"]
            if deep
            else []
        ),
        *([f"orientation tag in {num_turned} of {len(table)} images: turned upright"] if num_turned else []),
        *_notes(windows, fit=fit, size_px=size_px),
    ]
    shows_little = [row for row, one in enumerate(windows) if one.share_shown < MIN_SHARE_SHOWN]
    notes = {"warnings": warnings, "sha256": sha256, "bits": bits if deep else None, "shows_little": shows_little}
    (folder / "notes.json").write_text(json.dumps(notes, indent=0), encoding="utf-8")


def _notes(windows: list[Window], *, fit: Fit, size_px: int) -> list[str]:
    """Return warnings about images that were used: pixels that are too bright, and frames smaller than the window."""
    texts = []
    if stray := [one.num_stray for one in windows if one.num_stray]:
        texts.append(
            f"pixels too bright for the bits in use in {len(stray)} of {len(windows)} images: made white (in all: "
            f"{sum(stray)})"
        )
    small = [one.shape for one in windows if fit is Fit.crop and min(one.shape) < size_px]
    if small:
        height, width = min(small, key=lambda shape: shape[0] * shape[1])
        texts.append(
            f"smaller than {size_px} x {size_px} pixels: {len(small)} of {len(windows)} images, the smallest {width} x "
            f"{height}: padded with black"
        )
    return texts


def _warn_of_little(size_px: int, image_ids: pd.Series, has_box: np.ndarray) -> None:
    """Warn of images whose window shows little of them, and name them.

    Args:
        has_box: whether each image has a box, of which its window shows little.
    """
    for what, names in (("box around L1-L4", list(image_ids[has_box])), ("image", list(image_ids[~has_box]))):
        if names:
            more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
            log.warning(
                "the window of %d x %d pixels shows under a third of the %s (preprocessing.fit=resize shows all): %s",
                *(size_px, size_px, what, ", ".join(names[:MAX_NAMED]) + more),
            )


def _read_all(
    sources: list[Source], rois: np.ndarray, read: Callable[..., Window | str], on_progress: OnProgress
) -> Iterator[Window | str]:
    """Yield the window of each frame, or its error, in order."""
    is_phantom = not isinstance(sources[0], Path)
    jobs = (joblib.delayed(read)(source, roi) for source, roi in zip(sources, rois, strict=True))
    in_threads = functools.partial(joblib.Parallel, prefer="threads")
    parallel = (worker_processes if is_phantom else in_threads)(n_jobs=-1, return_as="generator")
    verb = "rendering" if is_phantom else "decoding"
    yield from reported(parallel(jobs), verb, len(sources), on_progress)

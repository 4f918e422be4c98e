"""Decoding, cropping and caching of real files of every kind that hospitals have."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dxa_tbs.config.choices import Fit
from dxa_tbs.data.cohort import ROI_COLUMNS
from dxa_tbs.data.frames import UnusableImage, decode, read_header
from dxa_tbs.data.images import hash_sources, load_images
from dxa_tbs.data.window import crop_frame, share_shown
from dxa_tbs.errors import Refusal
from dxa_tbs.hashes import sha256_of_array

GREY = np.random.default_rng(0).integers(0, 256, (280, 300), dtype=np.uint8)
NOWHERE = np.full(4, np.nan)


def cohort(*paths: Path) -> pd.DataFrame:
    return pd.DataFrame({"image_id": [path.name for path in paths], "source": paths})


def load(table: pd.DataFrame, cache: Path, *, fit: Fit = Fit.crop, bits: int | None = None) -> np.ndarray:
    return np.array(load_images(table, hash_sources(table), fit=fit, size_px=224, bits=bits, cache_dir=cache).pixels)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
def test_grey_levels_survive_every_lossless_format(tmp_path: Path, suffix: str, mode: str) -> None:
    if (suffix, mode) in {("bmp", "LA"), ("tif", "P"), ("bmp", "RGBA")}:
        pytest.skip("Pillow does not write this")
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(GREY).convert(mode).save(path)
    assert np.array_equal(decode(path), GREY)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_is_grey_up_to_rounding(tmp_path: Path, mode: str) -> None:
    smooth = np.add.outer(np.arange(100), np.arange(120)).astype(np.uint8)
    Image.fromarray(smooth).convert(mode).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(decode(tmp_path / "a.jpg").astype(int) - smooth).max() <= 6


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_kept_until_the_cohort_is_known(tmp_path: Path, suffix: str) -> None:
    deep = GREY.astype(np.uint16) * 16  # 12 bits in use
    Image.fromarray(deep).save(tmp_path / f"a.{suffix}")
    assert decode(tmp_path / f"a.{suffix}").dtype == np.uint16
    assert np.array_equal(decode(tmp_path / f"a.{suffix}"), deep)


def test_a_file_that_is_not_plainly_grey_is_refused_with_the_reason(tmp_path: Path) -> None:
    coloured = np.stack([GREY, GREY, 255 - GREY], axis=-1)
    transparent = np.stack([GREY, GREY // 2], axis=-1)
    Image.fromarray(coloured).save(tmp_path / "coloured.png")
    Image.fromarray(transparent).save(tmp_path / "transparent.png")
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(GREY).save(tmp_path / "pages.tif", save_all=True, append_images=[Image.fromarray(GREY)])
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "damaged.tif").write_bytes(b"II*\0\x08\0\0\0\0\0\0\0\0\0")
    Image.fromarray(GREY.astype(np.uint16)).save(tmp_path / "inverted.tif", tiffinfo={262: 0})
    Image.fromarray(GREY).save(tmp_path / "whole.png")
    (tmp_path / "truncated.png").write_bytes((tmp_path / "whole.png").read_bytes()[:20_000])
    for name, reason in {
        "coloured.png": "coloured",
        "transparent.png": "transparent",
        "float.tif": "mode F",
        "pages.tif": "2 pages",
        "text.png": "not an image",
        "empty.png": "not an image",
        "truncated.png": "cannot be read",
        "damaged.tif": "not an image",
        "inverted.tif": "black as its largest value",
    }.items():
        with pytest.raises(UnusableImage, match=reason):
            decode(tmp_path / name)


def test_all_unusable_files_are_listed_and_nothing_is_cached(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "good.png")
    (tmp_path / "bad1.png").write_text("x")
    (tmp_path / "bad2.png").write_text("y")
    table = cohort(*(tmp_path / name for name in ("bad1.png", "good.png", "bad2.png")))
    with pytest.raises(Refusal, match="2 of 3 images cannot be used") as refusal:
        load(table, tmp_path / "cache")
    assert [line.split()[0] for line in refusal.value.details] == [
        str(tmp_path / "bad1.png"),
        str(tmp_path / "bad2.png"),
    ]
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("roi", "top", "left"),
    [
        (NOWHERE, 28, 38),  # (280 - 224) / 2, (300 - 224) / 2
        (np.array([100.0, 100.0, 180.0, 200.0]), 38, 28),  # centred on (140, 150)
        (np.array([0.0, 0.0, 10.0, 10.0]), 0, 0),  # stays in the frame
        (np.array([290.0, 270.0, 300.0, 280.0]), 56, 76),
    ],
)
def test_the_crop_is_centred_and_leaves_pixels_unchanged(roi: np.ndarray, top: int, left: int) -> None:
    assert np.array_equal(crop_frame(GREY, roi, 224), GREY[top : top + 224, left : left + 224])


def test_a_small_frame_is_padded_and_not_stretched() -> None:
    small = GREY[:200, :101]
    image = crop_frame(small, NOWHERE, 224)
    assert image.shape == (224, 224)
    assert np.array_equal(image[12:212, 61:162], small)
    assert image.sum() == small.sum()


def test_frames_of_different_sizes_and_depths_form_one_cohort(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    Image.fromarray(GREY[:200]).save(tmp_path / "b.png")
    Image.fromarray(GREY.astype(np.uint16) * 16 + 7).save(tmp_path / "c.png")
    pixels = load(cohort(*(tmp_path / f"{name}.png" for name in "abc")), tmp_path / "cache")
    assert pixels.shape == (3, 224, 224)
    assert np.array_equal(pixels[0], pixels[2])
    assert "16-bit pixels in 1 of 3 images: 12 bits assumed in use" in caplog.text
    assert "smaller than 224 x 224 pixels: 1 of 3 images" in caplog.text
    with pytest.raises(Refusal):
        load(cohort(tmp_path / "c.png"), tmp_path / "cache", bits=10)


def test_eight_bits_in_a_sixteen_bit_file_lose_nothing(tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.uint16)).save(tmp_path / "a.png")
    assert np.array_equal(load(cohort(tmp_path / "a.png"), tmp_path / "cache")[0], crop_frame(GREY, NOWHERE, 224))


def test_resizing_is_another_preprocessing_with_another_cache_entry(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    table = cohort(tmp_path / "a.png")
    resized = Image.fromarray(GREY).resize((224, 224), Image.Resampling.BILINEAR)
    assert np.array_equal(load(table, tmp_path / "cache", fit=Fit.resize)[0], np.asarray(resized))
    assert not np.array_equal(load(table, tmp_path / "cache")[0], np.asarray(resized))


def test_a_region_outside_the_frame_is_refused(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    table = cohort(tmp_path / "a.png").assign(roi_x0=10.0, roi_y0=10.0, roi_x1=301.0, roi_y1=100.0)
    with pytest.raises(Refusal) as refusal:
        load(table, tmp_path / "cache")
    assert "inside 300 x 280 pixels" in refusal.value.details[0]


def test_a_changed_file_is_noticed_and_an_unchanged_one_is_not_decoded_again(tmp_path: Path) -> None:
    path, cache = tmp_path / "a.png", tmp_path / "cache"
    Image.fromarray(GREY).save(path)
    before = path.stat()
    assert np.array_equal(load(cohort(path), cache)[0], crop_frame(GREY, NOWHERE, 224))
    entry = next(folder for folder in cache.iterdir() if folder.is_dir())
    written = (entry / "images.npy").stat().st_mtime_ns
    load(cohort(path), cache)
    assert (entry / "images.npy").stat().st_mtime_ns == written
    Image.fromarray(255 - GREY).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert np.array_equal(load(cohort(path), cache)[0], crop_frame(255 - GREY, NOWHERE, 224))


def test_the_hash_is_that_of_the_pixels_the_network_gets(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    table = cohort(tmp_path / "a.png")
    images = load_images(table, hash_sources(table), fit=Fit.crop, size_px=224, bits=None, cache_dir=tmp_path / "cache")
    assert images.sha256 == [sha256_of_array(images.pixels[0])]


ORIENTED = {  # orientation tag: the array operation that turns the stored pixels upright
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.T,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored.T[::-1, ::-1],
    8: lambda stored: np.rot90(stored),
}


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
@pytest.mark.parametrize("orientation", ORIENTED)
def test_an_orientation_tag_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    smooth = np.add.outer(np.arange(60), np.arange(0, 160, 2)).astype(np.uint8)
    for name, mode in (("grey", "L"), ("colour", "RGB")):
        path = tmp_path / f"{name}.{suffix}"
        exif = Image.Exif()
        exif[274] = orientation
        kind = {"quality": 95} if suffix == "jpg" else {}
        Image.fromarray(smooth).convert(mode).save(path, exif=exif, **kind)
        upright = ORIENTED[orientation](smooth)
        assert decode(path).shape == upright.shape
        assert np.abs(decode(path).astype(int) - upright).max() <= (6 if suffix == "jpg" else 0)
        assert read_header(path).is_turned == (orientation != 1)


@pytest.mark.parametrize(("suffix", "compression"), [("png", {}), ("tif", {}), ("tif", {"compression": "tiff_lzw"})])
def test_deep_images_are_turned_upright_and_the_box_refers_to_the_upright_frame(
    tmp_path: Path, suffix: str, compression: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    upright = np.tile(np.arange(400, dtype=np.uint16) * 10, (300, 1))
    upright[20:40, 350:380] = 4000
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.rot90(upright).copy()).save(path, exif=exif, **compression)
    assert np.array_equal(decode(path), upright)
    table = cohort(path).assign(roi_x0=340.0, roi_y0=10.0, roi_x1=390.0, roi_y1=50.0)
    pixels = load(table, tmp_path / "cache")[0]
    assert np.array_equal(pixels, (upright[:224, 176:] >> 4).astype(np.uint8))
    assert "orientation tag in 1 of 1 images: turned upright" in caplog.text


def test_stray_pixels_do_not_decide_how_many_bits_are_in_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    deep = GREY.astype(np.uint16) * 16
    marked = deep.copy()
    marked[5, 5:9] = 65535
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for path, frame in zip(paths, (deep, marked, deep[::-1].copy()), strict=True):
        Image.fromarray(frame).save(path)
    table = cohort(*paths)
    with pytest.raises(
        Refusal, match=r"dataset\.bits: 4 pixels of 1 images, of 3 .* need 16 bits, all others 12"
    ) as refusal:
        load(table, tmp_path / "cache")
    assert refusal.value.details == (f"{paths[1]}: 4 pixels",)
    pixels = load(table, tmp_path / "cache", bits=12)
    assert np.array_equal(pixels[0], crop_frame(GREY, NOWHERE, 224))
    assert np.array_equal(pixels[1], crop_frame(np.where(marked == 65535, 255, GREY).astype(np.uint8), NOWHERE, 224))
    assert "pixels too bright for the bits in use in 1 of 3 images: made white (in all: 4)" in caplog.text
    assert load(table, tmp_path / "cache", bits=16).max() == 15
    with pytest.raises(Refusal, match="3 of 3 images cannot be used"):
        load(table, tmp_path / "cache", bits=8)


def test_all_frames_that_are_too_small_are_listed(tmp_path: Path) -> None:
    names = {"a": (2, 2), "b": (31, 300), "c": (32, 32)}
    for name, (height, width) in names.items():
        Image.fromarray(GREY[:height, :width]).save(tmp_path / f"{name}.png")
    with pytest.raises(Refusal, match="2 of 3 images cannot be used") as refusal:
        load(cohort(*(tmp_path / f"{name}.png" for name in names)), tmp_path / "cache")
    assert [line.rpartition("/")[2] for line in refusal.value.details] == [
        "a.png is too small for an image of a spine: 2 x 2 pixels",
        "b.png is too small for an image of a spine: 300 x 31 pixels",
    ]


def test_a_box_given_in_fractions_of_the_frame_is_refused(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    table = cohort(tmp_path / "a.png").assign(roi_x0=0.2, roi_y0=0.1, roi_x1=0.8, roi_y1=0.9)
    with pytest.raises(Refusal) as refusal:
        load(table, tmp_path / "cache")
    assert "under 8 pixels wide or high" in refusal.value.details[0]


def test_windows_that_show_little_are_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(np.tile(GREY, (3, 2))).save(tmp_path / "large.png")
    Image.fromarray(GREY).save(tmp_path / "usual.png")
    table = cohort(tmp_path / "large.png", tmp_path / "usual.png")
    load(table, tmp_path / "cache")
    assert "the window of 224 x 224 pixels shows under a third of the image (" in caplog.text
    assert "shows all): large.png" in caplog.text
    boxes = np.array([[0.0, 0.0, 500.0, 800.0], [50.0, 40.0, 150.0, 240.0]])
    caplog.clear()
    load(table.assign(**dict(zip(ROI_COLUMNS, boxes.T, strict=True))), tmp_path / "cache")
    assert "the window of 224 x 224 pixels shows under a third of the box around L1-L4 (" in caplog.text
    caplog.clear()
    load(table, tmp_path / "cache", fit=Fit.resize)
    assert "under a third" not in caplog.text


@pytest.mark.parametrize(
    ("shape", "roi", "share"),
    [
        ((224, 224), NOWHERE, 1.0),
        ((448, 224), NOWHERE, 0.5),
        ((100, 100), NOWHERE, 1.0),
        ((600, 600), np.array([100.0, 100.0, 200.0, 200.0]), 1.0),
        ((600, 600), np.array([0.0, 0.0, 448.0, 448.0]), 0.25),
        ((600, 600), np.array([0.0, 0.0, 100.0, 448.0]), 0.5),
    ],
)
def test_the_share_shown_by_a_window(shape: tuple[int, int], roi: np.ndarray, share: float) -> None:
    assert share_shown(shape, roi, Fit.crop, 224) == pytest.approx(share)
    assert share_shown(shape, roi, Fit.resize, 224) == 1


def test_every_window_shows_something_of_its_box() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        height, width = rng.integers(32, 1200, 2)
        x0, x1 = np.sort(rng.uniform(0, width, 2))
        y0, y1 = np.sort(rng.uniform(0, height, 2))
        assert share_shown((int(height), int(width)), np.array([x0, y0, x1, y1]), Fit.crop, 224) > 0

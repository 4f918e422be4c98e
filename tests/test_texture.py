"""The table and the sheet of dxa_tbs.augmentations, compared with a slow and direct computation."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SMALL, composed
from PIL import Image
from scipy import stats

from dxa_tbs import augmentations
from dxa_tbs.config.choices import Fit
from dxa_tbs.data.augment import _stream
from dxa_tbs.data.images import hash_sources, load_images
from dxa_tbs.data.operations import blur, rotate
from dxa_tbs.errors import Refusal
from dxa_tbs.pipeline.cohort import gather_cohort
from dxa_tbs.pipeline.texture import measure_texture

NUM = 8


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """Return the folder that the command wrote."""
    root = tmp_path_factory.mktemp("texture")
    operations = "augmentation.operations=[{name:rotate,max_deg:20,interpolation:bilinear},{name:blur}]"
    before = sys.argv
    sys.argv = ["dxa-augmentations", *SMALL[:5], operations, f"--images={NUM}", f"output_root={root}", "name=mine"]
    sys.argv.append(f"cache_dir={cache_dir}")
    try:
        augmentations.main()
    finally:
        sys.argv = before
    return root / "mine/augmentations"


def slope(image: np.ndarray) -> float:
    """Return the slope of the variogram of a whole image, with loops."""
    grey = image.astype(float)
    values = []
    for lag in (1, 2, 3):
        down = [(grey[y + lag, x] - grey[y, x]) ** 2 for y in range(224 - lag) for x in range(224)]
        across = [(grey[y, x + lag] - grey[y, x]) ** 2 for y in range(224) for x in range(224 - lag)]
        values.append(np.mean(down + across))
    return float(np.polyfit(np.log([1, 2, 3]), np.log(values), 1)[0])


def training_images(cache_dir: Path) -> tuple[list[str], np.ndarray]:
    """Return the names and pixels of the measured images: at equal distances among those of train."""
    cohort = gather_cohort(composed(*SMALL[:5])).table
    images = load_images(cohort, hash_sources(cohort), fit=Fit.crop, size_px=224, bits=None, cache_dir=cache_dir)
    rows = np.flatnonzero(cohort["split"] == "train")
    chosen = [int(rows[round(place * (len(rows) - 1) / (NUM - 1))]) for place in range(NUM)]
    return cohort["image_id"].iloc[chosen].tolist(), images.pixels[chosen]


def test_the_table_is_that_of_a_slow_and_direct_computation(written: Path, cache_dir: Path) -> None:
    table = pd.read_csv(written / "augmentations.csv")
    assert table["used"].tolist() == [*["default"] * 7, "default, configured", "configured", "all configured"]
    assert table["operation"].iloc[-1] == ("rotate (max deg 20, interpolation bilinear) then blur (max sigma px 0.5)")
    names, pixels = training_images(cache_dir)
    before = np.array([slope(image) for image in pixels])
    after = []
    for name, image in zip(names, pixels, strict=True):
        rng = _stream(0, f"{name}+1")
        after.append(slope(blur(rotate(image, rng, max_deg=20, interpolation="bilinear"), rng, max_sigma_px=0.5)))
    shift = np.array(after) - before
    low, high = stats.ttest_1samp(shift, 0).confidence_interval(0.95)
    found = table.iloc[-1]
    assert found["images"] == NUM
    expected = [before.mean(), np.mean(after), shift.mean(), low, high, shift.std(ddof=1)]
    columns = ["slope_before", "slope_after", "shift", "shift_low", "shift_high", "shift_sd"]
    assert found[columns].tolist() == pytest.approx(expected, abs=1e-5)
    assert found["shift_in_sd"] == pytest.approx(shift.mean() / before.std(ddof=1), abs=1e-3)
    shifts = table.set_index("operation")["shift"]
    assert shifts["flip (probability 0.5)"] == pytest.approx(0, abs=1e-9)
    assert (
        shifts["rotate (max deg 20, interpolation bilinear)"] > 2 * shifts["rotate (max deg 10, interpolation bicubic)"]
    )
    assert shifts["noise (max sd 4)"] < 0 < shifts["blur (max sigma px 0.5)"]


def test_the_sheet_has_a_row_for_each_operation(written: Path) -> None:
    with Image.open(written / "augmentations.png") as sheet:
        assert sheet.height > 10 * 1.5 * 150
        assert sheet.width > 6 * 1.5 * 150
    assert (written / "augmentations.pdf").is_file()
    assert {path.name for path in written.iterdir()} == {f"augmentations.{kind}" for kind in ("csv", "png", "pdf")}


def test_a_run_or_too_few_images_cannot_be_measured() -> None:
    config = composed(*SMALL[:5])
    with pytest.raises(Refusal, match="--images 1: give at least 2"):
        measure_texture(config, num_images=1)
    config.evaluate = "a_run"
    with pytest.raises(Refusal, match="evaluate=a_run: this measures a configuration"):
        measure_texture(config, num_images=5)

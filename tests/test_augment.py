"""Copies: Table I's counts, origins, determinism, and the same pixels as in version 0.1.0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import composed
from PIL import Image

from dxa_tbs.config.choices import Interpolation
from dxa_tbs.data.augment import _stream, make_copy, plan_copies
from dxa_tbs.pipeline.augmentation import build_operations
from dxa_tbs.pipeline.prepare import ImageSet, add_copies

IMAGE = np.random.default_rng(0).integers(40, 180, (224, 224), dtype=np.uint8)


def table_of(counts: dict[str, tuple[int, int]]) -> pd.DataFrame:
    rows = [
        {"split": split, "label": label}
        for split, pair in counts.items()
        for label, count in enumerate(pair)
        for _ in range(count)
    ]
    names = [f"i{index:05d}" for index in range(len(rows))]
    return pd.DataFrame(rows).assign(image_id=names, patient_id=names, origin="")


def copy_of(image: np.ndarray, *typed: str, image_id: str = "a+1", seed: int = 0) -> np.ndarray:
    """Return a copy as it is made with these settings."""
    return make_copy(image, build_operations(composed(*typed).augmentation), image_id=image_id, seed=seed)


def copy_of_0_1_0(image: np.ndarray, interpolation: Interpolation, *, image_id: str, seed: int) -> np.ndarray:
    """Return the copy that version 0.1.0 made with the paper's settings: its code, shortened."""
    rng = _stream(seed, image_id)
    is_flipped = rng.random() < 0.5
    angle_deg = rng.uniform(-10.0, 10.0)
    factor = 1 + rng.choice([-1, 1]) * rng.uniform(0.1, 0.4)
    image = image[:, ::-1] if is_flipped else image
    angle = np.deg2rad(abs(angle_deg))
    margin = int(np.ceil(max(image.shape) / 2 * (np.cos(angle) + np.sin(angle) - 1))) + 2
    resampling = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation.value]
    padded = Image.fromarray(np.pad(image, margin, mode="reflect"))
    turned = np.asarray(padded.rotate(angle_deg, resample=resampling))[margin:-margin, margin:-margin]
    return np.asarray(np.clip(np.rint(turned * np.float32(factor)), 0, 255), np.uint8)


@pytest.mark.parametrize(
    ("option", "interpolation"), [("paper", Interpolation.bilinear), ("balanced", Interpolation.bicubic)]
)
def test_copies_are_those_of_version_0_1_0_bit_for_bit(option: str, interpolation: Interpolation) -> None:
    for number in range(40):
        named = {"image_id": f"a+{number}", "seed": number % 3}
        copy = copy_of(IMAGE, f"augmentation={option}", **named)  # type: ignore[arg-type]
        assert np.array_equal(copy, copy_of_0_1_0(IMAGE, interpolation, **named))  # type: ignore[arg-type]


def test_the_papers_augmentation_gives_table_1() -> None:
    how = composed().augmentation
    originals = table_of({"train": (979, 148), "val": (140, 21), "test": (139, 42)})
    plan = plan_copies(originals, per_original={0: how.copies_per_normal, 1: how.copies_per_degraded}, seed=0)
    counts = pd.crosstab(plan["split"], plan["label"])
    assert counts.loc["train"].tolist() == [225, 563]
    assert counts.loc["val"].tolist() == [32, 80]
    assert "test" not in counts.index
    assert len(originals) + len(plan) == 2369


def test_every_copy_names_an_original_of_its_split_and_they_are_spread_evenly() -> None:
    originals = table_of({"train": (40, 20), "val": (10, 5), "test": (10, 5)})
    plan = plan_copies(originals, per_original={0: 0.5, 1: 2.5}, seed=0)
    assert plan["image_id"].is_unique
    home = originals.set_index("image_id")
    assert (home.loc[plan["origin"], "split"].to_numpy() == plan["split"].to_numpy()).all()
    per_original = plan[plan["label"] == 1]["origin"].value_counts()
    assert set(per_original) <= {2, 3}
    assert set(plan[plan["label"] == 0]["origin"].value_counts()) == {1}


def test_both_classes_get_the_same_share_when_balanced() -> None:
    how = composed("augmentation=balanced").augmentation
    originals = table_of({"train": (979, 148), "val": (140, 21), "test": (139, 42)})
    plan = plan_copies(originals, per_original={0: how.copies_per_normal, 1: how.copies_per_degraded}, seed=0)
    assert (plan["split"] == "train").sum() == 788  # as many in all as the paper
    shares = plan[plan["split"] == "train"]["label"].value_counts() / np.array([979, 148])
    assert shares[0] == pytest.approx(shares[1], abs=0.01)


def test_the_same_seed_and_name_give_the_same_copy_and_others_do_not() -> None:
    assert np.array_equal(copy_of(IMAGE), copy_of(IMAGE))
    assert not np.array_equal(copy_of(IMAGE), copy_of(IMAGE, image_id="a+2"))
    assert not np.array_equal(copy_of(IMAGE), copy_of(IMAGE, seed=1))


def test_training_gets_originals_and_copies_as_they_are_and_no_test_image(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    table = table_of({"train": (8, 4), "val": (4, 2), "test": (4, 2)}).assign(sha256="x")
    pixels = np.random.default_rng(1).integers(0, 256, (len(table), 224, 224), dtype=np.uint8)
    seen = (table["split"] != "test").to_numpy()
    for typed in ((), ("augmentation=none",)):
        made = add_copies(table, pixels, composed(*typed).augmentation, seed=0, cache_dir=tmp_path)
        assert np.array_equal(made.pixels[: seen.sum()], pixels[seen])
        assert set(made.table["split"]) == {"train", "val"}
        assert len(made.table) == len(made.pixels)
        assert (len(made.table) > seen.sum()) == (not typed)
        assert not made.table["image_id"].duplicated().any()
        assert made.table.index.is_unique
        assert set(made.table.index[seen.sum() :]).isdisjoint(table.index)
    assert "79 % of the Degraded and 19 % of the Normal" in caplog.text


def test_copies_are_read_again_and_made_anew_for_other_images_settings_or_seeds(tmp_path: Path) -> None:
    table = table_of({"train": (4, 2), "val": (2, 2), "test": (2, 2)})
    pixels = np.random.default_rng(1).integers(0, 256, (len(table), 224, 224), dtype=np.uint8)

    def copies(*typed: str, sha256: str = "x", seed: int = 0) -> ImageSet:
        how = composed(*typed).augmentation
        return add_copies(table.assign(sha256=sha256), pixels, how, seed=seed, cache_dir=tmp_path)

    first = copies()
    again = copies()
    assert np.array_equal(first.pixels, again.pixels)
    assert first.table.equals(again.table)
    assert len(list(tmp_path.glob("copies-*/images.npy"))) == 1
    flip, rotate, brightness = ("{name:flip}", "{name:rotate,interpolation:bilinear}", "{name:brightness}")
    others = (
        copies("augmentation.operations.1.max_deg=5"),
        copies(f"augmentation.operations=[{rotate},{flip},{brightness}]"),
        copies(f"augmentation.operations=[{flip},{rotate}]"),
        copies(seed=1),
    )
    copies(sha256="y")
    assert len(list(tmp_path.glob("copies-*/images.npy"))) == 6
    assert all(not np.array_equal(first.pixels, other.pixels) for other in others)
    same = copies(f"augmentation.operations=[{flip},{rotate},{brightness}]")  # the left out settings have these values
    assert np.array_equal(first.pixels, same.pixels)
    assert len(list(tmp_path.glob("copies-*/images.npy"))) == 6

"""Copies: Table I's counts, origins, determinism, and what they do to pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import composed

from dxa_tbs.config.choices import Interpolation
from dxa_tbs.data.augment import Changes, augment, plan_copies
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


def changed(image: np.ndarray, **changes: object) -> np.ndarray:
    names = {"image_id": changes.pop("image_id", "a+1"), "seed": changes.pop("seed", 0)}
    least, greatest = changes.pop("brightness_change", (0.0, 0.0))  # type: ignore[misc]
    brightness = {"min_brightness_change": least, "max_brightness_change": greatest}
    nothing = {"flip_probability": 0.0, "max_rotation_deg": 0.0, "interpolation": Interpolation.bicubic}
    return augment(image, Changes(**nothing | brightness | changes), **names)  # type: ignore[arg-type]


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
    how = {"max_rotation_deg": 10.0, "brightness_change": (0.1, 0.4), "flip_probability": 0.5}
    assert np.array_equal(changed(IMAGE, **how), changed(IMAGE, **how))
    assert not np.array_equal(changed(IMAGE, **how), changed(IMAGE, **how | {"image_id": "a+2"}))
    assert not np.array_equal(changed(IMAGE, **how), changed(IMAGE, **how | {"seed": 1}))


def test_a_flip_mirrors_and_no_change_at_all_changes_nothing() -> None:
    assert np.array_equal(changed(IMAGE), IMAGE)
    assert np.array_equal(changed(IMAGE, flip_probability=1.0), IMAGE[:, ::-1])


def test_brightness_changes_by_ten_to_forty_percent_up_or_down() -> None:
    even = np.full((224, 224), 100, np.uint8)
    factors = [changed(even, image_id=f"a+{k}", brightness_change=(0.1, 0.4))[0, 0] / 100 for k in range(200)]
    change = np.abs(np.array(factors) - 1)
    assert change.min() >= 0.095
    assert change.max() <= 0.405
    assert {bool(factor > 1) for factor in factors} == {True, False}


@pytest.mark.parametrize("interpolation", list(Interpolation))
def test_a_rotation_turns_about_the_centre_and_leaves_no_black_corner(interpolation: Interpolation) -> None:
    even = np.full((224, 224), 90, np.uint8)
    assert np.array_equal(changed(even, max_rotation_deg=10.0, interpolation=interpolation), even)
    dot = np.full((224, 224), 20, np.uint8)
    dot[102:122, 202:222] = 200  # to the right of the centre
    turned = changed(dot, max_rotation_deg=10.0, interpolation=interpolation).astype(float) - 20
    rows, columns = np.indices(turned.shape)
    angle = np.arctan2((rows * turned).sum() / turned.sum() - 111.5, (columns * turned).sum() / turned.sum() - 111.5)
    assert 0.2 < abs(np.rad2deg(angle)) <= 10.5


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
    others = copies("augmentation.max_rotation_deg=5"), copies(seed=1), copies(sha256="y")
    assert len(list(tmp_path.glob("copies-*/images.npy"))) == 4
    assert all(not np.array_equal(first.pixels, other.pixels) for other in others[:2])

"""Splits keep patients apart and counts exact; the audit refuses what leaks."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dxa_tbs.data import split
from dxa_tbs.data.audit import check_pixels, check_split, check_unseen
from dxa_tbs.data.split import split_from_file
from dxa_tbs.errors import Refusal

NAMES = ("Normal", "Degraded")
split_by_fractions = functools.partial(split.split_by_fractions, class_names=NAMES)
split_by_fold = functools.partial(split.split_by_fold, class_names=NAMES)

TABLE_I = {"train": (979, 148), "val": (140, 21), "test": (139, 42)}


def split_by_counts(cohort: pd.DataFrame, counts: Mapping[str, tuple[int, int]], *, seed: int) -> pd.Series:
    wanted = {name: dict(zip(NAMES, of_each, strict=True)) for name, of_each in counts.items()}
    return split.split_by_counts(cohort, class_names=NAMES, seed=seed, **wanted)


def single_images(num_normal: int, num_degraded: int) -> pd.DataFrame:
    label = np.repeat([0, 1], [num_normal, num_degraded])
    names = [f"p{index:05d}" for index in range(len(label))]
    return pd.DataFrame({"image_id": names, "patient_id": names, "label": label})


def repeated_images(images_per_patient: list[int]) -> pd.DataFrame:
    patient = np.repeat(np.arange(len(images_per_patient)), images_per_patient)
    label = (patient % 3 == 0).astype(int)
    images = [f"i{index:05d}" for index in range(len(patient))]
    return pd.DataFrame({"image_id": images, "patient_id": [f"p{one:04d}" for one in patient], "label": label})


def test_table_1_exactly() -> None:
    cohort = single_images(1258, 211)
    side = split_by_counts(cohort, TABLE_I, seed=0)
    counts = pd.crosstab(side, cohort["label"])
    assert {name: tuple(counts.loc[name]) for name in TABLE_I} == TABLE_I
    assert not side.equals(split_by_counts(cohort, TABLE_I, seed=1))
    assert side.equals(split_by_counts(cohort, TABLE_I, seed=0))


def test_the_split_does_not_depend_on_the_order_of_the_rows() -> None:
    cohort = single_images(30, 15)
    shuffled = cohort.sample(frac=1, random_state=3)
    counts = {"train": (10, 5), "val": (10, 5), "test": (10, 5)}
    by_counts = split_by_counts(cohort, counts, seed=0), split_by_counts(shuffled, counts, seed=0)
    shares = {"val_fraction": 0.2, "test_fraction": 0.2, "seed": 0}
    by_shares = split_by_fractions(cohort, **shares), split_by_fractions(shuffled, **shares)  # type: ignore[arg-type]
    for plain, mixed in (by_counts, by_shares):
        assert plain.equals(mixed.sort_index())


def test_counts_are_exact_with_several_images_per_patient_and_no_patient_is_shared() -> None:
    cohort = repeated_images([1, 2, 3, 1, 4] * 40)
    total = np.bincount(cohort["label"])
    counts = {"test": (30, 15), "val": (25, 12), "train": (int(total[0]) - 55, int(total[1]) - 27)}
    cohort["split"] = split_by_counts(cohort, counts, seed=0)
    assert cohort.groupby("patient_id")["split"].nunique().max() == 1
    table = pd.crosstab(cohort["split"], cohort["label"])
    assert {name: tuple(table.loc[name]) for name in counts} == counts


def test_patients_with_several_images_are_spread_like_everybody_else() -> None:
    cohort = repeated_images([2] * 180 + [1] * 1109)
    total = np.bincount(cohort["label"])
    counts = {"test": (120, 61), "val": (107, 54)}
    counts["train"] = (int(total[0]) - 227, int(total[1]) - 115)
    side = split_by_counts(cohort, counts, seed=0)
    is_repeated = cohort["patient_id"].duplicated(keep=False)
    assert is_repeated[side == "test"].mean() == pytest.approx(360 / 1469, abs=0.1)
    assert is_repeated[side == "train"].mean() == pytest.approx(360 / 1469, abs=0.03)


def test_a_cohort_of_another_size_is_told_which_split_to_use() -> None:
    with pytest.raises(
        Refusal, match=r"1258 Normal and 211 Degraded.*100 Normal and 50 Degraded: use split=stratified"
    ):
        split_by_counts(single_images(100, 50), TABLE_I, seed=0)
    with pytest.raises(Refusal, match="make an exact split impossible"):
        split_by_counts(repeated_images([2, 2, 2]), {"train": (2, 1), "val": (1, 0), "test": (1, 1)}, seed=0)


def test_shares_are_of_patients_and_keep_the_mix_of_classes() -> None:
    cohort = single_images(1098, 371)
    side = split_by_fractions(cohort, val_fraction=0.11, test_fraction=0.123, seed=0)
    assert side.value_counts().to_dict() == {"train": 1126, "val": 162, "test": 181}
    for name in TABLE_I:
        assert cohort["label"][side == name].mean() == pytest.approx(371 / 1469, abs=0.005)
    grouped = repeated_images([1, 5, 2] * 50)
    grouped["split"] = split_by_fractions(grouped, val_fraction=0.2, test_fraction=0.2, seed=0)
    assert grouped.groupby("patient_id")["split"].nunique().max() == 1


def test_too_few_patients_of_a_class_for_shares() -> None:
    with pytest.raises(Refusal, match="1 Degraded images: each class needs at least one in each of three splits"):
        split_by_fractions(single_images(10, 1), val_fraction=0.2, test_fraction=0.2, seed=0)


def test_a_finished_runs_split_comes_back_and_its_copies_do_not_count(tmp_path: Path) -> None:
    cohort = single_images(3, 0)
    path = tmp_path / "split.csv"
    path.write_text("image_id,split,origin\np00002,test,\np00000,train,\np00001,val,\np00000+1,train,p00000\n")
    assert split_from_file(cohort, path=str(path), column="split").tolist() == ["train", "val", "test"]
    path.write_text("patient_id,side\np00002,test\np00000,train\np00001,val\n")
    assert split_from_file(cohort, path=str(path), column="side").tolist() == ["train", "val", "test"]
    assert (
        split_from_file(cohort.assign(split=["train", "val", "test"]), path=None, column="split").tolist()[2] == "test"
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("image_id,split\np00000,train\n", "no train, val or test for 2 of 3 images"),
        ("image_id,split\np00000,training\np00001,val\np00002,test\n", "no train, val or test for 1 of 3 images"),
        ("image_id,split\np00000,train\np00000,test\n", "puts p00000 in two splits"),
        ("file,split\nx,train\n", "neither image_id nor patient_id"),
        ("image_id,side\np00000,train\n", "no column split"),
    ],
)
def test_a_split_file_that_does_not_settle_every_image_is_refused(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(Refusal, match=what):
        split_from_file(single_images(3, 0), path=str(tmp_path / "split.csv"), column="split")


def test_a_patient_on_two_sides_is_refused_by_name() -> None:
    table = pd.DataFrame({"patient_id": ["a", "a", "b"], "label": [0, 1, 1], "split": ["train", "test", "test"]})
    with pytest.raises(Refusal, match="1 patients are on two sides") as refusal:
        check_split(table, class_names=NAMES, needed=())
    assert refusal.value.details == ("a",)
    with pytest.raises(Refusal, match="no Normal image in test"):
        check_split(table.iloc[1:], class_names=NAMES, needed=("test",))


def test_the_same_pixels_on_two_sides_or_in_two_classes_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    table = pd.DataFrame(
        {
            "image_id": ["a", "b", "c", "d", "e"],
            "sha256": ["x", "x", "y", "y", "z"],
            "split": ["train", "test", "train", "train", "test"],
            "label": [0, 0, 1, 1, 0],
            "source": [Path(f"{name}.png") for name in "abcde"],
        }
    )
    with pytest.raises(Refusal) as refusal:
        check_pixels(table, class_names=NAMES)
    assert refusal.value.details == ("a.png (Normal, train) = b.png (Normal, test)",)
    check_pixels(table.iloc[2:], class_names=NAMES)
    assert "2 images are pixel by pixel the same as another of their class and split" in caplog.text
    with pytest.raises(Refusal):
        check_pixels(table.iloc[2:].assign(label=[0, 1, 0]), class_names=NAMES)


def test_testing_on_what_was_trained_on_is_refused() -> None:
    seen = pd.DataFrame({"patient_id": ["a", "b"], "sha256": ["x", "y"]})

    def check(patient_id: str, sha256: str, *, by_patient: bool = True) -> None:
        test = pd.DataFrame({"image_id": ["i"], "patient_id": [patient_id], "sha256": [sha256]})
        check_unseen(test, seen, run="r", by_patient=by_patient)

    check("c", "z")
    for known in (("c", "y"), ("a", "z")):
        with pytest.raises(Refusal, match="1 test images, of 1 patients, are among those r was trained") as refusal:
            check(*known)
        assert refusal.value.details == (f"i of patient {known[0]}",)
    check("a", "z", by_patient=False)


def test_each_patient_is_tested_in_exactly_one_fold_and_each_fold_has_the_mix_of_classes() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(100), rng.integers(1, 4, 100))  # one to three images each
    cohort = pd.DataFrame({"patient_id": patients.astype(str), "label": (patients % 5 == 0).astype(int)})
    sides = [split_by_fold(cohort, folds=5, fold=fold, val_fraction=0.2, seed=3) for fold in range(5)]
    tested = pd.concat([cohort["patient_id"][side == "test"].drop_duplicates() for side in sides])
    assert sorted(tested) == sorted(cohort["patient_id"].unique())
    for side in sides:
        assert (cohort.assign(side=side).groupby("patient_id")["side"].nunique() == 1).all()
        of_test = cohort[side == "test"].drop_duplicates("patient_id")["label"]
        assert (of_test.sum(), len(of_test)) == (4, 20)
        assert cohort[side == "val"].drop_duplicates("patient_id")["label"].agg(["sum", "size"]).tolist() == [3, 16]
    assert (split_by_fold(cohort, folds=5, fold=0, val_fraction=0.2, seed=3) == sides[0]).all()
    assert (split_by_fold(cohort, folds=5, fold=0, val_fraction=0.2, seed=4) != sides[0]).any()


def test_too_few_patients_for_folds() -> None:
    cohort = pd.DataFrame({"patient_id": list("abcdefgh"), "label": [0, 0, 0, 0, 1, 1, 1, 1]})
    with pytest.raises(Refusal, match=r"split\.folds=4: 4 Normal images"):
        split_by_fold(cohort, folds=4, fold=0, val_fraction=0.2, seed=0)
    with pytest.raises(Refusal, match=r"split\.val_fraction=0\.05"):
        split_by_fold(cohort, folds=3, fold=0, val_fraction=0.05, seed=0)

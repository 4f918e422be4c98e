"""Controls of a network: measures of images, shuffled labels, parts of images, kept errors."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SMALL, composed, defaults_of
from PIL import Image
from scipy.ndimage import gaussian_filter

from dxa_tbs.config.choices import Fit, Region
from dxa_tbs.data.images import hash_sources, load_images
from dxa_tbs.data.labels import permute_labels
from dxa_tbs.data.measures import keep_region, measure
from dxa_tbs.errors import Refusal
from dxa_tbs.evaluation.metrics import binary_auc
from dxa_tbs.pipeline.experiment import run_experiment
from dxa_tbs.pipeline.results import keep_errors
from dxa_tbs.report.build import write_report
from dxa_tbs.runs.files import read_csv, read_json

NOWHERE = np.full(4, np.nan)
RAMP = np.tile(np.arange(224, dtype=np.uint8), (224, 1))


def test_the_slope_of_a_ramp_is_two_and_grey_levels_are_means() -> None:
    """On a ramp V(k) is proportional to the square of k."""
    found = measure(RAMP, np.array([64.0, 20, 144, 180]))
    assert found["variogram_slope"] == pytest.approx(2, abs=0.05)  # pairs down and across differ in number
    assert found["background_slope"] == pytest.approx(2, abs=0.05)
    assert found["grey"] == pytest.approx(RAMP.mean())
    assert found["vertebrae_grey"] == pytest.approx(np.arange(64, 144).mean())
    assert found["background_grey"] == pytest.approx(np.r_[:64, 144:224].mean())


def test_the_slope_is_measured_only_in_the_middle_of_each_vertebra() -> None:
    rng = np.random.default_rng(0)
    fine, coarse = (gaussian_filter(rng.normal(size=(224, 224)), sigma) for sigma in (0.5, 3))
    fine, coarse = (np.uint8(128 + 40 * field / field.std()) for field in (fine, coarse))
    box = np.array([60.0, 0, 160, 224])
    image = fine.copy()
    for level in range(4):
        image[level * 56 + 14 : level * 56 + 42, 85:135] = coarse[level * 56 + 14 : level * 56 + 42, 85:135]
    mixed, alone = measure(image, box), measure(coarse, box)
    assert mixed["variogram_slope"] == pytest.approx(alone["variogram_slope"])
    assert mixed["variogram_slope"] > measure(fine, box)["variogram_slope"] + 0.5


def test_without_a_box_the_whole_window_is_measured_and_a_flat_image_has_no_slope() -> None:
    found = measure(RAMP, NOWHERE)
    assert found["variogram_slope"] == pytest.approx(2)
    assert np.isnan(found["background_slope"])
    assert np.isnan(measure(np.full((224, 224), 7, np.uint8), NOWHERE)["variogram_slope"])


def test_regions_are_the_box_and_the_background_beside_it() -> None:
    box = np.array([30.0, 20, 144, 180])
    vertebrae, background = (keep_region(RAMP, box, region) for region in (Region.vertebrae, Region.background))
    assert (vertebrae[20:180, 30:144] == RAMP[20:180, 30:144]).all()
    assert vertebrae.sum() == RAMP[20:180, 30:144].sum()
    assert not background[:, 30:144].any()
    assert background.sum() == RAMP[:, :30].sum() + RAMP[:, 144:].sum()


def test_parts_of_images_need_a_box_around_the_vertebrae(tmp_path: Path) -> None:
    Image.fromarray(np.tile(RAMP, (2, 2))).save(tmp_path / "a.png")
    table = pd.DataFrame({"image_id": ["a"], "source": [tmp_path / "a.png"]})
    with pytest.raises(Refusal, match=r"preprocessing\.region=vertebrae: 1 of 1 images have no box around L1-L4"):
        load_images(
            table,
            hash_sources(table),
            fit=Fit.crop,
            size_px=224,
            bits=None,
            cache_dir=tmp_path,
            region=Region.vertebrae,
        )


def test_a_box_is_followed_through_crop_and_resize(tmp_path: Path) -> None:
    frame = np.zeros((280, 300), np.uint8)
    frame[60:220, 110:190] = 200
    Image.fromarray(frame).save(tmp_path / "a.png")
    roi = {"roi_x0": 110.0, "roi_y0": 60.0, "roi_x1": 190.0, "roi_y1": 220.0}
    table = pd.DataFrame({"image_id": ["a"], "source": [tmp_path / "a.png"], **roi})
    for fit, tolerance in ((Fit.crop, 0), (Fit.resize, 12)):
        images = load_images(table, hash_sources(table), fit=fit, size_px=224, bits=None, cache_dir=tmp_path)
        assert images.measures["vertebrae_grey"][0] == pytest.approx(200, abs=tolerance)
        assert images.measures["background_grey"][0] == pytest.approx(0, abs=tolerance)


def test_labels_are_shuffled_among_patients_with_equally_many_images() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat([f"p{number}" for number in range(60)], [1] * 30 + [3] * 30)
    of_patient = dict(zip(dict.fromkeys(patients), rng.integers(0, 2, 60), strict=True))
    cohort = pd.DataFrame({"patient_id": patients, "label": [of_patient[name] for name in patients], "tbs": 1.2})
    cohort["split"] = np.where(cohort["patient_id"].str[1:].astype(int) % 3 == 0, "test", "train")
    cohort = cohort.sample(frac=1, random_state=1, ignore_index=True)
    shuffled = permute_labels(cohort, seed=0)
    assert shuffled["label"].sum() == cohort["label"].sum()
    assert shuffled["tbs"].isna().all()
    assert (shuffled.groupby("patient_id")["label"].nunique() == 1).all()
    sizes = cohort.groupby("patient_id")["label"].transform("size")
    for size, split in itertools.product((1, 3), ("train", "test")):
        block = (sizes == size) & (cohort["split"] == split)
        assert shuffled["label"][block].sum() == cohort["label"][block].sum()
    assert 0.3 < (shuffled["label"] == cohort["label"]).mean() < 0.7
    assert permute_labels(cohort, seed=0).equals(shuffled)
    assert not permute_labels(cohort, seed=1).equals(shuffled)


def test_kept_errors_are_the_wrong_calls_nearest_to_and_farthest_from_the_threshold(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 224, 224), dtype=np.uint8)
    scored = pd.DataFrame({"image_id": [f"i{number:02}" for number in range(40)], "split": "test"})
    scored["label"], scored["score"] = rng.integers(0, 2, 40), rng.random(40)
    keep_errors(tmp_path, scored, pixels.__getitem__, threshold=0.5, shown=3)
    errors = read_csv(tmp_path / "errors.csv")
    for kind, label, wrong in (
        ("false_positive", 0, scored["score"] >= 0.5),
        ("false_negative", 1, scored["score"] < 0.5),
    ):
        distance = (scored[wrong & (scored["label"] == label)]["score"] - 0.5).abs().sort_values().tolist()
        assert len(distance) > 6
        for place, expected in (("nearest", distance[:3]), ("farthest", distance[:-4:-1])):
            mine = errors[(errors["kind"] == kind) & (errors["place"] == place)]
            assert (mine["score"] - 0.5).abs().tolist() == pytest.approx(expected)
            for row in mine.itertuples():
                with Image.open(tmp_path / row.file) as thumbnail:
                    assert (thumbnail.size, thumbnail.mode) == ((112, 112), "L")
                    whole = pixels[int(row.image_id[1:])].reshape(112, 2, 112, 2).mean(axis=(1, 3))
                    assert np.abs(np.asarray(thumbnail) - whole).max() <= 1
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    keep_errors(nothing, scored, pixels.__getitem__, threshold=0.5, shown=0)
    assert [path.name for path in nothing.iterdir()] == ["errors.csv"]


def test_labels_that_cannot_be_exchanged_are_refused() -> None:
    patients = np.repeat(np.arange(12).astype(str), np.arange(1, 13))
    cohort = pd.DataFrame({"patient_id": patients, "label": 0, "tbs": 1.3, "split": "train"})
    with pytest.raises(Refusal, match=r"labels\.permuted_seed=0: 78 of 78 images"):
        permute_labels(cohort, seed=0)


def test_if_one_image_has_no_box_all_whole_windows_are_measured(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "ab":
        Image.fromarray(rng.integers(0, 256, (280, 300), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    table = pd.DataFrame({"image_id": ["a", "b"], "source": [tmp_path / "a.png", tmp_path / "b.png"]})
    for column, value in (("roi_x0", 110.0), ("roi_y0", 60.0), ("roi_x1", 190.0), ("roi_y1", 220.0)):
        table[column] = [value, np.nan]
    images = load_images(table, hash_sources(table), fit=Fit.crop, size_px=224, bits=None, cache_dir=tmp_path)
    assert images.measures["vertebrae_grey"].isna().all()
    assert images.measures["variogram_slope"][0] == pytest.approx(measure(images.pixels[0], NOWHERE)["variogram_slope"])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """An experiment and two of its controls."""
    root = tmp_path_factory.mktemp("runs")
    for typed in ([], ["labels.permuted_seed=0"], ["preprocessing.region=vertebrae"]):
        config = composed(*SMALL, *typed, f"output_root={root}", f"cache_dir={cache_dir}")
        run_experiment(config, defaults=defaults_of([*SMALL, *typed]))
    write_report(root)
    return root


@pytest.mark.slow
def test_shuffled_labels_come_near_one_half_on_validation_too(tmp_path: Path, cache_dir: Path) -> None:
    """The paper's augmentation reveals the classes, because most of the interpolated images are Degraded."""
    few = ["dataset.num_normal=320", "dataset.num_degraded=160", "split=stratified", "split.val_fraction=0.5"]
    typed = [*few, "model=model1", "optimizer=adamw", "optimizer.lr=0.0003", "trainer.epochs=8"]
    typed.append("labels.permuted_seed=0")
    config = composed(*typed, f"output_root={tmp_path}", f"cache_dir={cache_dir}")
    run_dir = run_experiment(config, defaults=defaults_of(typed))
    scored, facts = read_csv(run_dir / "predictions.csv"), read_json(run_dir / "metrics.json")
    with_copies = scored[scored["split"] == "val"]
    assert binary_auc(with_copies["label"].to_numpy(), with_copies["score"].to_numpy()) > 0.65
    assert facts["val"]["at_fixed"]["auc"] == pytest.approx(0.5, abs=0.13)  # 3 standard errors at 160 + 80
    told = read_csv(run_dir / "history.csv")["val_originals_auc"][facts["tested_epoch"] - 1]
    assert told == pytest.approx(facts["val"]["at_fixed"]["auc"])


@pytest.mark.slow
def test_controls_appear_below_the_tables_and_nowhere_else(root: Path) -> None:
    controls = pd.read_csv(root / "tables/sanity.csv")["control"].dropna().drop_duplicates().tolist()
    assert set(controls) == {"permuted labels", "vertebrae alone"}
    assert pd.read_csv(root / "tables/table_v.csv")["run"].nunique() == 1
    assert len(pd.read_csv(root / "tables/runs.csv")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["exact", "phantom_null"])
def test_baselines_find_the_signal_and_only_where_there_is_one(tmp_path: Path, cache_dir: Path, dataset: str) -> None:
    """With exact labels the slope of the variogram separates the classes; without signal no baseline does."""
    typed = ["dataset.tbs_reader_sd=0"] if dataset == "exact" else ["dataset=phantom_null"]
    typed += ["dataset.num_normal=240", "dataset.num_degraded=80", "split=stratified", "split.test_fraction=0.5"]
    typed += ["split.val_fraction=0.1", "model=model3", "trainer.epochs=1", "augmentation=none"]
    for control in ([], ["labels.permuted_seed=0"]):
        everything = [*typed, *control]
        config = composed(*everything, f"output_root={tmp_path}", f"cache_dir={cache_dir}")
        run_experiment(config, defaults=defaults_of(everything))
    write_report(tmp_path)
    table = pd.read_csv(tmp_path / "tables/sanity.csv").query("metric == 'auc'")
    chance = table if dataset == "phantom_null" else table[table["control"] == "permuted labels"]
    assert (len(table), len(chance)) == (7, 7 if dataset == "phantom_null" else 1)
    assert chance["value"].to_numpy() == pytest.approx(0.5, abs=0.12)
    if dataset == "exact":
        value = table.set_index("experiment")["value"]
        assert value["variogram slope"] == pytest.approx(0.94, abs=0.04)  # 160 test images
        assert value["background alone: grey level and slope"] < 0.75

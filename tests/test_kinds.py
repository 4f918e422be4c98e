"""The settings of a kind reach its function; one module and one YAML file add a network, task, dataset or loss."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toys.dataset
import toys.loss
import toys.network
import toys.tasks
from conftest import composed
from hydra import compose
from PIL import Image
from scipy.stats import pearsonr
from toys.network import TinyConfig

from dxa_tbs.config.checks import check_config
from dxa_tbs.config.compose import default_settings, load_config, take_over_training
from dxa_tbs.config.kinds import KINDS, Kind, own_settings, register_kind, resolve
from dxa_tbs.config.schema import Config
from dxa_tbs.errors import Refusal
from dxa_tbs.pipeline.experiment import run_experiment
from dxa_tbs.pipeline.results import watched_loss
from dxa_tbs.report.build import write_report
from dxa_tbs.runs.identity import read_config
from dxa_tbs.runs.records import read_history, read_metrics, read_predictions, read_split
from dxa_tbs.tasks.losses import cross_entropy

NUM_IMAGES = 60
SEARCHPATH = f"hydra.searchpath=[file://{(Path(__file__).parent / 'toys/conf').as_posix()}]"
FUNCTIONS = {f"{group}={name}": kind for group, kinds in KINDS.items() for name, kind in kinds.items() if kind.function}


@pytest.mark.parametrize("kind", FUNCTIONS.values(), ids=FUNCTIONS)
def test_every_setting_that_a_kind_declares_is_an_argument_of_its_function(kind: Kind) -> None:
    inherited = {name for base in kind.schema.__mro__[1:] for name in getattr(base, "__annotations__", {})}
    own = set(inspect.get_annotations(kind.schema)) - inherited
    assert own <= set(inspect.signature(resolve(kind.function)).parameters)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of images whose brightness shows the class and, approximately, the TBS."""
    folder, rng = tmp_path_factory.mktemp("named"), np.random.default_rng(0)
    for number in range(NUM_IMAGES):
        label = number % 3
        pixels = rng.integers(60 * label, 60 * label + 60, (224, 224), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{label}_{number:03}_{1 + 0.2 * label + 0.1 * rng.random():.3f}.png")
    return folder


def configured(images: Path, root: Path, *typed: str) -> Config:
    config = composed(
        SEARCHPATH,
        *("model=tiny", "dataset=named", f"dataset.folder={images.as_posix()}", "augmentation=none"),
        *("split=stratified", "split.val_fraction=0.25", "split.test_fraction=0.25"),
        *(f"output_root={root}", f"cache_dir={root}/cache", "trainer.device=cpu", "trainer.precision=fp32"),
        *typed,
    )
    check_config(config)
    return config


@pytest.mark.slow
def test_three_classes_and_values_are_trained_by_the_same_loop(images: Path, tmp_path: Path) -> None:
    steps = ("trainer.epochs=60", "trainer.patience=null", "trainer.batch_size=8")
    classes = run_experiment(configured(images, tmp_path, "task=three_classes", "optimizer.lr=0.02", *steps))
    found = read_predictions(classes)
    assert list(found.columns) == ["image_id", "split", "label", "score_low", "score_middle", "score_high"]
    scores = found.filter(like="score_").to_numpy()
    assert scores.sum(axis=1) == pytest.approx(1)
    test = (found["split"] == "test").to_numpy()
    accuracy = (scores.argmax(axis=1) == found["label"])[test].mean()
    assert accuracy > 0.8
    assert read_metrics(classes)["test"] == {"accuracy": pytest.approx(accuracy)}
    assert read_metrics(classes)["num_images"]["test"]["middle_original"] == (found["label"] == 1)[test].sum()

    values = run_experiment(configured(images, tmp_path, "task=regression", "loss=capped", "optimizer.lr=0.01", *steps))
    found = read_predictions(values)
    assert list(found.columns) == ["image_id", "split", "tbs", "predicted_tbs"]
    test = (found["split"] == "test").to_numpy()
    r = pearsonr(found["tbs"][test].astype(float), found["predicted_tbs"][test]).statistic
    assert r > 0.8
    assert read_metrics(values)["test"] == {"r": pytest.approx(r)}
    history = pd.read_csv(values / "history.csv")
    assert history["watched_loss"].iloc[-1] < history["watched_loss"].iloc[0]
    assert history["val_originals_r"].iloc[-1] > 0.8
    assert watched_loss(values) == pytest.approx(history["watched_loss"].min())


def test_an_evaluation_asks_the_task_of_the_run(images: Path, tmp_path: Path) -> None:
    run_dir = run_experiment(configured(images, tmp_path, "task=three_classes", "trainer.epochs=2"))
    typed = [f"evaluate={run_dir}", f"output_root={tmp_path}", f"cache_dir={tmp_path}/cache", "name=again"]
    cfg = compose("config", overrides=[SEARCHPATH, *typed])
    take_over_training(cfg, read_config(run_dir), typed)
    again = run_experiment(load_config(cfg))
    columns = ["score_low", "score_middle", "score_high"]
    assert read_predictions(again)[columns].equals(read_predictions(run_dir)[columns])


@pytest.mark.slow
def test_a_network_and_a_dataset_from_outside_reach_the_report(images: Path, tmp_path: Path) -> None:
    """The binary task gets the images of two classes only."""
    two = tmp_path / "two"
    two.mkdir()
    for path in images.glob("[01]_*.png"):
        (two / path.name).write_bytes(path.read_bytes())
    binary = run_experiment(configured(two, tmp_path, "trainer.epochs=2"))
    other = run_experiment(configured(images, tmp_path, "task=three_classes", "trainer.epochs=1"))
    assert set(read_split(binary)["label"]) == {0, 1}
    assert len(read_history(binary).epochs) == 2
    text = write_report(tmp_path / "runs")
    assert "tiny adhoc" in text
    name = other.relative_to(tmp_path / "runs")
    assert f"of another task (three_classes), which these tables do not have: {name}" in text


def test_the_settings_of_a_kind_from_outside_are_part_of_its_identity(images: Path, tmp_path: Path) -> None:
    one, two = (
        run_experiment(configured(images, tmp_path, "task=regression", "loss=capped", "trainer.epochs=1", *typed))
        for typed in ((), ("loss.cap=2",))
    )
    assert one != two


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["optimizer.lr=0"], r"optimizer\.lr=0"),
        (["model.weights=weights.pt"], r"model\.weights=weights\.pt: tiny is trained from scratch"),
        (["approach=head"], "approach=head: retrains the last layer of an ImageNet network, which tiny is not"),
        (["loss=cross_entropy"], "loss=cross_entropy: needs classes, and task=regression has none"),
        (["loss=focal"], "loss=focal: needs classes, and task=regression has none"),
        (["sampling=balanced"], "sampling=balanced: needs classes, and task=regression has none"),
        (["augmentation=paper"], "augmentation=paper: sets the copies of 2 classes, and task=regression has 0"),
        (["task=binary", "loss=cross_entropy"], "task=binary: a label is 2, and its classes are Normal, Degraded"),
    ],
)
def test_settings_that_do_not_suit_a_kind_are_refused(
    typed: list[str], told: str, images: Path, tmp_path: Path
) -> None:
    with pytest.raises(Refusal, match=told):
        run_experiment(configured(images, tmp_path, "task=regression", "loss=capped", *typed))


def test_a_kind_is_known_by_its_name_and_its_schema() -> None:
    with pytest.raises(ValueError, match="model: twin has the name or the schema of tiny"):
        register_kind("model", "twin", Kind(TinyConfig, "toys.network:build_tiny"))
    with pytest.raises(ValueError, match="model: adhoc has the name or the schema of adhoc"):
        register_kind("model", "adhoc", Kind(TinyConfig, "toys.network:build_tiny"))
    register_kind("model", "tiny", KINDS["model"]["tiny"])  # a module imported again
    with pytest.raises(Refusal, match=r"toys\.network:nothing cannot be imported"):
        resolve("toys.network:nothing")


def test_a_task_has_as_many_outputs_as_its_loss_needs() -> None:
    task = toys.tasks.three_classes(loss=cross_entropy)
    with pytest.raises(AssertionError, match="one output per class"):
        dataclasses.replace(task, num_outputs=1)  # three classes through a sigmoid would give a loss without a word
    assert dataclasses.replace(task, class_names=("Low", "High"), num_outputs=1).num_outputs == 1


def test_a_kind_derived_from_another_is_given_the_settings_of_both() -> None:
    @dataclass
    class WiderConfig(TinyConfig):
        factor: int = 2

    register_kind("model", "wider", Kind(WiderConfig, "toys.network:build_tiny"))
    try:
        wider = WiderConfig(name="wider", weights="none", input_mean=[0.0], input_std=[1.0], width=3, factor=5)
        assert own_settings(wider) == {"width": 3, "factor": 5}
    finally:
        del KINDS["model"]["wider"]


def test_networks_from_outside_are_found_by_a_run_from_a_notebook(images: Path, tmp_path: Path) -> None:
    typed = ["task=regression", "loss=capped", "trainer.epochs=1"]
    config = configured(images, tmp_path, *typed)
    assert default_settings({"model": "tiny"}, [SEARCHPATH])["model"]["width"] == 4
    assert run_experiment(
        config, defaults=default_settings({"model": "tiny", "dataset": "named"}, [SEARCHPATH])
    ).is_dir()

"""Shared by all tests: configurations as the command line composes them, and small phantom cohorts."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

from dxa_tbs.config.compose import chosen_options, default_settings, load_config
from dxa_tbs.config.kinds import register_schemas
from dxa_tbs.config.schema import Config, conf_dir

if TYPE_CHECKING:
    from dxa_tbs.pipeline.prepare import ImageSet

SMALL = (
    "dataset.num_normal=40",
    "dataset.num_degraded=20",
    "split=stratified",
    "split.val_fraction=0.2",
    "split.test_fraction=0.2",
    "model=model3",
    "trainer.epochs=1",
    "trainer.device=cpu",
)


@pytest.fixture(scope="session", autouse=True)
def hydra_initialised() -> Iterator[None]:
    register_schemas()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def composed(*overrides: str) -> Config:
    return copy.deepcopy(_composed(overrides))


@functools.lru_cache(maxsize=64)
def _composed(overrides: tuple[str, ...]) -> Config:
    return load_config(compose("config", overrides=list(overrides)))


def image_set(pixels: np.ndarray, labels: np.ndarray, *, num_train: int) -> ImageSet:
    """Return images as training gets them, the first of them to train on, the others to validate on."""
    from dxa_tbs.pipeline.prepare import ImageSet

    split = np.where(np.arange(len(labels)) < num_train, "train", "val")
    names = [f"image{row}" for row in range(len(labels))]
    table = pd.DataFrame({"image_id": names, "split": split, "label": labels, "origin": "", "sha256": names})
    return ImageSet(table, pixels)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """Return the folder of a finished run, five levels below its output root; not to be changed."""
    from dxa_tbs.pipeline.experiment import run_experiment  # here: most tests need no pandas

    typed = [f"output_root={tmp_path_factory.mktemp('outputs')}", f"cache_dir={cache_dir}", *SMALL]
    return run_experiment(composed(*typed), defaults=defaults_of(typed))


def run(*typed: str) -> Path:
    """Run what the command line would run with these settings, from Python; return the run folder."""
    import dxa_tbs

    return dxa_tbs.train(dxa_tbs.compose(typed)).folder


def defaults_of(typed: Sequence[str]) -> dict[str, Any]:
    """Return what the entries hand to a run for the name of its folder."""
    return copy.deepcopy(_defaults(tuple(sorted(chosen_options(typed).items()))))


@functools.cache
def _defaults(chosen: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    return default_settings(dict(chosen))

"""The verbs for a notebook or a script: each takes values and returns values.

Run an experiment as on the command line, in the same folder, and read its results:

>>> from dxa_tbs.notebook import compose, predict, prepare, read_metrics, run, test, train
>>> run_dir = run("model=model3", "dataset.num_normal=40", "dataset.num_degraded=20", "split=stratified",
...               "split.val_fraction=0.2", "split.test_fraction=0.2", "trainer.epochs=2")
>>> sorted(read_metrics(run_dir)["test"]["at_fixed"])[:3]
['accuracy', 'auc', 'auc_hard']

Do the same step by step; only the cache of images is written:

>>> config = compose("model=model3", "dataset.num_normal=40", "dataset.num_degraded=20", "split=stratified",
...                  "split.val_fraction=0.2", "split.test_fraction=0.2", "trainer.epochs=2")
>>> prepared = prepare(config)
>>> trained = train(prepared.development, config)
>>> list(trained.history.columns[:4])
['epoch', 'train_loss', 'watched_loss', 'val_originals_loss']
>>> scores = test(trained, prepared)
>>> list(scores.columns)
['image_id', 'split', 'label', 'score']

Score other images with a finished run:

>>> predict(run_dir, prepared.test.pixels).shape
(12, 2)
"""

from __future__ import annotations

from pathlib import Path

from dxa_tbs.config.compose import compose_settings, defaults_of
from dxa_tbs.config.schema import Config
from dxa_tbs.pipeline.configure import configure
from dxa_tbs.pipeline.experiment import run_experiment
from dxa_tbs.pipeline.predict import predict
from dxa_tbs.pipeline.prepare import prepare
from dxa_tbs.pipeline.test import test
from dxa_tbs.pipeline.train import train
from dxa_tbs.progress import OnProgress, ignore_progress
from dxa_tbs.runs.records import read_metrics

__all__ = ["compose", "predict", "prepare", "read_metrics", "run", "test", "train"]


def compose(*overrides: str) -> Config:
    """Return the checked configuration that `python -m dxa_tbs.train <overrides>` would run.

    Raises:
        Refusal: a setting cannot be used.
        hydra.errors.HydraException: there is no such setting or option.
    """
    cfg, choices = compose_settings(overrides)
    return configure(cfg, choices, overrides)


def run(*overrides: str, on_progress: OnProgress = ignore_progress) -> Path:
    """Train and test like `python -m dxa_tbs.train <overrides>`, unless the run is finished; return the run folder.

    Raises:
        Refusal: a setting, the data, the weights or the device cannot be used.
        hydra.errors.HydraException: there is no such setting or option.
    """
    return run_experiment(compose(*overrides), defaults=defaults_of(overrides), on_progress=on_progress)

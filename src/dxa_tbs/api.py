"""dxa_tbs from Python: compose, train, load_run and load_study, which `dxa_tbs` itself exports.

>>> import dxa_tbs
>>> config = dxa_tbs.compose(["model=model3", "dataset.num_normal=40", "dataset.num_degraded=20", "split=stratified",
...                           "split.val_fraction=0.2", "split.test_fraction=0.2", "trainer.epochs=2"])
>>> run = dxa_tbs.train(config)
>>> sorted(run.metrics["test"]["at_fixed"])[:3]
['accuracy', 'auc', 'auc_hard']
>>> list(run.history.columns[:4])
['epoch', 'train_loss', 'watched_loss', 'val_loss']
>>> study = dxa_tbs.load_study("outputs")
>>> study[study["metric"] == "auc"][["experiment", "seeds", "n"]].to_dict("records")
[{'experiment': 'model3 adhoc', 'seeds': 1, 'n': 12}]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from dxa_tbs.config.answers import explain
from dxa_tbs.config.checks import NAMED_GROUPS
from dxa_tbs.config.compose import compose_settings, defaults_of, settings_of
from dxa_tbs.config.composed import Origin, check_again, with_origin
from dxa_tbs.config.schema import Config, conf_dir
from dxa_tbs.errors import Refusal
from dxa_tbs.pipeline.configure import configure, refuse_what_is_fixed
from dxa_tbs.progress import OnProgress, ignore_progress
from dxa_tbs.runs.folder import state_of
from dxa_tbs.runs.identity import read_config
from dxa_tbs.runs.records import read_history, read_metrics, read_predictions

if TYPE_CHECKING:  # slow to import
    import numpy as np
    import pandas as pd

SEARCHPATH = "hydra.searchpath"


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run, as its folder held it when it was loaded.

    Attributes:
        folder: the run folder.
        config: its settings; `dxa_tbs.train` takes them, also after a change.
        metrics: contents of metrics.json. metrics["test"]["at_fixed"]["auc"] is the AUC of the test images.
        history: one row per epoch: epoch, train_loss, watched_loss, val_loss, val_auc, lr, train_s, val_s; None for an
            evaluation.
        predictions: image_id, split, label and score of each validation and test image.
    """

    folder: Path
    config: Config = field(repr=False)
    metrics: dict[str, Any] = field(repr=False)
    history: pd.DataFrame | None = field(repr=False)
    predictions: pd.DataFrame = field(repr=False)

    def predict(self, images: np.ndarray | Sequence[str | Path], **settings: Any) -> pd.DataFrame:
        """Return the scores of other images, see `dxa_tbs.pipeline.predict.predict`, which also takes `settings`.

        Raises:
            Refusal: the run is an evaluation or was damaged, or an image cannot be used.
        """
        from dxa_tbs.pipeline.predict import predict

        return predict(self.folder, images, **settings)


def compose(overrides: Sequence[str] = ()) -> Config:
    """Return the checked configuration that `python -m dxa_tbs.train <overrides>` would run.

    Its attributes may be changed (`config.seed = 3`): `train` checks it again. Settings that are derived from others,
    such as cache_dir from output_root, do not follow a change of these: compose anew.

    Args:
        overrides: as on the command line, such as ["model=model3", "trainer.epochs=20"].

    Raises:
        Refusal: there is no such setting or option, or a value cannot be used.
    """
    if isinstance(overrides, str):
        raise Refusal(f'overrides="{overrides}": is not a list: give ["{overrides}"]')
    searchpath = tuple(text for text in overrides if text.startswith(SEARCHPATH))
    for text in overrides:
        if text.startswith("hydra") and text not in searchpath:
            raise Refusal(f"{text}: has no effect from Python: drop it")
    try:
        cfg, choices = compose_settings(overrides)
        config = configure(cfg, choices, overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise Refusal(explain(error, [conf_dir()])) from None
    of_folder = {group: choices[group] for group in ("dataset", "experiment") if choices.get(group)}
    return with_origin(config, Origin(_names(config) | of_folder, searchpath))


def train(config: Config, *, on_progress: OnProgress = ignore_progress) -> Run:
    """Train and test, or evaluate, like `python -m dxa_tbs.train`, in the same run folder; return the run.

    A finished run is not trained again: it is loaded.

    Args:
        config: from `compose` or `Run.config`; its attributes may have been changed.
        on_progress: called with a `dxa_tbs.progress.Progress` again and again.

    Raises:
        Refusal: a setting, the data, the weights or the device cannot be used, or the folder holds another run.
    """
    checked, origin = check_again(config)
    refuse_what_is_fixed(checked, origin)
    from dxa_tbs.pipeline.experiment import run_experiment

    defaults = defaults_of(origin.options, origin.searchpath)
    return load_run(run_experiment(checked, defaults=defaults, on_progress=on_progress))


def load_run(path: str | Path) -> Run:
    """Return a finished run.

    Args:
        path: the run folder.

    Raises:
        Refusal: there is no run, or it is unfinished, damaged, or of a newer version of dxa_tbs.
    """
    from dxa_tbs.verification.seal import require_intact

    folder = Path(path)
    if (state := state_of(folder)) != "finished":
        told = "holds no run: give the folder of a run" if state == "to do" else f"is {state}: finish the run first"
        raise Refusal(f"{folder}: {told}")
    require_intact(folder)
    config = settings_of(read_config(folder))
    metrics = read_metrics(folder)
    return Run(
        folder=folder,
        config=with_origin(config, Origin(_names(config) | {"dataset": config.dataset.name}, run=str(folder))),
        metrics=metrics,
        history=None if "evaluated_run" in metrics else read_history(folder).epochs,
        predictions=read_predictions(folder),
    )


def load_study(root: str | Path, *, partial: bool = False) -> pd.DataFrame:
    """Return the results of all experiments below a folder, as in the report's tables; nothing is written.

    An experiment consists of the runs that differ only in their seed or fold. The frame has one row per experiment and
    metric, and these columns:

        experiment: its name, such as "model3 adhoc".
        approach, model: of its configuration.
        metric: tp, fp, tn, fn, accuracy, sensitivity, specificity, f1, auc, auc_hard, mcc (test images, fixed
            threshold), or time_10_epochs_s.
        value: the mean over seeds; NaN if undefined.
        low, high: its 95 % interval, see docs/statistics.md; NaN for counts and times.
        seeds: the number of trainings.
        n: the number of test images.
        marks: letters of its footnotes in the report, which say what was not done as in the paper.
        folder: of its first run, relative to `root`.

    Controls are left out.

    Args:
        root: the folder that contains the runs.
        partial: leave out runs that are unfinished, damaged or of another task, and name them in
            frame.attrs["left_out"].

    Raises:
        Refusal: there is no finished run; or, unless `partial`, a run would be left out.
    """
    from dxa_tbs.report.numbers.results import all_results
    from dxa_tbs.report.outputs import find_experiments

    found = find_experiments(Path(root))
    if found.left_out and not partial:
        raise Refusal(
            f"{root}: {len(found.left_out)} of its runs cannot be used ({found.left_out[0]}): finish them or move them "
            "away, or give partial=True",
            found.left_out[1:],
        )
    frame = all_results(found.experiments)
    frame.attrs["left_out"] = found.left_out
    return frame


def _names(config: Config) -> dict[str, str]:
    """Return the option of each group that has the name of its option."""
    return {group: getattr(config, group).name for group in NAMED_GROUPS}

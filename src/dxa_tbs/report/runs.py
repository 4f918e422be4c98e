"""Finished runs, each read from its folder. Never imports torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dxa_tbs.evaluation.calibration import apply_temperature, fit_temperature
from dxa_tbs.evaluation.metrics import best_f1_threshold, binary_auc
from dxa_tbs.hashes import sha256_of_table
from dxa_tbs.report.patients import read_patients
from dxa_tbs.runs.files import METRICS_JSON
from dxa_tbs.runs.identity import WITHOUT_EFFECT, flatten, flatten_without, read_config
from dxa_tbs.runs.records import read_environment, read_metrics, read_predictions, read_timing

NEEDED_FACTS = (  # of metrics.json, which tables and figures rely on
    *("data_sha256", "weights_sha256", "initialisation", "synthetic", "trainable_parameters", "num_images"),
    *("thresholds", "warnings"),
)
NOT_OF_THE_EXPERIMENT = (
    *WITHOUT_EFFECT,
    "seed",
    "split.fold",
    "trainer.device",
    "model.weights",
)


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        folder: relative to the outputs.
        config, facts, timing, environment: contents of config.yaml, metrics.json, timing.json and environment.json.
        test: one row per test image, with image_id, patient_id, label, tbs, subgroup columns, score, `tempered` (the
            score after temperature scaling, NaN without validation images) and `threshold` (best F1 on the validation
            originals).
        patients_sha256: of image, patient and split of all originals, whatever their labels.
        temperature: fitted on the validation originals.
        val_auc: AUC on the validation originals.
        identity: equal for two runs that are repeats of one experiment.
    """

    folder: str
    config: dict[str, Any]
    facts: dict[str, Any]
    timing: dict[str, Any]
    environment: dict[str, Any]
    test: pd.DataFrame
    patients_sha256: str
    temperature: float
    val_auc: float
    identity: str

    @property
    def settings(self) -> dict[str, Any]:
        """Return all settings under dotted keys: trainer.epochs."""
        return flatten(self.config)

    @property
    def has_val_copies(self) -> bool:
        """Return whether the validation set of the training held augmented copies."""
        return any(self.config["augmentation"][f"copies_per_{name}"] > 0 for name in ("normal", "degraded"))

    @property
    def threshold_saw_copies(self) -> bool:
        """Return whether this is an evaluation with a threshold that version 0.1.0 chose on augmented copies too."""
        return "evaluated_run" in self.facts and "threshold_of" not in self.facts and self.has_val_copies


def read_run(root: Path, run_dir: Path) -> Run:
    """Return a finished run.

    Raises:
        LookupError, ValueError, TypeError, AttributeError, OSError: a file is missing, or holds something else.
    """
    facts, config, environment = read_metrics(run_dir), read_config(run_dir), read_environment(run_dir)
    if lacking := [key for key in NEEDED_FACTS if key not in facts]:
        raise LookupError(f"{METRICS_JSON} lacks {', '.join(lacking)}")
    patients = read_patients(run_dir)
    originals = patients[patients["origin"] == ""][["image_id", "patient_id", "split"]].sort_values("image_id")
    scored = read_predictions(run_dir).merge(
        patients.drop(columns=["split", "label", "sha256"]), on="image_id", validate="one_to_one"
    )
    val = scored[(scored["split"] == "val") & (scored["origin"] == "")]
    val_labels, val_scores = val["label"].to_numpy(), val["score"].to_numpy()
    temperature = fit_temperature(val_labels, val_scores) if len(val) else math.nan
    threshold = facts["thresholds"]["val_f1"]
    if "evaluated_run" not in facts and val_labels.any():  # version 0.1.0 chose its threshold on copies too
        threshold = best_f1_threshold(val_labels, val_scores)
    test = scored[scored["split"] == "test"].drop(columns=["split", "origin"])
    test = test.assign(tempered=apply_temperature(test["score"].to_numpy(), temperature), threshold=threshold)
    return Run(
        folder=run_dir.relative_to(root).as_posix(),
        config=config,
        facts=facts,
        timing=read_timing(run_dir),
        environment=environment,
        test=test.sort_values("image_id", ignore_index=True),
        patients_sha256=sha256_of_table(originals),
        temperature=temperature,
        val_auc=binary_auc(val_labels, val_scores),
        identity=experiment_identity(config, facts, environment),
    )


def experiment_identity(config: Mapping[str, Any], facts: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    """Return what the repeats of an experiment have in common: all settings but the seed, data, weights and own code.

    Evaluations of two runs are two experiments: their weights differ.
    """
    settings = flatten_without(NOT_OF_THE_EXPERIMENT, config)
    settings["data"] = facts["cohort_sha256"] if "fold" in config["split"] else facts["data_sha256"]
    settings["weights"] = facts["weights_sha256"]
    settings["initial"] = facts["initialisation"]
    settings["initial_sha256"] = environment.get("weights", {}).get("initial_sha256")  # a library may change its file
    settings["code"] = facts.get("code_sha256", {})
    return json.dumps(settings, sort_keys=True)

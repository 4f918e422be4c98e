"""Whether the records of a run of version 0.1.0, which carries no digests, agree with one another.

Only values that such a run wrote twice, or that can be computed again, are checked. An edited age or loss of an epoch
goes unnoticed, which is why the report calls these runs unverified.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dxa_tbs.evaluation.metrics import best_f1_threshold, binary_auc
from dxa_tbs.evaluation.rates import counts, metrics_of_counts
from dxa_tbs.runs.files import (
    CONFIG_YAML,
    ENVIRONMENT_JSON,
    ERRORS,
    ERRORS_CSV,
    HISTORY_CSV,
    LAYERS_CSV,
    MEASURES_CSV,
    METRICS_JSON,
    PREDICTIONS_CSV,
    SPLIT_CSV,
    TIMING_JSON,
    read_json,
)
from dxa_tbs.runs.identity import read_config
from dxa_tbs.runs.records import COLUMNS_OF_0_1_0

Records = Mapping[str, Any]  # file name: what the file holds; of a CSV the columns, as text
Types = Mapping[str, tuple[type, ...]]  # key: the types that its value may have

TEXT, NUMBER, WHOLE, LIST = (str,), (int, float), (int,), (list,)
WHOLE_OR_NONE = (int, type(None))
SETTINGS: dict[str, Types] = {  # of every run, by section; the empty one holds those outside all sections
    "": {"name": TEXT, "seed": WHOLE},
    "model": {"name": TEXT, "input_mean": LIST, "input_std": LIST},
    "approach": {"name": TEXT},
    "dataset": {"name": TEXT, "subgroups": LIST},
    "split": {"name": TEXT},
    "augmentation": {"name": TEXT, "copies_per_normal": NUMBER, "copies_per_degraded": NUMBER, "operations": LIST},
    "optimizer": {"name": TEXT, "lr": NUMBER, "weight_decay": NUMBER},
    "labels": {"rule": TEXT, "degraded_max_tbs": NUMBER, "normal_min_tbs": NUMBER},
    "preprocessing": {"fit": TEXT},
    "trainer": {"epochs": WHOLE, "patience": WHOLE_OR_NONE, "batch_size": WHOLE, "micro_batch_size": WHOLE_OR_NONE}
    | {"test_epoch": TEXT, "device": TEXT, "precision": TEXT},
    "evaluation": {"threshold": NUMBER},
}
OPERATION_SETTINGS: dict[str, Types] = {  # those that version 0.1.0 had
    "flip": {"probability": NUMBER},
    "rotate": {"max_deg": NUMBER, "interpolation": TEXT},
    "brightness": {"min_change": NUMBER, "max_change": NUMBER},
}
KFOLD_SETTINGS: Types = {"folds": WHOLE, "fold": WHOLE}
PRETRAINED_SETTINGS: Types = {"weights": TEXT, "architecture": TEXT, "dropout": NUMBER, "backbone_dropout": NUMBER}
MODEL_SETTINGS = {  # by approach
    "adhoc": {"filters": LIST, "fc_widths": LIST},
    "full": PRETRAINED_SETTINGS,
    "head": PRETRAINED_SETTINGS,
}
METRICS_KEYS: Types = {
    "data_sha256": TEXT,
    "weights_sha256": (str, type(None)),
    "synthetic": (bool,),
    "initialisation": (str, type(None)),
    "trainable_parameters": WHOLE,
    "num_images": (dict,),
    "warnings": LIST,
}
CLASSES = ("normal", "degraded")
TOLERANCE = 1e-9


def find_contradiction(run_dir: Path, facts: Mapping[str, Any]) -> str | None:
    """Return the first file that is missing, cannot be read or contradicts another one, and how; None if none does.

    Args:
        facts: what metrics.json holds.
    """
    records: dict[str, Mapping[str, Any]] = {METRICS_JSON: facts}
    for name, check in CHECKS.items():
        if name not in records and not (run_dir / name).is_file():
            if name in REQUIRED:
                return f"{name} is missing"
            continue
        try:
            if name not in records:
                records[name] = _read(run_dir / name)
            wrong = next(check(records), None)
        except (ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
            wrong = f"cannot be read ({type(error).__name__})"
        if wrong:
            return f"{name} {wrong}"
    return None


def _read(path: Path) -> dict[str, Any]:
    if path.name == CONFIG_YAML:
        return read_config(path.parent)
    if path.suffix == ".json":
        return read_json(path)
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    if lacking := set(COLUMNS_OF_0_1_0[path.name]) - set(header):
        raise KeyError(f"{path.name} lacks {lacking}")
    columns = zip(*rows, strict=True) if rows else [()] * len(header)
    return dict(zip(header, columns, strict=True))


def _check_config(records: Records) -> Iterator[str]:
    config = records[CONFIG_YAML]
    for section, types in SETTINGS.items():
        yield from _of_wrong_type(config[section] if section else config, types)
    for operation in config["augmentation"]["operations"]:
        yield from _of_wrong_type(operation, OPERATION_SETTINGS[operation["name"]])
    yield from _of_wrong_type(config["model"], MODEL_SETTINGS.get(config["approach"]["name"], {}))
    if config["split"]["name"] == "kfold" or config["split"].keys() & KFOLD_SETTINGS.keys():
        yield from _of_wrong_type(config["split"], KFOLD_SETTINGS)
    if config["evaluation"]["threshold"] != records[METRICS_JSON]["thresholds"]["fixed"]:
        yield "has another threshold than metrics.json"


def _of_wrong_type(values: Mapping[str, Any], types: Types) -> Iterator[str]:
    for key, allowed in types.items():
        if key not in values or type(values[key]) not in allowed:
            yield f"has no usable {key}"


def _check_split(records: Records) -> Iterator[str]:
    table = records[SPLIT_CSV]
    if len(set(table["image_id"])) < len(table["image_id"]):
        yield "holds an image twice"
    if not set(table["split"]) <= {"train", "val", "test"} or not set(table["label"]) <= {"0", "1"}:
        yield "holds an unknown split or label"
    if len(set(zip(table["patient_id"], table["split"], strict=True))) > len(set(table["patient_id"])):
        yield "has a patient on two sides of the split"
    rows = zip(table["split"], table["label"], table["origin"], strict=True)
    kinds = Counter(
        (split, f"{CLASSES[int(label)]}_{'augmented' if origin else 'original'}") for split, label, origin in rows
    )
    stated = records[METRICS_JSON]["num_images"]
    if kinds != +Counter({(split, kind): num for split, of_kind in stated.items() for kind, num in of_kind.items()}):
        yield "holds other numbers of images than metrics.json"
    _numbers(text or "nan" for text in table["tbs"])


def _check_predictions(records: Records) -> Iterator[str]:
    table, split = records[PREDICTIONS_CSV], records[SPLIT_CSV]
    stored, expected = (
        sorted(zip(part["image_id"], part["split"], part["label"], strict=True)) for part in (table, split)
    )
    if stored != [row for row in expected if row[1] != "train"]:
        yield "has other images, splits or labels than split.csv"
    scores = _numbers(table["score"])
    if not ((scores >= 0) & (scores <= 1)).all():
        yield "holds a score that is not between 0 and 1"


def _check_metrics(records: Records) -> Iterator[str]:
    facts, table = records[METRICS_JSON], records[PREDICTIONS_CSV]
    yield from _of_wrong_type(facts, METRICS_KEYS)
    in_split, labels, scores = np.array(table["split"]), np.array(table["label"]).astype(int), _numbers(table["score"])
    for split in ("val", "test"):
        chosen = in_split == split
        if chosen.any() != (split in facts):
            yield f"and predictions.csv do not both have {split} images"
        elif chosen.any():
            yield from _other_metrics(facts, split, labels[chosen], scores[chosen])
    is_val = in_split == "val"
    if "evaluated_run" not in facts and labels[is_val].any():
        stored, recomputed = facts["thresholds"]["val_f1"], best_f1_threshold(labels[is_val], scores[is_val])
        if not math.isclose(stored, recomputed, abs_tol=TOLERANCE):
            yield f"has the threshold val_f1 {stored:g}, predictions.csv gives {recomputed:g}"


def _other_metrics(facts: Mapping[str, Any], split: str, labels: np.ndarray, scores: np.ndarray) -> Iterator[str]:
    """Yield each metric of a split that differs from the one computed from predictions.csv."""
    auc = binary_auc(labels, scores)
    for rule, threshold in facts["thresholds"].items():
        cells = counts(labels, (scores >= threshold)[None])
        recomputed = {name: float(value[0]) for name, value in {**cells, **metrics_of_counts(cells)}.items()}
        recomputed["auc"] = auc
        for name, value in facts[split][f"at_{rule}"].items():
            stored = math.nan if value is None else float(value)
            if name in recomputed and not np.isclose(stored, recomputed[name], rtol=0, atol=TOLERANCE, equal_nan=True):
                yield f"has {split} {name} {stored:g}, predictions.csv gives {recomputed[name]:g}"


def _check_environment(records: Records) -> Iterator[str]:
    if not isinstance(records[ENVIRONMENT_JSON].get("weights", {}), Mapping):
        yield "states no weights"


def _check_history(records: Records) -> Iterator[str]:
    table, facts = records[HISTORY_CSV], records[METRICS_JSON]
    for column in table.values():
        _numbers(text or "nan" for text in column)
    if _numbers(table["epoch"]).tolist() != list(range(1, facts["epochs"] + 1)):
        yield "has other epochs than metrics.json"
    if not 1 <= facts["tested_epoch"] <= facts["epochs"]:
        yield "lacks the epoch that metrics.json says was tested"


def _check_timing(records: Records) -> Iterator[str]:
    timing = records[TIMING_JSON]
    if not all(value is None or isinstance(value, int | float) for value in timing.values()):
        yield "holds a value that is not a time"
    if timing.get("train_10_epochs_s") is not None and HISTORY_CSV in records:
        train_s = _numbers(records[HISTORY_CSV]["train_s"][:10]).sum()
        needed_s = timing["prepare_s"] + timing["compile_s"] + train_s
        if not np.allclose([timing["train_10_epochs_s"], timing["time_10_epochs_s"]], [train_s, needed_s], rtol=1e-6):
            yield "has another time of ten epochs than history.csv"


def _check_layers(records: Records) -> Iterator[str]:
    table = records[LAYERS_CSV]
    if any(int(size) < 1 for shape in table["output_shape"] for size in shape.split("x")):
        yield "holds a shape that is not one"
    trainable, total = records[METRICS_JSON]["trainable_parameters"], sum(map(int, table["parameters"]))
    is_whole = "frozen_bn" not in records[CONFIG_YAML]["approach"]
    if trainable > total or (is_whole and trainable != total):
        yield "has another number of parameters than metrics.json"


def _check_measures(records: Records) -> Iterator[str]:
    table, split = records[MEASURES_CSV], records[SPLIT_CSV]
    originals = [name for name, origin in zip(split["image_id"], split["origin"], strict=True) if not origin]
    if sorted(table["image_id"]) != sorted(originals):
        yield "has other images than split.csv"
    for name in table.keys() - {"image_id"}:
        _numbers(text or "nan" for text in table[name])


def _check_errors(records: Records) -> Iterator[str]:
    table, scored = records[ERRORS_CSV], records[PREDICTIONS_CSV]
    scores = dict(zip(scored["image_id"], _numbers(scored["score"]), strict=True))
    if [scores[name] for name in table["image_id"]] != _numbers(table["score"]).tolist():
        yield "has other scores than predictions.csv"
    if not all(file.startswith(f"{ERRORS}/") for file in table["file"]):
        yield "names a file that is not a thumbnail"


def _numbers(texts: Iterable[str]) -> np.ndarray:
    return np.array([float(text) for text in texts])


REQUIRED = (CONFIG_YAML, SPLIT_CSV, PREDICTIONS_CSV)
CHECKS = {  # in this order, since later checks rely on earlier ones
    CONFIG_YAML: _check_config,
    SPLIT_CSV: _check_split,
    PREDICTIONS_CSV: _check_predictions,
    METRICS_JSON: _check_metrics,
    ENVIRONMENT_JSON: _check_environment,
    HISTORY_CSV: _check_history,
    TIMING_JSON: _check_timing,
    LAYERS_CSV: _check_layers,
    MEASURES_CSV: _check_measures,
    ERRORS_CSV: _check_errors,
}

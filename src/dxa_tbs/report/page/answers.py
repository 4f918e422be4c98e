"""Answers to the reporting checklist, each from the records of one experiment and the finished tables."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dxa_tbs.report.departures import value_text
from dxa_tbs.report.documents import Document, number
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.footnotes import evaluated_run
from dxa_tbs.report.labels import sampling_units

Documents = Mapping[str, Document]


def data_source(one: Experiment, documents: Documents) -> str:
    facts, config = one.first.facts, one.first.config
    kind = "synthetic phantom" if facts["synthetic"] else "the investigator's images"
    return (
        f"{kind}, dataset {config['dataset']['name']}; SHA-256 of images, labels and split {facts['data_sha256'][:12]}"
    )


def partition_sizes(one: Experiment, documents: Documents) -> str:
    parts = []
    for split, counted in one.first.facts["num_images"].items():
        normal, degraded = (counted[f"{name}_original"] for name in ("normal", "degraded"))
        copies = counted["normal_augmented"] + counted["degraded_augmented"]
        parts.append(
            f"{split} {normal} Normal + {degraded} Degraded" + (f" + {copies} augmented copies" * (copies > 0))
        )
    return "; ".join(parts)


def preprocessing(one: Experiment, documents: Documents) -> str:
    config = one.first.config
    augmentation = config["augmentation"]
    size = "{0} x {0}".format(config["preprocessing"]["size_px"])
    how = {"crop": f"a {size} crop without interpolation", "resize": f"resized to {size}, bilinear"}
    copies = augmentation["copies_per_normal"], augmentation["copies_per_degraded"]
    channels = "" if config["channels"]["name"] == "grey" else f"; channels {_with_settings(config['channels'])}"
    text = f"{how[config['preprocessing']['fit']]}{channels}; augmentation {augmentation['name']}"
    operations = ", ".join(map(value_text, augmentation["operations"]))
    if augmentation["when"] == "epoch":
        text += f": each training image is changed anew in every epoch by {operations}"
    elif any(copies):
        text += (
            f": {copies[0]:g} copies per Normal and {copies[1]:g} per Degraded image, changed by {operations}; after "
            "the split"
        )
    return text


def reference(one: Experiment, documents: Documents) -> str:
    labels = one.first.config["labels"]
    normal = "all others are Normal" if labels["rule"] == "binary" else f"Normal from {labels['normal_min_tbs']:g} on"
    return f"Trabecular Bone Score: Degraded at or below {labels['degraded_max_tbs']:g}, {normal}"


def partition(one: Experiment, documents: Documents) -> str:
    split = one.first.config["split"]
    settings = ", ".join(
        f"{key} {value}" for key, value in split.items() if key != "name" and not isinstance(value, dict)
    )
    return f"split={split['name']}" + (f" ({settings})" if settings else "")


def disjoint(one: Experiment, documents: Documents) -> str:
    if not one.knows_patients:
        return (
            "by image, since it is not known which images belong to one patient; equal pixels on two sides are refused"
        )
    return "by patient; equal pixels on two sides are refused"


def model(one: Experiment, documents: Documents) -> str:
    model = one.first.config["model"]
    parameters = one.first.facts["trainable_parameters"]
    return f"{model['name']}, approach {one.approach}: {parameters:,} trainable parameters (layers.csv)"


def initialisation(one: Experiment, documents: Documents) -> str:
    initial = one.first.facts["initialisation"]
    if "factory" in one.first.config["model"]:
        return "by the investigators' own code; not recorded"
    return {None: "random", "none": "random, nothing pretrained"}.get(initial, Path(str(initial)).name)


def training(one: Experiment, documents: Documents) -> str:
    config, trainer = one.first.config, one.first.config["trainer"]
    patience = f", patience {trainer['patience']}" if trainer["patience"] else ""
    chosen = [f"{group} {_with_settings(config[group])}" for group in ("loss", "sampling", "schedule")]
    decay = trainer["ema_decay"]
    averaged = ["raw weights" if decay is None else f"moving average of the weights, decay {decay:g}"]
    return (
        f"{_with_settings(config['optimizer'])}, batches of {trainer['batch_size']}, at most {trainer['epochs']} epochs"
        f"{patience}; {'; '.join(chosen + averaged)}; seeds {', '.join(map(str, one.seeds))}"
    )


def _with_settings(section: Mapping[str, Any]) -> str:
    """Return the name of an option and, in brackets, its settings: sgd (lr 0.001, momentum 0.9)."""
    return value_text({key: value for key, value in section.items() if value not in (None, {})})


def selection(one: Experiment, documents: Documents) -> str:
    settings = one.first.settings
    if settings["trainer.test_epoch"] == "last":
        return "the last epoch"
    on_copies = one.first.has_val_copies and settings["trainer.watched"] == "all"
    return "the epoch of the lowest validation loss, " + (
        "with augmented copies among the validation images" if on_copies else "of originals alone"
    )


def software(one: Experiment, documents: Documents) -> str:
    environment = one.first.environment
    versions = environment.get("packages", {})
    named = ", ".join(f"{name} {versions[name]}" for name in ("dxa-tbs", "torch", "torchvision") if name in versions)
    return f"{named}; {environment.get('device')}, precision {environment.get('precision')} (environment.json)"


def missing_data(one: Experiment, documents: Documents) -> str:
    left_out = [text for text in one.first.facts["warnings"] if "stay out" in text]
    return "; ".join(["an image that cannot be used stops the run; none is skipped", *left_out])


def performance(one: Experiment, documents: Documents) -> str:
    auc = one.estimates["auc"]
    interval = "" if math.isnan(auc.low) else f" (95 % {auc.low:.3f} to {auc.high:.3f})"
    return f"AUC {number(auc.value)}{interval}; tables III to V, operating_points, runs"


def tables_named(*names: str) -> Callable[[Experiment, Documents], str]:
    """Return an answer that names the tables that were made; those of several splits are numbered."""

    def answer(one: Experiment, documents: Documents) -> str:
        there = [
            name for name in documents if re.sub(r"_\d+$", "", name) in names and not documents[name].numbers.empty
        ]
        return f"tables: {', '.join(there)}" if there else "not in these records"

    return answer


def uncertainty(one: Experiment, documents: Documents) -> str:
    by = sampling_units([one]).removesuffix("s")
    return (
        f"Wilson, MOVER, DeLong and Newcombe by {by}, with the variance between trainings if there are several; "
        "paired tests with Holm's correction"
    )


def external(one: Experiment, documents: Documents) -> str:
    if "evaluated_run" not in one.first.facts:
        return "internal test set only"
    own = (
        "its own dataset" if not one.first.facts.get("is_external", True) else "another dataset, on images new to them"
    )
    return f"weights of {evaluated_run(one)}, on {own}"

"""What reporting guidelines ask for and the records know; what only the investigator knows is left open, and marked.

Sections as in CLAIM 2024 (Tejani et al., Radiol Artif Intell 6:e240300), item numbers of TRIPOD+AI (Collins et al.,
BMJ 385:e078378, 2024); the wording is ours and replaces neither checklist.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dxa_tbs.report.documents import Document, number
from dxa_tbs.report.footnotes import evaluated_run
from dxa_tbs.report.runs import Experiment

OPEN = "to be completed by the investigator"
Documents = Mapping[str, Document]


@dataclass(frozen=True)
class Item:
    """Attributes: answer: from the records; None: the investigator's."""

    section: str
    asks: str
    tripod: str
    answer: str | None


def fill_checklist(one: Experiment, documents: Documents) -> list[Item]:
    """Return all items, filled in for one experiment as far as the records go."""
    return [
        Item(section, asks, tripod, None if answer is None else answer(one, documents))
        for section, asks, tripod, answer in ITEMS
    ]


def checklist_markdown(items: list[Item], of: str) -> str:
    lines = [
        f"# Reporting checklist: {of}",
        "",
        "| Section (CLAIM 2024) | Asks for | TRIPOD+AI | Answer |",
        "|---|---|---|---|",
    ]
    for item in items:
        answer = item.answer.replace("|", "\\|") if item.answer else f"**{OPEN}**"
        lines.append(f"| {item.section} | {item.asks} | {item.tripod} | {answer} |")
    return "\n".join([*lines, "", "The wording is ours: hand in the published checklists themselves.", ""])


def _data_source(one: Experiment, documents: Documents) -> str:
    facts, config = one.first.facts, one.first.config
    kind = "synthetic phantom" if facts["synthetic"] else "the investigator's images"
    return (
        f"{kind}, dataset {config['dataset']['name']}; SHA-256 of images, labels and split {facts['data_sha256'][:12]}"
    )


def _partition_sizes(one: Experiment, documents: Documents) -> str:
    parts = []
    for split, counted in one.first.facts["num_images"].items():
        normal, degraded = (counted[f"{name}_original"] for name in ("normal", "degraded"))
        copies = counted["normal_augmented"] + counted["degraded_augmented"]
        parts.append(
            f"{split} {normal} Normal + {degraded} Degraded" + (f" + {copies} augmented copies" * (copies > 0))
        )
    return "; ".join(parts)


def _preprocessing(one: Experiment, documents: Documents) -> str:
    config = one.first.config
    augmentation = config["augmentation"]
    how = {"crop": "a 224 x 224 crop without interpolation", "resize": "resized to 224 x 224, bilinear"}
    copies = augmentation["copies_per_normal"], augmentation["copies_per_degraded"]
    text = f"{how[config['preprocessing']['fit']]}; augmentation {augmentation['name']}"
    if any(copies):
        text += (
            f": {copies[0]:g} copies per Normal and {copies[1]:g} per Degraded image, flip "
            f"{augmentation['flip_probability']:g}, rotation within {augmentation['max_rotation_deg']:g} degrees "
            f"({augmentation['interpolation']}), brightness by {augmentation['min_brightness_change']:g} to "
            f"{augmentation['max_brightness_change']:g}; after the split"
        )
    return text


def _reference(one: Experiment, documents: Documents) -> str:
    labels = one.first.config["labels"]
    normal = "all others are Normal" if labels["rule"] == "binary" else f"Normal from {labels['normal_min_tbs']:g} on"
    return f"Trabecular Bone Score: Degraded at or below {labels['degraded_max_tbs']:g}, {normal}"


def _partition(one: Experiment, documents: Documents) -> str:
    split = one.first.config["split"]
    settings = ", ".join(
        f"{key} {value}" for key, value in split.items() if key != "name" and not isinstance(value, dict)
    )
    return f"split={split['name']}" + (f" ({settings})" if settings else "")


def _disjoint(one: Experiment, documents: Documents) -> str:
    if not one.knows_patients:
        return "by image: nobody said which images belong to one patient; the same pixels on two sides are refused"
    return "by patient; the same pixels on two sides are refused"


def _model(one: Experiment, documents: Documents) -> str:
    model = one.first.config["model"]
    parameters = one.first.facts["trainable_parameters"]
    return f"{model['name']}, approach {one.approach}: {parameters:,} trainable parameters (layers.csv)"


def _initialisation(one: Experiment, documents: Documents) -> str:
    initial = one.first.facts["initialisation"]
    return {None: "random", "none": "random, nothing pretrained"}.get(initial, Path(str(initial)).name)


def _training(one: Experiment, documents: Documents) -> str:
    optimizer, trainer = one.first.config["optimizer"], one.first.config["trainer"]
    settings = ", ".join(f"{key} {value:g}" for key, value in optimizer.items() if key != "name")
    patience = f", patience {trainer['patience']}" if trainer["patience"] else ""
    return (
        f"{optimizer['name']} ({settings}), batches of {trainer['batch_size']}, at most {trainer['epochs']} epochs"
        f"{patience}; seeds {', '.join(map(str, one.seeds))}"
    )


def _selection(one: Experiment, documents: Documents) -> str:
    settings = one.first.settings
    if settings["trainer.test_epoch"] == "last":
        return "the last epoch"
    on_copies = one.first.has_val_copies and settings["trainer.watched"] == "all"
    return "the epoch of the lowest validation loss, " + (
        "with augmented copies among the validation images" if on_copies else "of originals alone"
    )


def _software(one: Experiment, documents: Documents) -> str:
    environment = one.first.environment
    versions = environment.get("packages", {})
    named = ", ".join(f"{name} {versions[name]}" for name in ("dxa-tbs", "torch", "torchvision") if name in versions)
    return f"{named}; {environment.get('device')}, precision {environment.get('precision')} (environment.json)"


def _missing_data(one: Experiment, documents: Documents) -> str:
    left_out = [text for text in one.first.facts["warnings"] if "stay out" in text]
    return "; ".join(["an image that cannot be used stops the run, none is skipped", *left_out])


def _performance(one: Experiment, documents: Documents) -> str:
    auc = one.estimates["auc"]
    interval = "" if math.isnan(auc.low) else f" (95 % {auc.low:.3f} to {auc.high:.3f})"
    return f"AUC {number(auc.value)}{interval}; tables III to V, operating_points, runs"


def _in(*names: str) -> Callable[[Experiment, Documents], str]:
    """Return an answer that names those tables which there are; several grounds have numbered ones."""

    def answer(one: Experiment, documents: Documents) -> str:
        there = [
            name for name in documents if re.sub(r"_\d+$", "", name) in names and not documents[name].numbers.empty
        ]
        return f"tables: {', '.join(there)}" if there else "not in these records"

    return answer


def _uncertainty(one: Experiment, documents: Documents) -> str:
    units = "patients" if one.knows_patients else "images"
    return (
        f"Wilson, MOVER, DeLong and Newcombe by {units.removesuffix('s')}, of several trainings with their variance; "
        "paired tests with Holm's correction"
    )


def _external(one: Experiment, documents: Documents) -> str:
    if "evaluated_run" not in one.first.facts:
        return "internal test set only"
    own = (
        "its own dataset" if not one.first.facts.get("is_external", True) else "another dataset, on images new to them"
    )
    return f"weights of {evaluated_run(one)}, on {own}"


ITEMS: tuple[tuple[str, str, str, Callable[[Experiment, Documents], str] | None], ...] = (
    ("Title and abstract", "an AI study, and its technology", "1, 2", None),
    ("Introduction", "clinical background, intended use, objectives", "3, 4", None),
    ("Study design", "prospective or retrospective; ethics approval", "5, 17", None),
    ("Data", "data sources", "5a", _data_source),
    ("Data", "setting, centres and dates", "5b, 6a", None),
    ("Data", "inclusion and exclusion criteria", "6b", None),
    ("Data", "pre-processing and augmentation", "7", _preprocessing),
    ("Data", "how missing and unusable data were handled", "11", _missing_data),
    ("Data", "de-identification", "5a", None),
    ("Data", "image acquisition protocol", "9", None),
    ("Reference standard", "its definition", "8a", _reference),
    ("Reference standard", "its rationale, source and repeatability", "8", None),
    ("Data partitions", "how data were assigned", "12a", _partition),
    ("Data partitions", "the level at which partitions are disjoint", "12a", _disjoint),
    ("Testing data", "rationale of the sample size", "10", None),
    ("Model", "architecture, inputs, outputs", "9, 22", _model),
    ("Model", "initial weights", "12c", _initialisation),
    ("Model", "software and hardware", "18f", _software),
    ("Training", "optimiser, schedule, hyperparameters", "12c", _training),
    ("Training", "selection of the final model", "12c", _selection),
    ("Training", "class imbalance", "13", _preprocessing),
    ("Evaluation", "metrics, thresholds", "12e, 15", _in("operating_points", "decision_curve")),
    ("Evaluation", "uncertainty and significance", "12e", _uncertainty),
    ("Evaluation", "calibration", "12e", _in("calibration", "reliability")),
    ("Evaluation", "robustness, baselines", "12e", _in("sanity", "against_slope")),
    ("Evaluation", "explainability", "12e", None),
    ("Evaluation", "testing on external data", "16", _external),
    ("Results: data", "numbers in each partition", "20", _partition_sizes),
    ("Results: data", "demographic and clinical characteristics", "20b", _in("data_card")),
    ("Results: performance", "performance with uncertainty", "23a", _performance),
    ("Results: performance", "subgroups, fairness", "14, 23a", _in("subgroups")),
    ("Results: performance", "failure analysis", "23a", _in("errors", "tbs_bands")),
    ("Discussion", "limitations, implications, usability", "25, 26, 27", None),
    ("Other", "protocol, registration, patient involvement", "18c, 18d, 19", None),
    ("Other", "availability of code, weights and data", "18e, 18f", None),
    ("Other", "funding and conflicts of interest", "18a, 18b", None),
)

"""A model card (Mitchell et al., FAT* 2019) of one experiment, as sections of lines."""

from __future__ import annotations

from collections.abc import Mapping

from dxa_tbs.report.documents import with_interval
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.footnotes import SYNTHETIC, explain_marks, notes_of
from dxa_tbs.report.labels import label
from dxa_tbs.report.page.answers import Documents
from dxa_tbs.report.page.checklist import OPEN, fill_checklist

SHOWN = {"auc": "AUC", "sensitivity": "sensitivity", "specificity": "specificity", "f1": "F1-score", "mcc": "MCC"}


def model_card(one: Experiment, documents: Documents) -> dict[str, list[str]]:
    """Return heading and lines of each section."""
    known = {item.asks: item.answer for item in fill_checklist(one, documents) if item.answer}
    known_weights = (run.environment.get("weights", {}).get("sha256") for run in one.runs)
    weights = sorted({str(sha256) for sha256 in known_weights if sha256})
    labels = one.scored.labels
    caveats = [SYNTHETIC] if one.first.facts["synthetic"] else []
    return {
        "Model": [known["architecture, inputs, outputs"], *(f"weights, SHA-256: {sha256}" for sha256 in weights)],
        "Intended use": ["research only, not a medical device", f"users, setting: {OPEN}"],
        "Data": [known["data sources"], known["numbers in each partition"], known["its definition"]],
        "Training": [known["optimiser, schedule, hyperparameters"], known["pre-processing and augmentation"]],
        "Evaluation": [
            f"{len(labels)} test images, {int(labels.sum())} Degraded, threshold "
            f"{one.first.facts['thresholds']['fixed']:g}, seeds: {len(one.seeds)}",
            *(f"{text} {with_interval(one.estimates[name])}" for name, text in SHOWN.items()),
        ],
        "Caveats": [
            *caveats,
            *explain_marks([one]),
            *notes_of(one),
            "the label is a range of a proprietary score and holds only for the scanners of these images",
            f"fairness, risks: {OPEN}",
        ],
    }


def card_markdown(name: str, card: Mapping[str, list[str]]) -> str:
    sections = [f"## {heading}\n\n" + "".join(f"- {line}\n" for line in lines) for heading, lines in card.items()]
    return f"# Model card: {name}\n\n" + "\n".join(sections)


def card_name(one: Experiment) -> str:
    return f"{label(one)} ({one.folder})"

"""Reporting checklist, filled in from the records; what only the investigator knows is marked as open.

Sections follow CLAIM 2024 (Tejani et al., Radiol Artif Intell 6:e240300), item numbers those of TRIPOD+AI (Collins et
al., BMJ 385:e078378, 2024). The wording is ours and replaces neither checklist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.page import answers
from dxa_tbs.report.page.answers import Documents

OPEN = "to be completed by the investigator"


@dataclass(frozen=True)
class Item:
    """Attributes: answer: from the records; None: left to the investigator."""

    section: str
    asks: str
    tripod: str
    answer: str | None


def fill_checklist(one: Experiment, documents: Documents) -> list[Item]:
    """Return all items, filled in for one experiment as far as the records tell."""
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


ITEMS: tuple[tuple[str, str, str, Callable[[Experiment, Documents], str] | None], ...] = (
    ("Title and abstract", "an AI study, and its technology", "1, 2", None),
    ("Introduction", "clinical background, intended use, objectives", "3, 4", None),
    ("Study design", "prospective or retrospective; ethics approval", "5, 17", None),
    ("Data", "data sources", "5a", answers.data_source),
    ("Data", "setting, centres and dates", "5b, 6a", None),
    ("Data", "inclusion and exclusion criteria", "6b", None),
    ("Data", "pre-processing and augmentation", "7", answers.preprocessing),
    ("Data", "how missing and unusable data were handled", "11", answers.missing_data),
    ("Data", "de-identification", "5a", None),
    ("Data", "image acquisition protocol", "9", None),
    ("Reference standard", "its definition", "8a", answers.reference),
    ("Reference standard", "its rationale, source and repeatability", "8", None),
    ("Data partitions", "how data were assigned", "12a", answers.partition),
    ("Data partitions", "the level at which partitions are disjoint", "12a", answers.disjoint),
    ("Testing data", "rationale of the sample size", "10", None),
    ("Model", "architecture, inputs, outputs", "9, 22", answers.model),
    ("Model", "initial weights", "12c", answers.initialisation),
    ("Model", "software and hardware", "18f", answers.software),
    ("Training", "optimiser, schedule, hyperparameters", "12c", answers.training),
    ("Training", "selection of the final model", "12c", answers.selection),
    ("Training", "class imbalance", "13", answers.preprocessing),
    ("Evaluation", "metrics, thresholds", "12e, 15", answers.tables_named("operating_points", "decision_curve")),
    ("Evaluation", "uncertainty and significance", "12e", answers.uncertainty),
    ("Evaluation", "calibration", "12e", answers.tables_named("calibration", "reliability")),
    ("Evaluation", "robustness, baselines", "12e", answers.tables_named("sanity", "against_slope")),
    ("Evaluation", "explainability", "12e", None),
    ("Evaluation", "testing on external data", "16", answers.external),
    ("Results: data", "numbers in each partition", "20", answers.partition_sizes),
    ("Results: data", "demographic and clinical characteristics", "20b", answers.tables_named("data_card")),
    ("Results: performance", "performance with uncertainty", "23a", answers.performance),
    ("Results: performance", "subgroups, fairness", "14, 23a", answers.tables_named("subgroups")),
    ("Results: performance", "failure analysis", "23a", answers.tables_named("errors", "tbs_bands")),
    ("Discussion", "limitations, implications, usability", "25, 26, 27", None),
    ("Other", "protocol, registration, patient involvement", "18c, 18d, 19", None),
    ("Other", "availability of code, weights and data", "18e, 18f", None),
    ("Other", "funding and conflicts of interest", "18a, 18b", None),
)

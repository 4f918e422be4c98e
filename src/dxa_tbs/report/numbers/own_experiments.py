"""Experiments of the user's own, each beside the nearest of the paper's fourteen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dxa_tbs.report.documents import ABSENT, Document, between, p_value, with_interval
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.footnotes import evaluated_run, explain_marks
from dxa_tbs.report.labels import label, naming_columns, printed_name, sampling_units
from dxa_tbs.report.nearest import Nearest, find_nearest, own_departures
from dxa_tbs.report.numbers.columns import estimate_columns, read_estimate
from dxa_tbs.report.study import Study

SHOWN = {"auc": "AUC", "f1": "F1-Score"}
OF_PAIR = {  # column of the table of all pairs: what it is called here, behind the metric
    "difference": "difference",
    "low": "difference_low",
    "high": "difference_high",
    "p": "p",
    "p_holm": "p_holm",
    "test": "test",
}
NOT_RUN = "as in the paper: not run"
OTHER_IMAGES = "other test images"


@dataclass(frozen=True)
class Own:
    """An experiment of the user's own and what it stands beside.

    Attributes:
        pairs: by metric, the comparison with the nearest experiment, as the tables of comparisons have it; empty if
            there is none.
    """

    experiment: Experiment
    nearest: Nearest
    pairs: dict[str, dict[str, Any]]

    @property
    def beside(self) -> str:
        """Return the name of the nearest experiment, and why it is not compared if it is not."""
        if self.nearest.experiment is None:
            return f"{self.nearest.model} {self.nearest.approach} ({NOT_RUN})"
        name = label(self.nearest.experiment)
        return name if self.nearest.is_paired else f"{name} ({OTHER_IMAGES})"


def own_experiments_table(study: Study) -> list[Document]:
    """Return one row per experiment that is not one of the paper's with the paper's settings, if there are any."""
    own = [_beside_nearest(one, study) for one in study.experiments if own_departures(one)]
    if not own:
        return []
    frame = pd.DataFrame(_row(one) for one in own)
    notes = [*study.banner, *_notes(own, study), *explain_marks([one.experiment for one in own])]
    return [
        Document("own_experiments", "Your experiments beside the paper's", frame, pd.DataFrame(map(_print, own)), notes)
    ]


def _beside_nearest(one: Experiment, study: Study) -> Own:
    nearest = find_nearest(one, study.experiments)
    if nearest.experiment is None or not nearest.is_paired:
        return Own(one, nearest, {})
    return Own(one, nearest, _pairs_of(one, nearest.experiment, study.compared))


def _pairs_of(one: Experiment, other: Experiment, compared: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return `one` minus `other` by metric, from the table of all pairs; nothing if that could not be made."""
    if compared.empty:
        return {}
    is_forward = (compared["first_run"] == one.folder) & (compared["second_run"] == other.folder)
    is_backward = (compared["first_run"] == other.folder) & (compared["second_run"] == one.folder)
    pairs = {row["metric"]: row for row in compared[is_forward].to_dict("records")}
    for row in compared[is_backward].to_dict("records"):
        turned = {"difference": 0 - row["difference"], "low": 0 - row["high"], "high": 0 - row["low"]}
        pairs[row["metric"]] = row | turned
    return pairs


def _row(own: Own) -> dict[str, Any]:
    one, nearest = own.experiment, own.nearest
    row = naming_columns(one) | {"test_set": one.test_set, "n": len(one.scored.labels)}
    row |= {"nearest": f"{nearest.model} {nearest.approach}"}
    row |= {"nearest_run": "" if nearest.experiment is None else nearest.experiment.folder}
    row |= {"is_compared": bool(own.pairs), "differs": "; ".join(found.full for found in nearest.differences)}
    row |= estimate_columns({name: one.estimates[name] for name in SHOWN})
    for metric in SHOWN:
        pair = own.pairs.get(metric, {})
        row |= {f"{metric}_{name}": pair.get(part) for part, name in OF_PAIR.items()}
    return row


def _print(own: Own) -> dict[str, str]:
    row = _row(own)
    cells = {}
    for metric, heading in SHOWN.items():
        cells[heading] = with_interval(read_estimate(row, metric))
        cells[f"{heading} minus nearest"] = _printed_pair(own.pairs.get(metric))
    return {
        **printed_name(row),
        "n": str(row["n"]),
        "Nearest of the paper's": own.beside,
        "What differs from it": row["differs"],
        **cells,
    }


def _printed_pair(pair: dict[str, Any] | None) -> str:
    if pair is None or math.isnan(pair["difference"]):
        return ABSENT
    interval = "" if math.isnan(pair["low"]) else f" ({between(pair['low'], pair['high'])})"
    return f"{pair['difference']:+.3f}{interval}, {p_value(pair['p_holm'])}"


def _notes(own: Sequence[Own], study: Study) -> list[str]:
    compared = [one for one in own if one.pairs]
    return [
        "nearest: the paper's own experiment for one of its networks; for another network the one that differs in the "
        "fewest settings. Dataset and split are those of the study",
        *(_on_the_pairs(compared, len(own), study) if compared else []),
        *_on_what_lacks(own),
        *_on_shared_departures(own),
        *_on_evaluations(own),
    ]


def _on_the_pairs(compared: Sequence[Own], num_own: int, study: Study) -> list[str]:
    notes = [
        "minus nearest: on the same test images, with the numbers of the tables of comparisons; p-values after Holm, "
        "over all pairs there; the intervals are not corrected. The CSV has p-values without correction too"
    ]
    trainings = [pair["trainings"] for one in compared for pair in one.pairs.values()]
    if min(trainings) == 1:
        units = sampling_units(study.experiments)
        of_some = "" if max(trainings) == 1 else " of either"
        notes.append(
            f"one training{of_some}: a difference of these trained networks on other {units}; another training could "
            "differ more than the idea does. Train both with several seeds"
        )
    if max(trainings) > 1:
        notes.append("several trainings of both: the interval includes what training adds")
    is_planned = any(pair["is_primary"] for one in compared for pair in one.pairs.values())
    return [*notes, _on_multiplicity(num_own, len(compared), is_planned=is_planned)]


def _on_multiplicity(num_own: int, num_compared: int, *, is_planned: bool) -> str:
    but = ", but for the primary one," if is_planned else ""
    return (
        f"{num_compared} of {num_own} compared. The comparisons{but} are exploratory: the best of many ideas looks "
        "better than it is. State the next question before its runs: python -m dxa_tbs.plan"
    )


def _on_what_lacks(own: Sequence[Own]) -> list[str]:
    """Return the commands that train the paper's experiments that are missing here."""
    seeds: dict[tuple[str, str], set[int]] = {}
    for one in own:
        if not one.nearest.is_paired and not one.experiment.is_evaluation:
            seeds.setdefault((one.nearest.approach, one.nearest.model), set()).update(one.experiment.seeds)
    models: dict[tuple[str, str], list[str]] = {}
    for (approach, model), wanted in seeds.items():
        models.setdefault((approach, ",".join(map(str, sorted(wanted)))), []).append(model)
    return [
        f"to compare with {', '.join(f'{model} {approach}' for model in chosen)}: python -m dxa_tbs.train -m "
        f"model={','.join(chosen)} approach={approach} seed={of_seeds}, with the same settings of dataset and split"
        for (approach, of_seeds), chosen in models.items()
    ]


def _on_shared_departures(own: Sequence[Own]) -> list[str]:
    """Return how the experiments that stand for the paper's depart from its settings themselves."""
    notes = [
        f"{label(one.nearest.experiment)} departs from the paper too, as what stands beside it does: "
        f"{'; '.join(one.nearest.shared)}"
        for one in own
        if one.nearest.experiment is not None and one.nearest.shared
    ]
    return list(dict.fromkeys(notes))


def _on_evaluations(own: Sequence[Own]) -> list[str]:
    return [
        f"{label(one.experiment)}: weights of {evaluated_run(one.experiment)}, which may have been trained on other "
        "images than those that it is compared with"
        for one in own
        if one.experiment.is_evaluation
    ]

"""Table II: architectures and hyperparameters of the ad hoc networks."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dxa_tbs.report.documents import ABSENT, Document
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.paper import TABLE_II, TABLE_II_PARAMETERS, protocol
from dxa_tbs.report.study import Study

TITLE = "Table II. Ad hoc architectures and hyperparameters (approach 3)"


def table_2(study: Study) -> list[Document]:
    """Return Table II, if an ad hoc network of the paper was run."""
    frame = _describe(study.experiments)
    if frame["trainable_parameters"].isna().all():
        return []
    return [Document("table_ii", TITLE, frame, _print(frame), [])]


def _describe(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Return one row per network of the paper, with the parameters counted on the networks that were run."""
    rows = []
    for model, architecture in TABLE_II.items():
        of_model = [one for one in experiments if one.approach == "adhoc" and one.model == model and one.is_papers]
        first = of_model[0].first if of_model else None  # the one nearest to the paper's settings
        papers = protocol("adhoc", model) if first is None else first.settings
        rows.append(
            {
                "model": model,
                "convolutional_blocks": len(architecture.filters),
                "filters": ", ".join(map(str, architecture.filters)),
                "fc_layers": len(architecture.fc_widths) + 1,
                "neurons": ", ".join(map(str, (*architecture.fc_widths, 1))),
                "batch_size": papers["trainer.batch_size"],
                "lr": papers["optimizer.lr"],
                "momentum": papers.get("optimizer.momentum"),
                "trainable_parameters": None if first is None else first.facts["trainable_parameters"],
                "paper_trainable_parameters": TABLE_II_PARAMETERS[model],
            }
        )
    return pd.DataFrame(rows)


def _print(frame: pd.DataFrame) -> pd.DataFrame:
    """Return Table II with a column per network, as the paper prints it."""
    names = {
        "convolutional_blocks": "Convolutional blocks",
        "filters": "Filters per block",
        "fc_layers": "FC layers",
        "neurons": "Neurons per layer",
        "batch_size": "Batch size",
        "lr": "LR",
        "momentum": "Momentum",
    }
    printed = frame.set_index("model")[list(names)].astype(object).T
    printed = printed.where(printed.notna(), ABSENT).map(str)
    ours = [f"{int(count):,}" if pd.notna(count) else "no run" for count in frame["trainable_parameters"]]
    printed.loc["parameters"] = ours
    printed.loc["paper"] = list(frame["paper_trainable_parameters"])
    names |= {"parameters": "Trainable parameters, counted", "paper": "Trainable parameters, paper (cut off)"}
    printed.insert(0, "", [names[key] for key in printed.index])
    return printed.reset_index(drop=True).rename(columns=lambda name: name.replace("model", "Model "))

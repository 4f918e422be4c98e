"""The verb test: the only place where a trained network is given test images."""

from __future__ import annotations

import pandas as pd

from dxa_tbs.errors import Refusal
from dxa_tbs.pipeline.learner import make_inputs, predict_all
from dxa_tbs.pipeline.prepare import Prepared
from dxa_tbs.pipeline.train import Trained
from dxa_tbs.progress import OnProgress, ignore_progress


def test(trained: Trained, prepared: Prepared, *, on_progress: OnProgress = ignore_progress) -> pd.DataFrame:
    """Return image_id, split, target and scores of all images outside train (predictions.csv).

    Raises:
        Refusal: there is too little memory.
    """
    task = trained.network.task
    if trained.inputs and (seen := {*trained.inputs.sha256} & {*prepared.test.table["sha256"]}):
        raise Refusal(
            f"{len(seen)} test images are among those the network was trained on: prepare with the same split"
        )
    scored = prepared.table[prepared.table["split"] != "train"]
    inputs = make_inputs(
        trained.learner,
        prepared.pixels_of(scored.index),
        scored["sha256"].tolist(),
        known=trained.inputs.by_sha256() if trained.inputs else None,
        on_progress=on_progress,
    )
    scores = task.to_scores(predict_all(trained.learner, inputs)).reshape(len(scored), -1)
    columns = pd.DataFrame(scores, columns=list(task.score_columns), index=scored.index)
    return scored[["image_id", "split", task.target]].join(columns)

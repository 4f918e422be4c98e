"""The verb predict: scores for any images, without labels, from a finished run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dxa_tbs.config.compose import settings_of
from dxa_tbs.data.images import hash_sources, load_images
from dxa_tbs.data.window import SIZE_PX
from dxa_tbs.errors import Refusal
from dxa_tbs.hashes import sha256_of_array
from dxa_tbs.pipeline.evaluate import load_trained
from dxa_tbs.pipeline.learner import make_inputs, predict_all
from dxa_tbs.progress import OnProgress, ignore_progress
from dxa_tbs.runs.folder import require_finished
from dxa_tbs.runs.identity import read_config
from dxa_tbs.runs.records import read_metrics
from dxa_tbs.verification.seal import require_intact


def predict(
    run_dir: str | Path,
    images: np.ndarray | Sequence[str | Path],
    *,
    device: str = "auto",
    cache_dir: str | Path | None = None,
    on_progress: OnProgress = ignore_progress,
) -> pd.DataFrame:
    """Return the scores of images, one row each, in their order.

    Args:
        run_dir: the folder of a finished, trained run.
        images: uint8 (N, 224, 224), cropped like the images of the run; or paths of files, which are decoded and
            cropped around their centre (or resized), like images of the run without a region of interest.
        device: auto, cpu, cuda or cuda:<number>.
        cache_dir: the folder of the cache; None: that of the run.

    Raises:
        Refusal: the run is unfinished or damaged, or an image cannot be used.
    """
    run_dir = Path(run_dir)
    require_intact(require_finished(run_dir, key="run_dir"), with_weights=True)
    config = settings_of(read_config(run_dir))
    config.trainer.device = device
    config.cache_dir = str(cache_dir or config.cache_dir)
    trained = load_trained(config, run_dir)
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8 or images.shape[1:] != (SIZE_PX, SIZE_PX):
            raise Refusal(f"images: {images.dtype} {images.shape} given: give uint8 (N, {SIZE_PX}, {SIZE_PX})")
        pixels, names, sha256 = images, list(map(str, range(len(images)))), [sha256_of_array(one) for one in images]
    else:
        names = [str(path) for path in images]
        table = pd.DataFrame({"image_id": names, "source": [Path(path) for path in images]})
        bits = read_metrics(run_dir)["bits"]
        fit = config.preprocessing.fit
        where = Path(config.cache_dir)
        found = load_images(table, hash_sources(table), fit=fit, bits=bits, cache_dir=where, on_progress=on_progress)
        pixels, sha256 = found.pixels, found.sha256
    inputs = make_inputs(trained.learner, pixels, sha256, on_progress=on_progress)
    task = trained.network.task
    scores = task.to_scores(predict_all(trained.learner, inputs)).reshape(len(names), -1)
    return pd.DataFrame({"image": names}).join(pd.DataFrame(scores, columns=list(task.score_columns)))

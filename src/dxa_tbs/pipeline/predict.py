"""The verb predict: scores for any images, without labels, from a finished run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dxa_tbs.config.checks.training import DEVICE
from dxa_tbs.config.choices import Region
from dxa_tbs.config.compose import settings_of
from dxa_tbs.config.schema import Config
from dxa_tbs.data.images import Images, hash_sources, load_images
from dxa_tbs.errors import Refusal
from dxa_tbs.hashes import sha256_of_array
from dxa_tbs.own_code import named_code, require_named_again
from dxa_tbs.pipeline.evaluate import load_trained, require_same_code
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
    factory: str | None = None,
    device: str = "auto",
    cache_dir: str | Path | None = None,
    on_progress: OnProgress = ignore_progress,
) -> pd.DataFrame:
    """Return the scores of images, one row each, in their order.

    Args:
        run_dir: the folder of a finished, trained run.
        images: uint8 (N, S, S), cropped like the images of the run (S is its preprocessing.size_px); or paths of files,
            which are decoded and cropped around their centre (or resized), like images of the run without a region of
            interest.
        factory: for a run of a network of your own (model=custom): its model.factory, named again. Code is never
            imported because a run names it.
        device: auto, cpu, cuda or cuda:<number>.
        cache_dir: the folder of the cache; None: that of the run.

    Raises:
        Refusal: the run is unfinished or damaged, its own code is not named or has changed, or an image cannot be used.
    """
    run_dir = Path(run_dir)
    require_intact(require_finished(run_dir, key="run_dir"), with_weights=True)
    settings = read_config(run_dir)
    _require_code(run_dir, settings, factory)
    config = settings_of(settings)
    if not DEVICE.fullmatch(device):
        raise Refusal(f"device={device}: is not a device: use auto, cpu, cuda or cuda:<number>")
    config.trainer.device, config.cache_dir = device, str(cache_dir or config.cache_dir)
    if isinstance(images, np.ndarray):
        names, pixels = list(map(str, range(len(images)))), _require_windows(images, config.preprocessing.size_px)
        sha256 = [sha256_of_array(image) for image in pixels]
    else:
        names = _require_files(images, config)
        found = _load(names, config, bits=read_metrics(run_dir)["bits"], on_progress=on_progress)
        pixels, sha256 = found.pixels, found.sha256
    trained = load_trained(config, run_dir)
    inputs = make_inputs(trained.learner, pixels, sha256, on_progress=on_progress)
    task = trained.network.task
    scores = task.to_scores(predict_all(trained.learner, inputs)).reshape(len(names), -1)
    return pd.DataFrame({"image": names}).join(pd.DataFrame(scores, columns=list(task.score_columns)))


def _require_code(run_dir: Path, settings: Mapping[str, Any], factory: str | None) -> None:
    """Check that the user names the code of the run's network, if it is the user's own, and that it is unchanged."""
    of_network = named_code({"model": settings["model"]})
    if factory is not None and not of_network:
        raise Refusal(f"factory={factory}: the network of {run_dir} is not code of your own: drop it")
    needed = {key.removeprefix("model."): path for key, path in of_network.items()}
    require_named_again(needed, {} if factory is None else {"factory": factory}, run=run_dir)
    require_same_code(run_dir, of_network)


def _require_windows(images: np.ndarray, size_px: int) -> np.ndarray:
    if images.dtype != np.uint8 or images.shape[1:] != (size_px, size_px) or not len(images):
        raise Refusal(
            f"images: {images.dtype} {images.shape} given: give uint8 (N, {size_px}, {size_px}), N at least 1"
        )
    return images


def _require_files(images: Sequence[str | Path], config: Config) -> list[str]:
    if isinstance(images, str | Path) or not all(isinstance(path, str | Path) for path in images) or not len(images):
        raise Refusal("images: give a list of one or more paths, or an array uint8 (N, H, W)")
    if config.preprocessing.region is not Region.whole:
        raise Refusal(
            f"the run was trained with preprocessing.region={config.preprocessing.region.value}, and files have no box "
            "around L1-L4: give an array of images that are masked like those of the run"
        )
    if lacking := [str(path) for path in images if not Path(path).is_file()]:
        raise Refusal(f"images: {len(lacking)} of {len(images)} are not files: correct the paths", lacking)
    return [str(path) for path in images]


def _load(names: Sequence[str], config: Config, *, bits: int | None, on_progress: OnProgress) -> Images:
    """Return decoded and cropped files; an image must not depend on the others through the bits in use."""
    table = pd.DataFrame({"image_id": names, "source": list(map(Path, names))})
    found = load_images(
        table,
        hash_sources(table),
        fit=config.preprocessing.fit,
        size_px=config.preprocessing.size_px,
        bits=bits,
        cache_dir=Path(config.cache_dir),
        on_progress=on_progress,
    )
    if bits is None and found.bits is not None:
        raise Refusal("images: some have 16-bit pixels, and the run was trained on 8 bits: convert them to 8 bits")
    return found

"""Evaluate a finished run on other images: load its weights, and check that the images are new to them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dxa_tbs.config.choices import NearDuplicates, Precision
from dxa_tbs.config.compose import to_plain
from dxa_tbs.config.schema import Config
from dxa_tbs.data.audit import check_nearly_unseen, check_unseen
from dxa_tbs.errors import Refusal
from dxa_tbs.own_code import code_sha256
from dxa_tbs.pipeline.prepare import Prepared
from dxa_tbs.runs.files import MODEL_PT, SIGNATURES_NPY
from dxa_tbs.runs.identity import names_patients, read_config
from dxa_tbs.runs.records import read_environment, read_metrics, read_split

if TYPE_CHECKING:
    from dxa_tbs.pipeline.train import Trained

log = logging.getLogger("dxa_tbs.experiment")


def load_trained(config: Config, run_dir: Path) -> Trained:
    """Return the network of a finished run, with the weights that were tested.

    Args:
        config: that of the run; device and dataset may differ.

    Raises:
        Refusal: the weights are damaged, the device is not available, or the memory is too small.
    """
    import pandas as pd  # slow to import, and not needed for a run that is finished

    from dxa_tbs.pipeline.train import Trained, new_learner, new_network

    trainer = config.trainer
    if trainer.precision is Precision.auto and read_environment(run_dir).get("precision") == Precision.fp32.value:
        trainer = dataclasses.replace(trainer, precision=Precision.fp32)  # a lower one may not have been usable
    network = new_network(dataclasses.replace(config, trainer=trainer), trained=run_dir / MODEL_PT)
    learner = new_learner(network, config)
    return Trained(network, learner, inputs=None, history=pd.DataFrame(), facts={}, timing={})


def require_same_code(run_dir: Path, named: Mapping[str, str]) -> dict[str, str]:
    """Return the hashes of the user's own code, which must be those of a finished run.

    Args:
        named: the import paths of its network, as `own_code.named_code` returns them.

    Raises:
        Refusal: the code cannot be imported, or has changed since the run was trained.
    """
    hashes = code_sha256(named)
    before = read_metrics(run_dir).get("code_sha256", {})
    for key, path in named.items():
        if hashes.get(key) != before.get(key):
            raise Refusal(f"{key}={path}: its code has changed since the run was trained: restore it, or train again")
    return hashes


def check_new_to(source: Path, prepared: Prepared, config: Config) -> None:
    """Refuse to evaluate a run on images or patients that it was trained or validated on.

    Raises:
        Refusal: some images or patients are not new, or a file of the run is damaged; the message names them.
    """
    seen = read_split(source).query("split != 'test'")
    datasets = read_config(source)["dataset"], to_plain(config)["dataset"]
    test = prepared.test.table
    check_unseen(test, seen, run=str(source), by_patient=all(map(names_patients, datasets)))
    if not (source / SIGNATURES_NPY).is_file():
        log.warning("the evaluated run has no signatures of its images: near-duplicates of them cannot be found")
        return
    originals = seen[seen["origin"] == ""]
    try:
        known = np.load(source / SIGNATURES_NPY)
    except (OSError, ValueError, EOFError):
        known = np.empty(0)
    if known.shape != (len(originals), prepared.signatures.shape[1]):
        raise Refusal(f"{source / SIGNATURES_NPY} is damaged: restore it from a backup, or train the run again")
    refuses = config.dataset.near_duplicates is NearDuplicates.refuse
    check_nearly_unseen(test, prepared.signatures[test.index], originals, known, refuses=refuses)

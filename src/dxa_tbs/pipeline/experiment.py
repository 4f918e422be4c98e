"""One run, from its configuration to its folder: prepare, train and test, or prepare and test with trained weights.

Torch is imported only when a network is needed, so that refused and finished runs end quickly.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dxa_tbs.config.compose import to_plain
from dxa_tbs.config.kinds import weights_file
from dxa_tbs.config.schema import Config
from dxa_tbs.data.split import SPLITS
from dxa_tbs.disk import one_line_errors
from dxa_tbs.hashes import sha256_of_file
from dxa_tbs.own_code import code_sha256, named_code
from dxa_tbs.pipeline.clock import Clock
from dxa_tbs.pipeline.cohort import Cohort, gather_cohort
from dxa_tbs.pipeline.environment import describe_software, utc_now
from dxa_tbs.pipeline.evaluate import check_new_to, load_trained, require_same_code
from dxa_tbs.pipeline.history import keeping_history
from dxa_tbs.pipeline.imports import garbage_collection_paused
from dxa_tbs.pipeline.logs import gathered_warnings, log_file
from dxa_tbs.pipeline.prepare import Prepared, count_images, prepare
from dxa_tbs.pipeline.results import ScoredRun, write_results
from dxa_tbs.pipeline.tracked import final_figures, tracker_of
from dxa_tbs.progress import OnProgress, ignore_progress
from dxa_tbs.runs.files import (
    ENVIRONMENT_JSON,
    LAYERS_CSV,
    MEASURES_CSV,
    MODEL_PT,
    PREDICTIONS_CSV,
    SIGNATURES_NPY,
    SPLIT_CSV,
    TIMING_JSON,
    TRAIN_LOG,
    gathered_digests,
    write_csv,
    write_json,
)
from dxa_tbs.runs.folder import claim_run, is_finished, state_of
from dxa_tbs.runs.identity import read_config, run_folder
from dxa_tbs.runs.records import read_environment, read_metrics
from dxa_tbs.runs.study_plan import plan_sha256
from dxa_tbs.tracking.tracker import Tracker
from dxa_tbs.verification import seal

if TYPE_CHECKING:
    from dxa_tbs.pipeline.network import Network
    from dxa_tbs.pipeline.train import Trained

log = logging.getLogger("dxa_tbs.experiment")


@dataclass(frozen=True)
class _Job:
    """A run that must be done.

    Attributes:
        made_from: hashes of data, weights and own code; a run with other hashes is another run.
        warnings: all warnings of the run, including those logged later.
        digests: hashes of the text files of the run, including those written later.
    """

    config: Config
    run_dir: Path
    cohort: Cohort
    made_from: Mapping[str, Any]
    warnings: Sequence[str]
    digests: Mapping[Path, str]
    clock: Clock
    on_progress: OnProgress


@dataclass(frozen=True)
class _Record:
    """What a run leaves behind.

    Attributes:
        facts: written to metrics.json at the end.
        tracker: is told what happens.
    """

    facts: dict[str, Any]
    tracker: Tracker


def run_experiment(
    config: Config, *, defaults: Mapping[str, Any] | None = None, on_progress: OnProgress = ignore_progress
) -> Path:
    """Train and test, or only test (`evaluate`), unless the run is finished; return the run folder.

    Args:
        config: the checked configuration.
        defaults: default settings of the same dataset, approach and model (`compose.default_settings`), from which the
            folder gets its name.

    Raises:
        Refusal: the data, the folder, the weights or the device cannot be used.
    """
    clock, plain = Clock(), to_plain(config)
    weights_sha256 = _weights_sha256(config)
    run_dir = run_folder(plain, defaults=defaults, evaluated_sha256=weights_sha256 if config.evaluate else None)
    with gathered_warnings() as warnings, gathered_digests() as digests, one_line_errors():
        cohort = gather_cohort(config, needed=("test",) if config.evaluate else SPLITS)
        made_from = {
            "data_sha256": cohort.data_sha256,
            "weights_sha256": weights_sha256,
            "code_sha256": _code_sha256(config),
        }
        if state_of(run_dir) == "finished":
            seal.require_intact(run_dir)
        if is_finished(run_dir, plain, made_from):
            log.info("skipped, already finished: %s", run_dir)
            return run_dir
        job = _Job(config, run_dir, cohort, made_from, warnings, digests, clock, on_progress)
        _evaluate(job, Path(config.evaluate)) if config.evaluate else _train_and_test(job)
    return run_dir


def _weights_sha256(config: Config) -> str | None:
    """Return the hash of the weights file that the user names, if any; it is part of the run's identity.

    Raises:
        Refusal: the run to evaluate is damaged.
    """
    if config.evaluate is not None:
        source = Path(config.evaluate)
        seal.require_intact(source, with_weights=True)
        return str(read_environment(source)["weights"]["sha256"])
    file = weights_file(config.model)
    return None if file is None else sha256_of_file(file)


def _code_sha256(config: Config) -> dict[str, str]:
    """Return the hashes of the user's own code that a run needs; an evaluation needs that of the network alone.

    Raises:
        Refusal: the code cannot be imported, or differs from that of the run to evaluate.
    """
    named = named_code(to_plain(config))
    if config.evaluate is None:
        return code_sha256(named)
    of_network = {key: path for key, path in named.items() if key.startswith("model.")}
    return require_same_code(Path(config.evaluate), of_network)


def _train_and_test(job: _Job) -> None:
    config, clock = job.config, job.clock
    with garbage_collection_paused():  # these modules import torch
        from dxa_tbs.pipeline.train import new_network, train
        from dxa_tbs.training.checkpoint import save_weights

    with clock.part("prepare_s"):
        network = new_network(config, on_progress=job.on_progress)
    prepared = prepare(config, job.cohort, clock=clock, on_progress=job.on_progress)
    with _recorded(job) as record:
        if record is None:
            return
        environment = _write_start(job, prepared, network)
        np.save(job.run_dir / SIGNATURES_NPY, prepared.signatures[(job.cohort.table["split"] != "test").to_numpy()])
        keeping = keeping_history(job.run_dir, config.trainer.epochs, record.tracker, job.on_progress)
        trained = train(prepared.development, config, network=network, clock=clock, on_progress=keeping)
        save_weights(network.state, job.run_dir / MODEL_PT)
        write_json(job.run_dir / TIMING_JSON, trained.timing)
        record.facts.update(trained.facts)
        record.facts.update(_test(job, prepared, trained, environment, source=None))


def _evaluate(job: _Job, source: Path) -> None:
    with garbage_collection_paused():
        trained = load_trained(job.config, source)
    bits = read_metrics(source)["bits"]  # scale 16-bit images as in training
    prepared = prepare(job.config, job.cohort, copies=False, bits=bits, on_progress=job.on_progress)
    check_new_to(source, prepared, job.config)
    with _recorded(job) as record:
        if record is None:
            return
        environment = _write_start(job, prepared, trained.network)
        is_external = read_config(source)["dataset"] != to_plain(job.config)["dataset"]
        record.facts.update({"evaluated_run": str(source), "is_external": is_external})
        record.facts.update(_test(job, prepared, trained, environment, source=source))


@contextlib.contextmanager
def _recorded(job: _Job) -> Iterator[_Record | None]:
    """Lock the run folder and yield a record, written to metrics.json at the end.

    Yields None if another process has finished the run.
    """
    with claim_run(job.run_dir, to_plain(job.config), job.made_from) as is_to_do:
        if not is_to_do:
            yield None
            return
        with contextlib.ExitStack() as stack:
            stack.enter_context(log_file(job.run_dir / TRAIN_LOG, so_far=job.warnings))
            with job.clock.paused():  # the time of a training does not depend on its tracker
                tracker = stack.enter_context(tracker_of(job.config, job.run_dir))
            record = _Record({**job.made_from, "cohort_sha256": job.cohort.cohort_sha256}, tracker)
            yield record
            seal.write_metrics(job.run_dir, {**record.facts, "warnings": job.warnings}, job.digests)
            tracker.finish(final_figures(record.facts))
            log.info("finished: %s", job.run_dir)


def _write_start(job: _Job, prepared: Prepared, network: Network) -> dict[str, Any]:
    """Write the files that are known before training; return the contents of environment.json known so far."""
    from dxa_tbs.training.device import describe_device

    write_csv(job.run_dir / LAYERS_CSV, pd.DataFrame(network.layers))
    write_csv(job.run_dir / MEASURES_CSV, prepared.measures)
    write_csv(job.run_dir / SPLIT_CSV, prepared.table)
    described = describe_software() | describe_device(network.device, network.precision.value)
    study = plan_sha256(Path(job.config.output_root, job.config.name))
    return described | {"started": utc_now(), "study_sha256": study}


def _test(
    job: _Job,
    prepared: Prepared,
    trained: Trained,
    environment: Mapping[str, Any],
    *,
    source: Path | None,
) -> dict[str, Any]:
    """Test the network, write the results and return their part of metrics.json.

    Args:
        source: the run whose weights are evaluated; None: this one's.
    """
    from dxa_tbs.pipeline.test import test

    network = trained.network
    weights = network.weights | {"sha256": sha256_of_file((source or job.run_dir) / MODEL_PT)}
    write_json(job.run_dir / ENVIRONMENT_JSON, {**environment, "weights": weights})
    predictions = test(trained, prepared, on_progress=job.on_progress)
    write_csv(job.run_dir / PREDICTIONS_CSV, predictions)
    tested_epoch = trained.facts.get("tested_epoch")
    scored = ScoredRun(
        job.run_dir, job.config, prepared, predictions, network.is_initialised_as_configured, tested_epoch, source
    )
    return {
        "synthetic": prepared.is_synthetic,
        "bits": prepared.bits,
        "initialisation": network.weights["initial"],
        "trainable_parameters": network.trainable_parameters,
        "num_images": count_images(prepared.table, network.task.class_names),
        **write_results(network.task, scored),
    }

"""Train and test one network, or score a finished one on other images: python -m dxa_tbs.train model=model4"""

from __future__ import annotations

import logging
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from dxa_tbs.config.answers import one_line_refusals, print_refusal, refuse_empty_sweeps
from dxa_tbs.config.compose import check_recipe, default_settings, help_text
from dxa_tbs.config.kinds import register_schemas
from dxa_tbs.config.schema import conf_dir
from dxa_tbs.errors import Refusal
from dxa_tbs.pipeline.configure import configure
from dxa_tbs.pipeline.imports import garbage_collection_paused
from dxa_tbs.progress import OnProgress, ignore_progress
from dxa_tbs.workers import end_with_parent

if TYPE_CHECKING:
    from dxa_tbs.api import Run
    from dxa_tbs.config.schema import Config

register_schemas()
log = logging.getLogger("dxa_tbs.train")  # not __name__, which is __main__ under python -m


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
def run_job(cfg: DictConfig) -> float | None:
    """Run one job; return the watched validation loss of the tested epoch, for a sweeper to minimise.

    In a sweep, a failed job does not stop the others, and the sweep ends with a non-zero exit status.
    """
    end_with_parent()  # a launcher may have started this process
    is_single = HydraConfig.get().mode == RunMode.RUN
    failure: Exception
    try:
        typed = HydraConfig.get().overrides
        return _run(cfg, overrides=list(typed.task), framework=list(typed.hydra))
    except Refusal as refusal:
        if is_single:
            print_refusal(refusal)
            sys.exit(1)
        log.error("not run: %s", "\n  ".join([str(refusal), *refusal.details]))
        failure = refusal
    except Exception as error:
        if is_single:
            raise
        log.exception("failed")  # the launcher shows the error only at the end
        failure = error
    raise _without_frames(failure)


def _without_frames(error: Exception) -> Exception:
    """Return the error without its stack frames: Hydra keeps it until the sweep ends, and frames keep GPU tensors."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _run(cfg: DictConfig, *, overrides: list[str], framework: list[str]) -> float | None:
    for text in framework:
        if text.startswith(("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")):
            raise Refusal(f"{text}: does not set the folder of a run: use output_root=<folder> and name=<name>")
    check_recipe(overrides)
    choices = HydraConfig.get().runtime.choices
    config = configure(cfg, choices, overrides)

    with garbage_collection_paused():  # imports pandas, which is slow and not needed to refuse a setting
        from dxa_tbs.pipeline.experiment import run_experiment
        from dxa_tbs.pipeline.results import watched_loss
        from dxa_tbs.pipeline.terminal import progress_bars

    defaults = default_settings(choices, framework)
    with progress_bars() as show:
        return watched_loss(run_experiment(config, defaults=defaults, on_progress=show))


def main() -> None:
    arguments = sys.argv[1:]
    with one_line_refusals(arguments):
        refuse_empty_sweeps(arguments)
        flags = {text for text in arguments if text.startswith("-")}
        if flags and flags <= {"--help", "-h"}:
            print(help_text([text for text in arguments if text not in flags]))
        else:
            run_job()


class _CallableModule(ModuleType):
    """Makes this module the function `dxa_tbs.train` too: a package has one attribute of that name."""

    def __call__(self, config: Config, *, on_progress: OnProgress = ignore_progress) -> Run:
        from dxa_tbs.api import train

        return train(config, on_progress=on_progress)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    main()

"""From composed settings to a checked configuration; an evaluation takes over the settings of the run it evaluates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from dxa_tbs.config.checks import check_config, check_names
from dxa_tbs.config.compose import load_config, take_over_training
from dxa_tbs.config.schema import Config
from dxa_tbs.runs.folder import require_finished
from dxa_tbs.runs.identity import read_config

NAMED_GROUPS = ("task", "loss", "model", "approach", "split", "augmentation", "optimizer", "tracker")


def configure(cfg: DictConfig, choices: Mapping[str, str], overrides: Sequence[str]) -> Config:
    """Return the checked configuration.

    Args:
        cfg: composed; changed in place if it evaluates a run.
        choices: the option of each group.
        overrides: as typed.

    Raises:
        Refusal: a setting cannot be used, or the run to be evaluated is not finished or damaged.
    """
    check_names({group: OmegaConf.select(cfg, f"{group}.name") for group in NAMED_GROUPS}, choices)
    if cfg.evaluate is not None:
        from dxa_tbs.verification import seal  # imports numpy, which is slow and not needed to refuse a setting

        source = require_finished(Path(cfg.evaluate))
        seal.require_intact(source)
        take_over_training(cfg, read_config(source), overrides)
    config = load_config(cfg)
    check_config(config)
    return config

"""From composed settings to a checked configuration; an evaluation takes over the settings of the run it evaluates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from dxa_tbs.config.checks import NAMED_GROUPS, check_config, check_names
from dxa_tbs.config.compose import OF_TRAINING, load_config, names_itself, take_over_training, to_plain
from dxa_tbs.config.composed import Origin
from dxa_tbs.config.schema import Config
from dxa_tbs.errors import Refusal
from dxa_tbs.own_code import named_code, require_named_again
from dxa_tbs.runs.folder import require_finished
from dxa_tbs.runs.identity import flatten, read_config


def configure(cfg: DictConfig, choices: Mapping[str, str], overrides: Sequence[str]) -> Config:
    """Return the checked configuration.

    Args:
        cfg: composed; changed in place if it evaluates a run.
        choices: the option of each group.
        overrides: as typed.

    Raises:
        Refusal: a setting cannot be used, or the run to be evaluated is not finished or damaged.
    """
    names = {group: OmegaConf.select(cfg, f"{group}.name") for group in NAMED_GROUPS if not names_itself(cfg, group)}
    check_names(names, choices)
    if cfg.evaluate is not None:
        take_over_training(cfg, read_config(_require_evaluable(cfg.evaluate)), overrides)
    config = load_config(cfg)
    check_config(config)
    return config


def refuse_what_is_fixed(config: Config, origin: Origin) -> None:
    """Check that an evaluation has the settings of its training, and that the user named all code to import.

    Raises:
        Refusal: a setting that the trained weights fix was changed, or a run folder alone names the user's own code.
    """
    plain = to_plain(config)
    if origin.run is not None:
        needed = plain if config.evaluate is None else {"model": plain["model"]}  # an evaluation trains nothing
        require_named_again(named_code(needed), {}, run=origin.run)
    if config.evaluate is None:
        return
    trained = read_config(_require_evaluable(config.evaluate))
    theirs, ours = (flatten({name: settings[name] for name in OF_TRAINING}) for settings in (trained, plain))
    for key in sorted((theirs.keys() | ours.keys()) - {"trainer.device"}):
        if theirs.get(key) != ours.get(key):
            raise Refusal(f"{key}={ours.get(key)}: is fixed by the run given with evaluate=<run>: leave it as composed")


def _require_evaluable(evaluate: str) -> Path:
    from dxa_tbs.verification import seal  # imports numpy, which is slow and not needed to refuse a setting

    source = require_finished(Path(evaluate))
    seal.require_intact(source)
    return source

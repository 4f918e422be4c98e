"""What every entry shares: what a user gave wrong is answered in one line, with the nearest valid name in it."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import itertools
import os
import re
import sys
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from dxa_tbs.config import SCHEMAS, Config, conf_dir
from dxa_tbs.errors import Refusal

CONFIG_DIR_FLAGS = ("--config-dir", "-cd")
TRACE = "HYDRA_FULL_ERROR"  # set to 1 by the user: Hydra's and our stack traces instead


@contextlib.contextmanager
def one_line_refusals() -> Iterator[None]:
    """Print what a user gave wrong as one line on stderr and exit with status 1; faults of ours keep their trace."""
    if os.environ.get(TRACE) == "1":
        yield
        return
    os.environ[TRACE] = "1"  # Hydra then hands its exceptions on instead of printing them its own way
    try:
        yield
    except Refusal as refusal:
        print_refusal(refusal)
        sys.exit(1)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        print(f"dxa_tbs: {explain(error)}", file=sys.stderr)
        sys.exit(1)
    except ValueError as error:
        if "Config group override must be" not in str(error):
            raise
        print("dxa_tbs: a group cannot be null: choose one of its options (--help lists them)", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        print(
            f"dxa_tbs: {error.filename}: {error.strerror}: name a place that can be read and written", file=sys.stderr
        )
        sys.exit(1)
    except KeyboardInterrupt:
        print("dxa_tbs: stopped", file=sys.stderr)
        sys.exit(130)
    finally:
        del os.environ[TRACE]


def print_refusal(refusal: Refusal) -> None:
    print("\n  ".join([f"dxa_tbs: {refusal}", *refusal.details]), file=sys.stderr)


def refuse_empty_sweeps(arguments: Sequence[str]) -> None:
    """Refuse a sweep over nothing, such as seed=range(0,0): Hydra runs no job and calls that a success.

    Raises:
        Refusal: names the setting.
    """
    folders = [conf_dir(), *(Path(after) for flag, after in itertools.pairwise(arguments) if flag in CONFIG_DIR_FLAGS)]
    folders += [Path(text.partition("=")[2]) for text in arguments if text.startswith("--config-dir=")]
    for text in [text for text in arguments if "=" in text and not text.startswith("-")]:
        try:
            override = OverridesParser.create().parse_override(text)
            if not override.is_sweep_override():
                continue
            if isinstance(value := override.value(), Glob):
                group = override.get_key_element()
                names = value.filter([path.stem for folder in folders for path in (folder / group).glob("*.yaml")])
            else:
                names = list(itertools.islice(override.sweep_string_iterator(), 1))
        except (HydraException, ValueError):
            continue  # Hydra says what is wrong with it
        if not names:
            raise Refusal(f"{text}: holds no value, so nothing would be run: give one or more")


def explain(error: Exception) -> str:
    """Return one line that says what was typed wrong and what was probably meant."""
    if isinstance(error, MissingConfigException) and error.options is not None and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return (
            f"{group}={option}: no such option{_nearest(option, error.options)}; there are {', '.join(error.options)}"
        )
    if isinstance(error, OverrideParseException):
        quotes = (
            "; a value with = ( ) , ' or letters outside ASCII in it goes in quotes: 'key=\"value\"'"
            if "=" in str(error.override)
            else ""
        )
        return f"{error.override}: not of the form key=value{quotes}"
    causes = [error]
    while (cause := causes[-1].__cause__) is not None and isinstance(cause, Exception):
        causes.append(cause)
    text = "\n".join(str(cause) for cause in causes)
    if unknown := re.search(r"Could not override '([^']+)'", text):
        if unknown[1] in _all_keys():
            return f"{unknown[1]}: the option chosen for {unknown[1].split('.')[0]} has no such setting"
        return f"{unknown[1]}: no such setting{_nearest(unknown[1], _all_keys())}"
    if ambiguous := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return f"{ambiguous[1]}: several values: add -m to run them all, or quote one value that has commas"
    if wrong := re.search(r"Error merging override (\S+)", text):
        if "is not a ListConfig" in str(causes[-1]):
            return f"{wrong[1]}: takes several values: give a list, such as [0.5,0.5,0.5]"
        return f"{wrong[1]}: {_first_line(causes[-1])}"
    if in_file := re.search(r"In '([^']+)': .*?Key '([^']+)' not in '", text, re.DOTALL):
        return f"conf/{in_file[1]}.yaml: {in_file[2]}: no such setting{_nearest(in_file[2], _all_keys())}"
    if isinstance(causes[-1], yaml.MarkedYAMLError) and causes[-1].problem_mark is not None:
        mark = causes[-1].problem_mark
        return f"{mark.name}, line {mark.line + 1}: {causes[-1].problem}"
    return _first_line(causes[0])


def _nearest(name: str, valid: Sequence[str]) -> str:
    """Return `: did you mean ...?` if something valid is near: by spelling, or the same last part elsewhere."""
    same_last = [key for key in valid if key.split(".")[-1] == name.split(".")[-1]]
    near = same_last or difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f": did you mean {' or '.join(near)}?" if near else ""


def _all_keys() -> list[str]:
    """Return every key of every schema, and the groups: model, trainer.epochs, optimizer.momentum, ..."""

    def walk(schema: Any, prefix: str) -> Iterator[str]:
        for name, declared in typing.get_type_hints(schema).items():
            yield prefix + name
            kinds = SCHEMAS.get(name, {}).values() if not prefix else ()
            for kind in kinds or ([declared] if dataclasses.is_dataclass(declared) else []):
                yield from walk(kind, f"{prefix}{name}.")

    return sorted({*walk(Config, ""), "recipe", "experiment"})


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]

"""Answers to user errors, for every command: one line that names the error and the nearest valid name."""

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

from dxa_tbs.config.kinds import KINDS
from dxa_tbs.config.schema import Config, conf_dir
from dxa_tbs.config.stopping import stoppable
from dxa_tbs.disk import explain as explain_os_error
from dxa_tbs.errors import Refusal

CONFIG_DIR_FLAGS = ("--config-dir", "-cd")
IN_FILE = re.compile(r"In '([^']+/[^']+)': (.+)", re.DOTALL)  # a Hydra error about a file of a group
TRACE = "HYDRA_FULL_ERROR"  # if the user sets it to 1, stack traces are shown instead


@contextlib.contextmanager
def one_line_refusals(arguments: Sequence[str] = ()) -> Iterator[None]:
    """Print user errors as one line on stderr and exit with status 1; our own errors keep their stack trace.

    Ctrl-C and SIGTERM end the command in the same way, see `stopping`.

    Args:
        arguments: the command line; its --config-dir flags help to find the faulty YAML file.
    """
    if os.environ.get(TRACE) == "1":
        yield
        return
    os.environ[TRACE] = "1"  # makes Hydra raise its exceptions instead of printing them
    try:
        with stoppable():
            yield
    except Refusal as refusal:
        print_refusal(refusal)
        sys.exit(1)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        print(f"dxa_tbs: {explain(error, config_folders(arguments))}", file=sys.stderr)
        sys.exit(1)
    except ValueError as error:
        if wrong := re.fullmatch(r"Invalid defaults list in '([^']+)', (.+)", str(error), re.DOTALL):
            file = _file_of(wrong[1], config_folders(arguments))
            print(
                f"dxa_tbs: {file}: {_first_line(wrong[2])}: write, for example, defaults: [model4, _self_]",
                file=sys.stderr,
            )
            sys.exit(1)
        if "Config group override must be" not in str(error):
            raise
        print("dxa_tbs: a group cannot be null: choose one of its options (--help lists them)", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        print(f"dxa_tbs: {explain_os_error(error)}", file=sys.stderr)
        sys.exit(1)
    finally:
        del os.environ[TRACE]


def print_refusal(refusal: Refusal) -> None:
    print("\n  ".join([f"dxa_tbs: {refusal}", *refusal.details]), file=sys.stderr)


def refuse_empty_sweeps(arguments: Sequence[str]) -> None:
    """Refuse an empty sweep, such as seed=range(0,0): Hydra would run no job and report success.

    Raises:
        Refusal: a sweep is empty; the message names the setting.
    """
    folders = config_folders(arguments)
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
            continue  # Hydra reports the error later
        if not names:
            raise Refusal(f"{text}: has no values, so nothing would run: give at least one")


def config_folders(arguments: Sequence[str]) -> list[Path]:
    """Return the folders in which YAML files are looked up: conf/ of the project, then the user's own folders."""
    after_flag = [Path(after) for flag, after in itertools.pairwise(arguments) if flag in CONFIG_DIR_FLAGS]
    joined = [Path(text.partition("=")[2]) for text in arguments if text.startswith("--config-dir=")]
    return [conf_dir(), *after_flag, *joined]


def explain(error: Exception, folders: Sequence[Path]) -> str:
    """Return one line that explains an error on the command line or in a YAML file and suggests a correction.

    Args:
        folders: the folders in which YAML files are looked up.
    """
    if in_file := IN_FILE.match(str(error)):
        return f"{_file_of(in_file[1], folders)}: {_wrong_in_file(in_file[1], in_file[2], folders)}"
    if isinstance(error, MissingConfigException) and error.options is not None and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return f"{group}={option}: no such option{_nearest(option, error.options)}; options: {', '.join(error.options)}"
    if isinstance(error, OverrideParseException):
        quotes = (
            "; put a value that contains = ( ) , ' or non-ASCII letters in quotes: 'key=\"value\"'"
            if "=" in str(error.override)
            else ""
        )
        return f"{error.override}: is not of the form key=value{quotes}"
    causes = [error]
    while (cause := causes[-1].__cause__) is not None and isinstance(cause, Exception):
        causes.append(cause)
    text = "\n".join(str(cause) for cause in causes)
    if own := re.search(r"Could not override '(\w+\.settings)[.']", text):
        return f"{own[1]}: settings of your own code are added: write +{own[1]}.<name>=<value>, with a plus"
    if unknown := re.search(r"Could not override '([^']+)'", text):
        if unknown[1] in _all_keys():
            return f"{unknown[1]}: the option chosen for {unknown[1].split('.')[0]} has no such setting"
        if re.fullmatch(r"augmentation\.operations\.\d+\.\w+", unknown[1]):
            return f"{unknown[1]}: this entry has no such setting; if its operation has it, write +{unknown[1]}=..."
        return f"{unknown[1]}: no such setting{_nearest(unknown[1], _all_keys())}"
    if ambiguous := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return f"{ambiguous[1]}: has several values: add -m to run them all, or quote one value that contains commas"
    if wrong := re.search(r"Error merging override (\S+)", text):
        if "is not a ListConfig" in str(causes[-1]):
            example = "[{name:flip}]" if wrong[1].startswith("augmentation.operations=") else "[0.5,0.5,0.5]"
            return f"{wrong[1]}: must be a list, such as {example}"
        return f"{wrong[1]}: {_first_line(causes[-1])}"
    if isinstance(causes[-1], yaml.MarkedYAMLError) and causes[-1].problem_mark is not None:
        mark = causes[-1].problem_mark
        return f"{mark.name}, line {mark.line + 1}: {causes[-1].problem}"
    return _first_line(causes[0])


def _wrong_in_file(config: str, text: str, folders: Sequence[Path]) -> str:
    """Return the error that Hydra found in a file: the key, the value and the allowed values.

    Args:
        config: the file, as group/option.
        text: all lines of Hydra's error.
    """
    if missing := re.match(r"Could not load '(.+)/([^/']+)'", text):
        options = sorted({path.stem for folder in folders for path in (folder / missing[1]).glob("*.yaml")})
        near = _nearest(missing[2], options)
        return f"defaults: {missing[1]}={missing[2]}: no such option{near}; options: {', '.join(options)}"
    if unknown := re.match(r"Could not override '([^']+)'", text):
        return f"defaults: override {unknown[1]}: no such group{_nearest(unknown[1], _groups())}"
    _, _, problem = text.partition("raised while composing config:\n")
    key = re.search(r"^ *full_key: (\S+)", text, re.MULTILINE)
    if key and re.match(r"Key '[^']+' not in '", problem):
        is_elsewhere = key[1] in _all_keys()
        why = f": the {config.split('/')[0]} schema in its defaults does not have it" if is_elsewhere else ""
        return f"{key[1]}: no such setting{why or _nearest(key[1], _all_keys())}"
    if "is not a ListConfig" in problem and key:
        return f"{key[1]}: {_value_in(config, key[1], folders)}: must be a list, such as [8, 28]"
    if of_section := re.match(r"Merge error: \w+ is not a subclass of (\w+?)Config\. value: (.*)", problem):
        section = of_section[1].lower()
        return f"{section}: {of_section[2]}: must be a group of settings: write {section}: {{...}}"
    return ": ".join([*([key[1]] if key else []), _first_line(problem or text)])


def _value_in(config: str, key: str, folders: Sequence[Path]) -> Any:
    """Return the value of a dotted key in a file; the key may start with the file's package."""
    path = next((path for folder in folders if (path := folder / f"{config}.yaml").is_file()), None)
    if path is None:  # the file is in a folder of hydra.searchpath
        return "one value"
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    for part in key.split("."):
        found = found[part] if isinstance(found, dict) and part in found else found
    return found


def _file_of(config: str, folders: Sequence[Path]) -> str:
    """Return the path of the file of group/option; our own files are shown as conf/<group>/<option>.yaml."""
    for folder in folders:
        if (folder / f"{config}.yaml").is_file():
            return f"conf/{config}.yaml" if folder == conf_dir() else str(folder / f"{config}.yaml")
    return f"{config}.yaml"


def _groups() -> list[str]:
    sections = typing.get_type_hints(Config)
    return [*(group for group in KINDS if group in sections), "augmentation", "recipe", "experiment"]


def _nearest(name: str, valid: Sequence[str]) -> str:
    """Return `: did you mean ...?` if a valid name is spelled alike or has the same last part, else an empty string."""
    same_last = [key for key in valid if key.split(".")[-1] == name.split(".")[-1]]
    near = same_last or difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f": did you mean {' or '.join(near)}?" if near else ""


def _all_keys() -> list[str]:
    """Return every key of every schema, and the groups: model, trainer.epochs, optimizer.momentum, ..."""

    def walk(schema: Any, prefix: str) -> Iterator[str]:
        for name, declared in typing.get_type_hints(schema).items():
            yield prefix + name
            kinds: list[Any] = [kind.schema for kind in KINDS.get(name, {}).values()] if not prefix else []
            for kind in kinds or ([declared] if dataclasses.is_dataclass(declared) else []):
                yield from walk(kind, f"{prefix}{name}.")

    return sorted({*walk(Config, ""), "recipe", "experiment"})


def _first_line(error: Exception | str) -> str:
    return str(error).strip().splitlines()[0]

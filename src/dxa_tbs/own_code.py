"""Code of the user's own, named by a setting as `package.module:function`. Every room may import this module.

It is imported only because the user named it in a command or in a YAML file of their own, never because a run folder or
a file of weights names it.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import pkgutil
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dxa_tbs.errors import Refusal
from dxa_tbs.hashes import sha256_of_file

IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
FACTORY = "factory"  # the setting of each group's option `custom`


def named_code(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the import paths in resolved settings by their dotted keys, such as model.factory.

    They are the settings `factory` of all groups, and the operations of an augmentation whose names have a colon.
    """
    named = {
        f"{group}.{FACTORY}": str(section[FACTORY])
        for group, section in settings.items()
        if isinstance(section, Mapping) and FACTORY in section
    }
    operations = settings.get("augmentation", {}).get("operations", [])
    names = [str(operation["name"]) for operation in operations]
    return named | {f"augmentation.operations.{place}": name for place, name in enumerate(names) if ":" in name}


def import_named(path: str, *, key: str) -> Callable[..., Any]:
    """Import and return a function or class; the current folder is searched too, after all others.

    Args:
        path: package.module:function.
        key: the setting that names it.

    Raises:
        Refusal: there is no such function, or importing its module fails.
    """
    if not IMPORT_PATH.fullmatch(path):
        raise Refusal(f"{key}={path}: is not of the form package.module:function")
    if os.getcwd() not in sys.path and "" not in sys.path:  # noqa: PTH109 - the console scripts do not add it
        sys.path.append(os.getcwd())  # noqa: PTH109
    try:
        found: Callable[..., Any] = pkgutil.resolve_name(path)
    except (Exception, SystemExit) as error:  # the module is the user's: importing it can raise anything
        raise Refusal(
            f"{key}={path}: cannot be imported ({describe_error(error)}): correct it, start the command in the folder "
            "that contains the package, or install the package"
        ) from None
    if not callable(found):
        raise Refusal(f"{key}={path}: is not a function or class: name one")
    return found


@contextlib.contextmanager
def refusing_failures(path: str, *, key: str) -> Iterator[None]:
    """Turn any error of the user's code within the block into a one-line refusal.

    Args:
        path: package.module:function, which the block calls.
        key: the setting that names it.
    """
    try:
        yield
    except (Refusal, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise Refusal(f"{key}={path}: fails ({describe_error(error)}): correct it") from None


def code_sha256(named: Mapping[str, str]) -> dict[str, str]:
    """Return the SHA-256 of the file that defines each named function, by the same keys.

    Functions of installed packages are left out: a version describes them. Modules that these files import are not
    covered.

    Args:
        named: as `named_code` returns it.

    Raises:
        Refusal: a function cannot be imported, or its code is in no file.
    """
    return {key: sha256_of_file(file) for key, file in _own_files(named)}


def require_named_again(of_run: Mapping[str, str], given: Mapping[str, str], *, run: Path | str) -> None:
    """Check that the user names the code that a finished run was made with.

    Args:
        of_run: the import paths in the settings of the run, by the keys or arguments that name them.
        given: those that the user named, by the same keys.

    Raises:
        Refusal: one is not named, or is another.
    """
    for key, path in of_run.items():
        if key not in given and key.startswith("augmentation."):
            raise Refusal(
                f"{run} needs code of yours, {path}, which is not imported because a run names it: compose the "
                "settings anew"
            )
        if key not in given:
            option = f"{key.split('.')[0]}=custom " if "." in key else ""
            raise Refusal(
                f"{run} needs code of yours, which is not imported because a run names it: if you trust it, give "
                f"{option}{key}={path}"
            )
        if given[key] != path:
            raise Refusal(f"{key}={given[key]}: the run was made with {path}: give that")


def _own_files(named: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Yield the key and the source file of each named function that is not part of an installed package."""
    installed = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")]
    for key, path in named.items():
        function = import_named(path, key=key)
        try:
            file = Path(str(inspect.getsourcefile(sys.modules[inspect.unwrap(function).__module__]))).resolve()
        except (TypeError, AttributeError, KeyError):
            file = Path()
        if not file.is_file():
            raise Refusal(
                f"{key}={path}: its code is in no file, so changes to it would go unnoticed: put it into a module"
            )
        if not any(file.is_relative_to(folder) for folder in installed):
            yield key, file


def describe_error(error: BaseException) -> str:
    """Return the type and text of an error, with the line of the user's code that raised it."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    last = traceback.extract_tb(error.__traceback__)[-1]
    is_ours = isinstance(error, ImportError) or "importlib" in last.filename
    is_ours |= Path(last.filename).is_relative_to(Path(__file__).parent) or last.filename == pkgutil.__file__
    return " ".join(text.split()) + ("" if is_ours else f", {Path(last.filename).name}, line {last.lineno}")

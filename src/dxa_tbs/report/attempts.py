"""Parts of a report, made one by one: a part that fails takes no other part with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from dxa_tbs.report.documents import NotMadeError
from dxa_tbs.report.outputs import without_folders

Arguments = ParamSpec("Arguments")
Made = TypeVar("Made")
Default = TypeVar("Default")


class Attempts:
    """Makes parts of a report.

    Attributes:
        missing: a line for each run or part that is not in the report, and why.
    """

    def __init__(self, missing: list[str]) -> None:
        self.missing = list(missing)

    def make(
        self,
        part: str,
        default: Default,
        make: Callable[Arguments, Made],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Made | Default:
        """Return what `make` returns; if it fails, add a line to `missing` and return `default`."""
        try:
            return make(*arguments, **named)
        except NotMadeError as reason:
            self.missing.append(f"{part}: {reason}")
        except Exception as error:
            self.missing.append(f"{part} failed ({type(error).__name__}: {without_folders(str(error))})")
        return default

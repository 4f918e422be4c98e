"""The one exception for what a user gave and the runner cannot use; every room may raise it."""

from __future__ import annotations

from collections.abc import Sequence


class Refusal(Exception):  # noqa: N818 - not a fault of the program
    """One line that names the key or file, the value and the way out; entries print it and exit with status 1.

    Attributes:
        details: what the line speaks of where there are many of it (files, rows), printed below it, a line each.
    """

    def __init__(self, text: str, details: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.details = tuple(details)

    def __reduce__(self) -> tuple[type[Refusal], tuple[str, tuple[str, ...]]]:
        return type(self), (str(self), self.details)  # crosses process borders whole

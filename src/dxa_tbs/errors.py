"""The exception for input that cannot be used; every room may raise it."""

from __future__ import annotations

from collections.abc import Sequence


class Refusal(Exception):  # noqa: N818 - not an error in the program
    """A one-line message that names the key or file, the value and the way out.

    Entries print it and exit with status 1.

    Attributes:
        details: further lines, printed below the message, such as the files or rows that it is about.
    """

    def __init__(self, text: str, details: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.details = tuple(details)

    def __reduce__(self) -> tuple[type[Refusal], tuple[str, tuple[str, ...]]]:
        return type(self), (str(self), self.details)  # pickling would otherwise lose the details

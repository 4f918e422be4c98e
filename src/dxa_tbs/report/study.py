"""Everything that a table, a figure or the page may be made of, as one value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dxa_tbs.report.documents import Document, NotMadeError
from dxa_tbs.report.experiments import Experiment
from dxa_tbs.report.numbers.primary import Primary
from dxa_tbs.report.numbers.splits import SplitResults


@dataclasses.dataclass(frozen=True)
class Study:
    """The finished runs below a folder and what several tables share.

    Attributes:
        root: the folder of the runs; `Run.folder` is relative to it.
        experiments, controls: in the paper's order.
        splits: experiments grouped by split, with its baselines and controls.
        primary: the comparison that was planned before the runs.
        compared: every pair of experiments on the same images, as `comparisons.compare_all` returns them.
        banner: warnings that hold for every number, such as synthetic images.
        prevalence: share of Degraded for PPV and NPV; None: that of the test set.
        missing: a line for each run or table that is not in the study, and why. Complete once the tables are made.
        tables: the documents of each registered table. Empty while they are being made; figures and the page read it.
    """

    root: Path
    experiments: list[Experiment]
    controls: list[Experiment]
    splits: list[SplitResults]
    primary: Primary
    compared: pd.DataFrame
    banner: list[str]
    prevalence: float | None = None
    missing: list[str] = dataclasses.field(default_factory=list)
    tables: Mapping[str, list[Document]] = dataclasses.field(default_factory=dict)

    @property
    def documents(self) -> dict[str, Document]:
        """Return all finished tables by name."""
        return {document.name: document for made in self.tables.values() for document in made}

    def numbers(self, name: str) -> pd.DataFrame:
        """Return the numbers of a finished table.

        Raises:
            NotMadeError: there is no such table.
        """
        documents = self.documents
        if name not in documents:
            raise NotMadeError(f"it is drawn from the table {name}, which is missing")
        return documents[name].numbers

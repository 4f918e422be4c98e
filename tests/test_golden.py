"""The stored runs, tables and settings, and the command that writes the latter two anew. Needs no torch."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import yaml
from golden import FORMATS, write_golden
from golden_runs import DIGEST, GOLDEN, digest_of, stored_runs


def tables_of(folder: Path) -> dict[str, pd.DataFrame]:
    blocks = (folder / "tables.txt").read_text(encoding="utf-8").removeprefix("# ").split("\n\n# ")
    named = dict(block.split("\n", 1) for block in blocks)
    return {name: pd.read_csv(io.StringIO(text)) for name, text in named.items()}


def test_the_stored_runs_are_those_that_0_1_0_wrote() -> None:
    assert digest_of(stored_runs()) == DIGEST


def test_golden_data_written_anew_are_those_that_are_stored(tmp_path: Path) -> None:
    """Numbers agree but for the last digits, in which versions of scipy differ; texts byte for byte."""
    write_golden(tmp_path)
    made, stored = tables_of(tmp_path), tables_of(GOLDEN)
    assert made.keys() == stored.keys()
    assert len(stored) > 20
    for name, table in stored.items():
        pd.testing.assert_frame_equal(made[name], table, rtol=1e-9, obj=name)
    for name in (*FORMATS, "experiments.yaml"):
        assert (tmp_path / name).read_bytes() == (GOLDEN / name).read_bytes(), name


def test_the_citation_names_the_version_and_licence_of_the_package() -> None:
    cited = yaml.safe_load((GOLDEN.parents[1] / "CITATION.cff").read_text(encoding="utf-8"))
    package = (GOLDEN.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{cited["version"]}"' in package
    assert f'license = "{cited["license"]}"' in package

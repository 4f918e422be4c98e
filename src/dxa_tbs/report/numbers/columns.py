"""Estimates as columns of a frame: <name>, <name>_low and <name>_high."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dxa_tbs.evaluation.intervals import Estimate


def estimate_columns(found: Mapping[str, Estimate]) -> dict[str, float]:
    """Return the three columns of each estimate."""
    columns: dict[str, float] = {}
    for name, one in found.items():
        columns |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    return columns


def read_estimate(row: Mapping[str, Any], name: str) -> Estimate:
    """Return an estimate from its three columns."""
    return Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], "")

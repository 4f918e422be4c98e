"""Rebuild the paper's tables and figures from finished runs: python -m dxa_tbs.tables outputs/"""

from __future__ import annotations

import argparse
from pathlib import Path

from dxa_tbs.cli import one_line_refusals


def main() -> None:
    parser = argparse.ArgumentParser(prog="dxa-tables", description=__doc__)
    parser.add_argument("outputs", type=Path, help="the folder that holds the runs")
    arguments = parser.parse_args()
    with one_line_refusals():
        from dxa_tbs.report.paper_tables import write_paper  # here: pandas and matplotlib take their time

        print(write_paper(arguments.outputs), end="")
        print(f"\nwritten to {arguments.outputs / 'tables'} and {arguments.outputs / 'figures'}")


if __name__ == "__main__":
    main()

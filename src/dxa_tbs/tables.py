"""Rebuild tables, figures and report.html from finished runs: python -m dxa_tbs.tables outputs/"""

from __future__ import annotations

import argparse
from pathlib import Path

from dxa_tbs.config.answers import one_line_refusals
from dxa_tbs.errors import Refusal


def main() -> None:
    parser = argparse.ArgumentParser(prog="dxa-tables", description=__doc__)
    parser.add_argument("outputs", type=Path, help="the folder that contains the runs")
    parser.add_argument(
        "--prevalence",
        type=float,
        metavar="P",
        help="share of Degraded for PPV and NPV (default: that of the test set)",
    )
    arguments = parser.parse_args()
    if arguments.prevalence is not None and not 0 < arguments.prevalence < 1:
        parser.error(f"--prevalence {arguments.prevalence:g}: give a share between 0 and 1")
    with one_line_refusals():
        from dxa_tbs.report.build import write_report  # slow to import: loads pandas and matplotlib

        try:
            text = write_report(arguments.outputs, prevalence=arguments.prevalence)
        except FileNotFoundError as error:
            raise Refusal(
                f"{error.filename}: was removed while the report was built: build it again when no run is being removed"
            ) from None
        print(text, end="")
        print(f"\nwritten: {arguments.outputs / 'report.html'}, with tables/ and figures/ beside it")


if __name__ == "__main__":
    main()

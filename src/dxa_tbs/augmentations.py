"""Measure what augmentation does to texture: python -m dxa_tbs.augmentations augmentation=balanced"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dxa_tbs.config.answers import one_line_refusals
from dxa_tbs.config.compose import compose_settings
from dxa_tbs.config.schema import Config
from dxa_tbs.pipeline.configure import configure

if TYPE_CHECKING:
    from dxa_tbs.pipeline.texture import Texture

FOLDER = "augmentations"  # below the study's folder; also the name of the files in it
NUM_IMAGES = 200


def main() -> None:
    parser = argparse.ArgumentParser(prog="dxa-augmentations", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="settings as for training: dataset=table augmentation=epoch")
    parser.add_argument(
        "--images", type=int, default=NUM_IMAGES, help=f"number of training images (default: {NUM_IMAGES})"
    )
    parser.add_argument("--config-dir", type=Path, help="a folder with YAML files of your own, as for training")
    given = parser.parse_intermixed_args()
    with one_line_refusals():
        searched = [f"hydra.searchpath=[file://{given.config_dir.resolve().as_posix()}]"] if given.config_dir else []
        overrides = [*searched, *given.overrides]
        cfg, choices = compose_settings(overrides)
        config = configure(cfg, choices, overrides)

        from dxa_tbs.pipeline.terminal import progress_bars  # these are slow and not needed to refuse a setting
        from dxa_tbs.pipeline.texture import measure_texture

        with progress_bars() as show:
            texture = measure_texture(config, num_images=given.images, on_progress=show)
        folder = write_texture(texture, config)
        print_texture(texture)
        print(f"\nwritten: {folder / FOLDER}.csv, .png and .pdf")


def write_texture(texture: Texture, config: Config) -> Path:
    """Write the table and the sheet of examples of a configuration; return their folder."""
    from dxa_tbs.report.figures.augmentation_sheet import draw_sheet
    from dxa_tbs.report.figures.run_figures import SYNTHETIC

    folder = Path(config.output_root, config.name, FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    texture.table.assign(operation=_names(texture)).to_csv(folder / f"{FOLDER}.csv", index=False)
    rows = []
    for line in range(len(texture.table)):
        row = []
        for example in texture.examples:
            row.append((example.image, f"original {example.slope:.2f}"))
            row += [(image, _signed(slope - example.slope, digits=2)) for image, slope in example.changed[line]]
        rows.append(row)
    notes = [
        "Two training images, with a small and a large slope of the variogram. Beside each: the two of 24 random "
        "results that differ most, with the change of the slope."
    ]
    draw_sheet(folder / FOLDER, _names(texture), rows, marks=notes + [SYNTHETIC] * texture.is_synthetic)
    return folder


def print_texture(texture: Texture) -> None:
    """Print the table."""
    import pandas as pd

    table = texture.table
    names = pd.Series(_names(texture)).where(table["used"] != "all configured", "all, in this order")
    shown = names.to_frame("operation").assign(
        used=table["used"],
        before=table["slope_before"].map("{:.3f}".format),
        after=table["slope_after"].map("{:.3f}".format),
        shift=table["shift"].map(_signed),
        interval=table["shift_low"].map(_signed) + " to " + table["shift_high"].map(_signed),
        sd=table["shift_sd"].map("{:.3f}".format),
        spreads=table["shift_in_sd"].map("{:+.2f}".format),
    )
    print(f"Slope of the variogram of the whole image, in {table['images'].iloc[0]} training images")
    print(shown.to_string(index=False))
    print("interval: 95 %, of the mean shift; sd: of the shift; spreads: shift / SD of the slope between originals")


def _names(texture: Texture) -> list[str]:
    from dxa_tbs.report.departures import value_text

    return [" then ".join(map(value_text, entries)) for entries in texture.operations]


def _signed(number: float, digits: int = 3) -> str:
    return f"{round(number, digits) + 0.0:+.{digits}f}"  # + 0.0 turns -0.0 into 0.0


if __name__ == "__main__":
    main()

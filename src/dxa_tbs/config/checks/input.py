"""Checks of what a network is given: the size of the images, and their channels."""

from __future__ import annotations

from collections.abc import Iterator

from dxa_tbs.config.checks.ranges import outside
from dxa_tbs.config.schema import Config, TextureChannelsConfig

MIN_SIZE_PX, MAX_SIZE_PX = 32, 2048
MIN_WINDOW_PX = 7  # in a corner, a smaller one holds no pair of pixels three apart


def input_problems(config: Config) -> Iterator[str]:
    """Yield a line for each setting of the input that cannot be used."""
    size_px, channels = config.preprocessing.size_px, config.channels
    yield from outside("preprocessing.size_px", size_px, MIN_SIZE_PX, MAX_SIZE_PX)
    if isinstance(channels, TextureChannelsConfig):
        window_px = channels.window_px
        if window_px % 2 == 0 or not MIN_WINDOW_PX <= window_px <= size_px:
            limits = f"at least {MIN_WINDOW_PX} and at most preprocessing.size_px={size_px}"
            yield f"channels.window_px={window_px}: must be odd, {limits}"

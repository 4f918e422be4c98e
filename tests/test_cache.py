"""The cache: entries that are damaged, truncated, renamed or of version 0.1.0 are rebuilt before they are used."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from conftest import composed
from PIL import Image
from torch import nn

from dxa_tbs import cache
from dxa_tbs.cache import DIGESTS, cached_folder
from dxa_tbs.config.choices import Fit, Precision
from dxa_tbs.data.copies import load_with_copies
from dxa_tbs.data.images import hash_sources, load_images
from dxa_tbs.errors import Refusal
from dxa_tbs.pipeline.augmentation import build_operations
from dxa_tbs.training.batches import build_normalisation
from dxa_tbs.training.features import frozen_features

KINDS = {
    "images": ("images.npy", "measures.npy", "notes.json", DIGESTS),
    "copies": ("images.npy", "sha256.json", DIGESTS),
    "features": ("features.npy", DIGESTS),
}
BOTH = [(kind, name) for kind, names in KINDS.items() for name in names]
Content = tuple[object, ...]


def flip(path: Path, rng: random.Random) -> None:
    """Change one bit somewhere in a file."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def entry_of(folder: Path, kind: str) -> Path:
    (entry,) = (path for path in folder.glob(f"{kind}-*") if path.is_dir())
    return entry


@pytest.fixture
def load(tmp_path: Path) -> dict[str, Callable[[], Content]]:
    """Return for each kind of entry a function that opens it in tmp_path/cache and returns its whole content."""
    rng = np.random.default_rng(0)
    for name in "ab":
        Image.fromarray(rng.integers(0, 256, (230, 230), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    table = pd.DataFrame({"image_id": ["a", "b"], "source": [tmp_path / "a.png", tmp_path / "b.png"]})
    operations = build_operations(composed().augmentation)
    plan = pd.DataFrame({"image_id": ["a-1", "b-1"]}, index=[0, 1])
    where, pixels = tmp_path / "cache", rng.integers(0, 256, (2, 224, 224), dtype=np.uint8)
    stem = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4))

    def images() -> Content:
        found = load_images(table, hash_sources(table), fit=Fit.crop, size_px=224, bits=None, cache_dir=where)
        return found.pixels.tobytes(), found.sha256, found.measures.to_csv(), found.bits

    def copies() -> Content:
        made, sha256 = load_with_copies(pixels, np.arange(2), ["x", "y"], plan, operations, seed=0, cache_dir=where)
        return made.tobytes(), sha256

    def features() -> Content:
        normalise = build_normalisation([0] * 3, [1] * 3, torch.device("cpu"))
        kinds = {"normalise": normalise, "precision": Precision.fp32, "cache_dir": where}
        return (frozen_features(stem, pixels[:, :32, :32], ["x", "y"], **kinds)[0].tobytes(),)  # type: ignore[arg-type]

    return {"images": images, "copies": copies, "features": features}


@pytest.mark.parametrize(("kind", "name"), BOTH)
def test_a_damaged_file_is_noticed_and_rebuilt_with_one_warning(
    kind: str, name: str, load: dict[str, Callable[[], Content]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = load[kind]()
    entry = entry_of(tmp_path / "cache", kind)
    written = (entry / name).read_bytes()
    for content in (written[: len(written) // 2], b"", b"\xff" * len(written), written[:-1] + b"\x00\x00"):
        (entry / name).write_bytes(content)
        caplog.clear()
        assert load[kind]() == whole
        expected = f"cache: {entry.name} was damaged ({name}) and is rebuilt"
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [expected]
        caplog.clear()
        assert load[kind]() == whole
        assert not caplog.records
    (entry / name).unlink()
    assert load[kind]() == whole
    assert (entry / name).is_file()


@pytest.mark.parametrize(("kind", "name"), BOTH)
def test_ten_flipped_bits_change_nothing(
    kind: str, name: str, load: dict[str, Callable[[], Content]], tmp_path: Path
) -> None:
    assert flip_many(kind, name, load, tmp_path, times=10)["changed"] == 0


@pytest.mark.slow
def test_two_hundred_flipped_bits_in_every_file_change_nothing(
    load: dict[str, Callable[[], Content]], tmp_path: Path
) -> None:
    print("\nkind      file           noticed  without effect")
    for kind, name in BOTH:
        counted = flip_many(kind, name, load, tmp_path, times=200)
        print(f"{kind:<9} {name:<14} {counted['noticed']:>7} {counted['without effect']:>15}")
        assert counted["changed"] == 0
        assert counted["noticed"] == 200 or name == DIGESTS  # a flip in its white space changes nothing


def flip_many(
    kind: str, name: str, load: dict[str, Callable[[], Content]], tmp_path: Path, *, times: int
) -> dict[str, int]:
    """Flip a bit and load, again and again; count the outcomes."""
    counted = {"noticed": 0, "without effect": 0, "changed": 0}
    rng, whole = random.Random(name), load[kind]()
    file = entry_of(tmp_path / "cache", kind) / name
    for _ in range(times):
        flip(file, rng)
        damaged = file.read_bytes()
        is_same, is_new = load[kind]() == whole, file.read_bytes() != damaged
        counted["changed" if not is_same else "noticed" if is_new else "without effect"] += 1
    return counted


def test_copies_are_never_made_from_damaged_images(load: dict[str, Callable[[], Content]], tmp_path: Path) -> None:
    """Copies are derived from the images that load_images returns, and these are verified."""
    pixels, *_ = load["images"]()
    file = entry_of(tmp_path / "cache", "images") / "images.npy"
    flip(file, random.Random(0))
    assert load["images"]()[0] == pixels


def test_an_entry_of_version_0_1_0_is_rebuilt_without_a_warning(
    load: dict[str, Callable[[], Content]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = load["copies"]()
    entry = entry_of(tmp_path / "cache", "copies")
    (entry / DIGESTS).unlink()
    flip(entry / "images.npy", random.Random(1))
    with caplog.at_level(logging.INFO):
        assert load["copies"]() == whole
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.getMessage() == f"cache: {entry.name} was written by version 0.1.0, without digests, and is rebuilt"


def write_text(folder: Path, text: str = "right") -> None:
    (folder / "a.txt").write_text(text)


def test_an_entry_with_the_name_of_another_is_rebuilt(tmp_path: Path) -> None:
    right, _ = cached_folder(tmp_path, "things", {"x": 1}, write_text)
    wrong, _ = cached_folder(tmp_path, "things", {"x": 2}, lambda folder: write_text(folder, "wrong"))
    (right / "a.txt").unlink()
    (right / DIGESTS).unlink()
    right.rmdir()
    wrong.rename(right)
    assert cached_folder(tmp_path, "things", {"x": 1}, write_text) == (right, False)
    assert (right / "a.txt").read_text() == "right"


def test_foreign_files_in_an_entry_are_left_alone(tmp_path: Path) -> None:
    entry, _ = cached_folder(tmp_path, "things", {}, write_text)
    (entry / "Thumbs.db").write_text("made by a file manager")
    assert cached_folder(tmp_path, "things", {}, write_text) == (entry, True)


def test_files_of_several_blocks_are_compared_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(cache, "READ_BYTES", 300)
    content = bytes(range(256)) * 20  # 5120: the last block is short

    def write(folder: Path) -> None:
        (folder / "a").write_bytes(content)

    entry, _ = cached_folder(tmp_path, "things", {}, write)
    assert cached_folder(tmp_path, "things", {}, write)[1]
    swapped = content[1000:2000] + content[:1000] + content[2000:]
    for damaged in (swapped, content[:5000], content + b"x", content[:4999] + b"x" + content[5000:]):
        assert damaged != content
        (entry / "a").write_bytes(damaged)
        assert not cached_folder(tmp_path, "things", {}, write)[1]
        assert (entry / "a").read_bytes() == content


def test_verification_does_not_count_as_memory_of_the_process(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        with (folder / "large").open("wb") as file:
            file.truncate(200 * 2**20)

    cached_folder(tmp_path, "things", {}, write)
    before = psutil.Process().memory_info().rss
    assert cached_folder(tmp_path, "things", {}, write)[1]
    assert psutil.Process().memory_info().rss - before < 50 * 2**20


@pytest.mark.skipif(sys.platform == "win32", reason="memory-mapped files cannot be replaced on Windows")
def test_a_reader_of_a_damaged_entry_keeps_its_open_files(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        np.save(folder / "a.npy", np.arange(100_000))

    entry, _ = cached_folder(tmp_path, "things", {}, write)
    mapped = np.load(entry / "a.npy", mmap_mode="r")
    with (entry / "a.npy").open("r+b") as file:
        file.seek(-8, 2)
        file.write(b"\x00" * 8)
    assert not cached_folder(tmp_path, "things", {}, write)[1]
    assert (mapped[:-1] == np.arange(99_999)).all()
    assert mapped[-1] == 0
    assert np.load(entry / "a.npy")[-1] == 99_999
    assert sorted(path.name for path in tmp_path.iterdir()) == [entry.name, f"{entry.name}.lock"]


def test_an_entry_that_cannot_be_replaced_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, _ = cached_folder(tmp_path, "things", {}, write_text)
    (entry / "a.txt").write_text("wrong")

    def held(self: Path, target: Path) -> None:
        raise PermissionError(13, "Access is denied")  # as Windows raises for a folder with a mapped file

    monkeypatch.setattr(Path, "rename", held)
    with pytest.raises(Refusal, match="is damaged and cannot be replaced"):
        cached_folder(tmp_path, "things", {}, write_text)


def test_one_of_several_processes_that_find_the_damage_rebuilds_the_entry(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dxa_tbs.cache import cached_folder\n"
        "def write(folder): (folder / 'a.txt').write_text('right')\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        f"print(cached_folder(Path({str(tmp_path)!r}), 'things', {{}}, write)[1])"
    )
    entry, _ = cached_folder(tmp_path, "things", {}, write_text)
    (entry / "a.txt").write_text("wrong")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    others = [subprocess.Popen([sys.executable, "-c", code], **pipes) for _ in range(3)]  # type: ignore[call-overload]
    assert [other.stdout.readline() for other in others] == ["ready\n"] * 3
    for other in others:
        other.stdin.write("\n")
        other.stdin.flush()
    assert sorted(other.communicate()[0] for other in others) == ["False\n", "True\n", "True\n"]
    assert (entry / "a.txt").read_text() == "right"

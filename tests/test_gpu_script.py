"""scripts/gpu.py: steps that fail, hang or are already finished, and a complete run on the CPU."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))
import gpu  # noqa: E402

HANGS = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"


def step(name: str, code: str, limit_s: float = 60.0) -> gpu.Step:
    return gpu.Step(name, limit_s, ["-c", code], lambda text: {"printed": text.split()})


def run(steps: list[gpu.Step], kept: dict[str, Any], out: Path, *, left_s: float = math.inf) -> dict[str, Any]:
    gpu.run_all(steps, kept, out, os.environ, time.perf_counter() + left_s)
    return {name: done["status"] for name, done in kept["steps"].items()}


@pytest.mark.slow
def test_a_step_that_fails_or_hangs_is_recorded_and_the_next_one_starts(tmp_path: Path) -> None:
    count = f"open({str(tmp_path / 'count')!r}, 'a').write('x'); print('x')"
    steps = [
        step("fails", "import sys; print('no GPU'); sys.exit(3)"),
        step("hangs", HANGS, limit_s=1.0),
        step("works", count),
    ]
    kept: dict[str, Any] = {"steps": {}}
    before = set(psutil.Process().children(recursive=True))  # workers of other tests
    expected = {"fails": "failed (3)", "hangs": "took too long", "works": "finished"}
    assert run(steps, kept, tmp_path) == expected
    assert set(psutil.Process().children(recursive=True)) <= before
    assert kept["steps"]["fails"]["tail"] == ["no GPU"]
    assert kept["steps"]["works"]["result"] == {"printed": ["x"]}
    kept = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    new = step("new", count)
    assert [one.name for one in gpu.in_order([*steps, new], kept["steps"])] == ["new", "fails", "hangs"]
    assert run(steps, kept, tmp_path) == expected
    assert (tmp_path / "count").read_text() == "x"


def test_a_step_cut_short_counts_as_untried_and_no_step_starts_without_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, Any] = {"steps": {}}
    assert run([step("works", "print('x')")], kept, tmp_path, left_s=gpu.SHORTEST_S - 1) == {}
    monkeypatch.setattr(gpu, "SHORTEST_S", 0)
    assert run([step("hangs", HANGS)], kept, tmp_path, left_s=1.0) == {}


def test_a_step_that_leaves_nothing_to_read_has_failed(tmp_path: Path) -> None:
    """The file of an earlier try does not count."""
    file = tmp_path / "lost.json"
    file.write_text("[1]")
    lost = gpu.Step("lost", 60.0, ["-c", "print('x')"], lambda text: json.loads(file.read_text()), file)
    kept: dict[str, Any] = {"steps": {}}
    assert run([lost], kept, tmp_path)["lost"].startswith("failed (nothing to read: ")


def test_the_plan_begins_with_the_tests_and_compares_all_fourteen_experiments(tmp_path: Path) -> None:
    names = [one.name for one in gpu.plan(tmp_path, "cuda", is_quick=False)]
    assert names[:3] == ["tests", "reproduce", "reproduce-4-at-once"]
    assert len([name for name in names if name.startswith("against-scripts-")]) == 14
    assert len([name for name in names if name.startswith("steps-")]) == 10
    assert len(set(names)) == len(names)
    assert all(one.limit_s < 600 for one in gpu.plan(tmp_path, "cuda", is_quick=False))


@pytest.mark.slow
def test_everything_runs_on_the_cpu_and_a_second_call_has_nothing_to_do(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "gpu.py"), "--device", "cpu", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert {one["status"] for one in kept["steps"].values()} == {"finished"}, done.stdout
    assert len(kept["steps"]["reproduce"]["result"]) == 15
    table = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    for text in ("| tests | finished: ", "| model3 adhoc | fp32, channels last |", "| resnet18 head | product, warm |"):
        assert text in table
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert "..." not in again.stdout
    assert (tmp_path / "gpu.md").read_text(encoding="utf-8") == table
    other = subprocess.run([part for part in command if part != "--quick"], capture_output=True, text=True, check=False)
    assert "its figures differ from this call in quick" in other.stderr

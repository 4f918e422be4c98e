"""Code of the user's own: imported only when named, hashed, and asked for again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dxa_tbs.errors import Refusal
from dxa_tbs.hashes import sha256_of_file
from dxa_tbs.own_code import code_sha256, import_named, named_code, require_named_again


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the current folder, which modules are imported from, and forget these modules afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("own_"):
            del sys.modules[name]


def test_code_is_named_by_factories_and_by_operations_with_a_colon() -> None:
    settings = {
        "seed": 0,
        "model": {"name": "custom", "factory": "own_net:build"},
        "loss": {"name": "cross_entropy"},
        "augmentation": {"operations": [{"name": "flip"}, {"name": "own_ops:warp"}]},
    }
    assert named_code(settings) == {"model.factory": "own_net:build", "augmentation.operations.1": "own_ops:warp"}
    assert named_code({"model": {"name": "model4"}}) == {}


def test_a_module_in_the_current_folder_is_found_and_hashed(folder: Path) -> None:
    (folder / "own_net.py").write_text("def build():\n    return 7\n")
    assert import_named("own_net:build", key="model.factory")() == 7
    named = {"model.factory": "own_net:build", "optimizer.factory": "torch.optim:Adagrad"}
    assert code_sha256(named) == {"model.factory": sha256_of_file(folder / "own_net.py")}  # torch has a version


@pytest.mark.parametrize(
    ("path", "code", "told"),
    [
        ("own_a", "", "is not of the form package.module:function"),
        ("own_a:f()", "", "is not of the form package.module:function"),
        ("own_missing:f", "", r"No module named 'own_missing'\): correct it, start the command in the folder"),
        ("own_b:g", "f = 1", "has no attribute 'g'"),
        ("own_c:f", "import own_absent", "No module named 'own_absent'"),
        ("own_d:f", "x = 1\ny = x / 0", r"ZeroDivisionError: division by zero, own_d\.py, line 2"),
        ("own_e:f", "def f(:", "SyntaxError"),
        ("own_f:f", "f = 1", "is not a function or class"),
        ("own_g:f", "import sys\nsys.exit(0)", "SystemExit"),
    ],
)
def test_code_that_cannot_be_imported_is_refused_in_one_line(path: str, code: str, told: str, folder: Path) -> None:
    (folder / f"{path.partition(':')[0]}.py").write_text(code) if code else None
    with pytest.raises(Refusal, match=told) as refusal:
        import_named(path, key="loss.factory")
    assert str(refusal.value).startswith(f"loss.factory={path}: ")
    assert "\n" not in str(refusal.value)


def test_code_without_a_file_is_refused(folder: Path) -> None:
    exec("def build(): pass", module := {"__name__": "own_h"})
    sys.modules["own_h"] = type(sys)("own_h")
    sys.modules["own_h"].build = module["build"]  # type: ignore[attr-defined]
    with pytest.raises(Refusal, match=r"model\.factory=own_h:build: its code is in no file"):
        code_sha256({"model.factory": "own_h:build"})


def test_code_of_a_finished_run_must_be_named_again() -> None:
    require_named_again({}, {}, run="outputs/r")
    require_named_again({"model.factory": "own:a"}, {"model.factory": "own:a", "other": "x"}, run="outputs/r")
    with pytest.raises(Refusal, match=r"outputs/r needs code of yours.* give model=custom model\.factory=own:a"):
        require_named_again({"model.factory": "own:a"}, {}, run="outputs/r")
    with pytest.raises(Refusal, match=r"model\.factory=own:b: the run was made with own:a"):
        require_named_again({"model.factory": "own:a"}, {"model.factory": "own:b"}, run="outputs/r")


def test_a_console_script_finds_the_current_folder_too(folder: Path) -> None:
    (folder / "own_net.py").write_text("def build():\n    return 7\n")
    (folder / "bin").mkdir()
    script = folder / "bin/script.py"  # Python puts the folder of the script on the path, not the current one
    script.write_text(
        "from dxa_tbs.own_code import import_named\nprint(import_named('own_net:build', key='model.factory')())\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "7\n"

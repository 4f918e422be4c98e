"""The executed notebook of the documentation: what it shows is what it computes, but for the digits of results."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path("docs/own_hypothesis.ipynb")
RESULT = re.compile(  # processors differ in the last bit, and training amplifies it; a new setting changes digests
    r"-?\d+\.\d+|NaN|(?<=-)[0-9a-f]{8}\b"
)


def texts_of(notebook: Any) -> list[list[str]]:
    """Return the words that each cell shows, with a placeholder for results; a figure counts as its description."""
    shown = [cell.get("outputs", []) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    texts = [" ".join("".join(out.get("text") or out["data"]["text/plain"]) for out in outputs) for outputs in shown]
    return [RESULT.sub("#", text).split() for text in texts]


def test_the_stored_notebook_is_executed_without_errors_and_holds_no_path() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    notebook = json.loads(text)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = {output["output_type"] for cell in code for output in cell["outputs"]}
    assert kinds <= {"stream", "execute_result", "display_data"}
    assert not {out.get("name") for cell in code for out in cell["outputs"]} - {None, "stdout"}
    assert sum("image/png" in out.get("data", {}) for cell in code for out in cell["outputs"]) == 1
    for cell in notebook["cells"]:
        shown = json.dumps([cell["source"], [{**out, "data": None} for out in cell.get("outputs", [])]])
        assert not any(path in shown for path in ("/tmp", "/home", "/root", "Users"))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the Jupyter libraries
def test_the_notebook_shows_what_it_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    stored = nbformat.read(NOTEBOOK, 4)
    again = nbformat.read(NOTEBOOK, 4)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path("src").resolve()), os.environ.get("PYTHONPATH", "")]))
    client = NotebookClient(again, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    assert texts_of(again) == texts_of(stored)
    assert any("trainer.epochs?" in words for words in texts_of(stored))
    assert sum(word.startswith("outputs/") for words in texts_of(stored) for word in words) == 4

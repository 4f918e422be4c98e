"""Whether the files of a finished run are what the run wrote, by the digests in metrics.json.

Runs of version 0.1.0 carry no digests. Their records are checked for consistency instead, and count as unverified.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dxa_tbs.errors import Refusal
from dxa_tbs.hashes import sha256_of_file
from dxa_tbs.runs.files import (
    ENVIRONMENT_JSON,
    METRICS_JSON,
    MODEL_PT,
    RECORDS,
    SIGNATURES_NPY,
    read_json,
    without_nan,
    write_json,
)
from dxa_tbs.runs.identity import refuse_newer
from dxa_tbs.runs.versions import NewerRun

BINARIES = (MODEL_PT, SIGNATURES_NPY)
FILES = "files_sha256"  # key of metrics.json: the digests of all text files that the run wrote, and of BINARIES
OWN = "sha256"  # its last key: the digest of all keys before it
NOT_IN_0_1_0 = (FILES, OWN, "threshold_of")  # keys of metrics.json


def write_metrics(run_dir: Path, facts: Mapping[str, Any], digests: Mapping[Path, str]) -> None:
    """Write metrics.json, which makes the run a finished one.

    Args:
        digests: of the files as the run wrote them, from `gathered_digests`. The files themselves may have been edited
            since.
    """
    files = {path.name: digest for path, digest in digests.items() if path.parent == run_dir}
    files |= {name: sha256_of_file(run_dir / name) for name in BINARIES if (run_dir / name).is_file()}
    sealed = without_nan({**facts, FILES: files})
    write_json(run_dir / METRICS_JSON, {**sealed, OWN: _sha256_of_facts(sealed)})


def is_sealed(facts: Mapping[str, Any]) -> bool:
    """Return whether metrics.json holds digests, or should hold them: it has a key that version 0.1.0 did not write."""
    return any(key in facts for key in NOT_IN_0_1_0)


def find_damage(run_dir: Path, *, with_weights: bool = False) -> str | None:
    """Return which file of a finished run is damaged, truncated or edited, and how; None if none is.

    A run that a newer version of dxa_tbs wrote is not examined, since only that version knows its files: the result is
    None, and `read_config` refuses the run.

    Args:
        with_weights: also compare model.pt, which can hold hundreds of megabytes.
    """
    try:
        refuse_newer(run_dir)
        facts = read_json(run_dir / METRICS_JSON)
        damage = next(_broken_seals(run_dir, facts), None) if is_sealed(facts) else _contradiction(run_dir, facts)
        return damage or (_damage_of_weights(run_dir, facts) if with_weights else None)
    except NewerRun:
        return None
    except OSError as error:
        return f"{Path(error.filename or run_dir).name} cannot be read ({error.strerror})"
    except ValueError:
        return f"{METRICS_JSON} cannot be read"


def require_intact(run_dir: Path, *, with_weights: bool = False) -> None:
    """Refuse a finished run that is damaged, or that a newer version of dxa_tbs wrote.

    Raises:
        Refusal: names the file.
    """
    refuse_newer(run_dir)
    if damage := find_damage(run_dir, with_weights=with_weights):
        raise Refusal(
            f"{run_dir} holds a finished run that is damaged: {damage}: restore it from a backup, or move it away and "
            "run it again"
        )


def _contradiction(run_dir: Path, facts: Mapping[str, Any]) -> str | None:
    from dxa_tbs.verification.consistency import find_contradiction  # here: a sealed run does not need numpy

    return find_contradiction(run_dir, facts)


def _broken_seals(run_dir: Path, facts: Mapping[str, Any]) -> Iterator[str]:
    sealed = {key: value for key, value in facts.items() if key != OWN}
    if facts.get(OWN) != _sha256_of_facts(sealed):
        yield _differs(METRICS_JSON)
    files = {name: digest for name, digest in facts.get(FILES, {}).items() if name != MODEL_PT}
    for name, digest in files.items():
        if not (run_dir / name).is_file():
            yield f"{name} is missing"
        elif digest != sha256_of_file(run_dir / name):
            yield _differs(name)
    for name in (*RECORDS, SIGNATURES_NPY):
        if name not in files and (run_dir / name).is_file():
            yield f"{name} is not a file that the run wrote"


def _damage_of_weights(run_dir: Path, facts: Mapping[str, Any]) -> str | None:
    sha256 = sha256_of_file(run_dir / MODEL_PT)
    stated = read_json(run_dir / ENVIRONMENT_JSON).get("weights", {}).get("sha256")
    return None if sha256 == stated == facts.get(FILES, {}).get(MODEL_PT, stated) else _differs(MODEL_PT)


def _differs(name: str) -> str:
    return f"{name} differs from what the run wrote"


def _sha256_of_facts(facts: Mapping[str, Any]) -> str:
    """Return the digest of the values; the layout of the file does not matter."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

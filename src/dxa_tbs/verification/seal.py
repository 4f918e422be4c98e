"""Whether a finished run's files are what the run wrote: digests in metrics.json, compared before anything is read.

Runs of version 0.1.0 carry no digests. They are checked for plausibility instead, and count as unverified.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dxa_tbs.errors import Refusal
from dxa_tbs.hashes import sha256_of_file
from dxa_tbs.runs.files import CONFIG_YAML, METRICS_JSON, SIGNATURES_NPY, read_json, without_nan, write_json

WEIGHTS = "model.pt"
BINARIES = (WEIGHTS, SIGNATURES_NPY)
ENVIRONMENT = "environment.json"
FILES = "files_sha256"  # key of metrics.json: of every text file the run wrote, and of BINARIES
OWN = "sha256"  # its last key: of all that stands before it
SINCE_DIGESTS = (FILES, OWN, "threshold_of")
RECORDS = (CONFIG_YAML, ENVIRONMENT, "split.csv", "history.csv", "predictions.csv", "timing.json", "measures.csv",
           "layers.csv", "errors.csv")  # fmt: skip


def write_metrics(run_dir: Path, facts: Mapping[str, Any], digests: Mapping[Path, str]) -> None:
    """Write metrics.json, which makes the run a finished one.

    Args:
        digests: of the files as the run wrote them, from `gathered_digests`: not as they are now, since
            somebody may have edited one while the run went on.
    """
    files = {path.name: digest for path, digest in digests.items() if path.parent == run_dir}
    files |= {name: sha256_of_file(run_dir / name) for name in BINARIES if (run_dir / name).is_file()}
    told = without_nan({**facts, FILES: files})
    write_json(run_dir / METRICS_JSON, {**told, OWN: _sha256_of_facts(told)})


def is_sealed(facts: Mapping[str, Any]) -> bool:
    """Return whether metrics.json holds digests, or should: any key that 0.1.0 did not write is enough."""
    return any(key in facts for key in SINCE_DIGESTS)


def find_damage(run_dir: Path, *, with_weights: bool = False) -> str | None:
    """Return what of a finished run is damaged, truncated or edited; None: nothing is.

    Args:
        with_weights: also compare model.pt, which can hold hundreds of megabytes.
    """
    try:
        facts = read_json(run_dir / METRICS_JSON)
        damage = next(_broken_seals(run_dir, facts), None) if is_sealed(facts) else _contradiction(run_dir, facts)
        return damage or (_damage_of_weights(run_dir, facts) if with_weights else None)
    except OSError as error:
        return f"{Path(error.filename or run_dir).name} cannot be read ({error.strerror})"
    except ValueError:
        return f"{METRICS_JSON} cannot be read"


def require_intact(run_dir: Path, *, with_weights: bool = False) -> None:
    """Refuse a finished run that is damaged.

    Raises:
        Refusal: names the file.
    """
    if damage := find_damage(run_dir, with_weights=with_weights):
        raise Refusal(
            f"{run_dir} holds a finished run that is damaged: {damage}: restore it from a backup, or move it away and "
            "run it again"
        )


def _contradiction(run_dir: Path, facts: Mapping[str, Any]) -> str | None:
    from dxa_tbs.verification.plausibility import find_contradiction  # here: a sealed run needs no pandas

    return find_contradiction(run_dir, facts)


def _broken_seals(run_dir: Path, facts: Mapping[str, Any]) -> Iterator[str]:
    told = {key: value for key, value in facts.items() if key != OWN}
    if facts.get(OWN) != _sha256_of_facts(told):
        yield _differs(METRICS_JSON)
    files = {name: digest for name, digest in facts.get(FILES, {}).items() if name != WEIGHTS}
    for name, digest in files.items():
        if not (run_dir / name).is_file():
            yield f"{name} is missing"
        elif digest != sha256_of_file(run_dir / name):
            yield _differs(name)
    for name in (*RECORDS, SIGNATURES_NPY):
        if name not in files and (run_dir / name).is_file():
            yield f"{name} is none of the files that the run wrote"


def _damage_of_weights(run_dir: Path, facts: Mapping[str, Any]) -> str | None:
    found = sha256_of_file(run_dir / WEIGHTS)
    told = read_json(run_dir / ENVIRONMENT).get("weights", {}).get("sha256")
    return None if found == told == facts.get(FILES, {}).get(WEIGHTS, told) else _differs(WEIGHTS)


def _differs(name: str) -> str:
    return f"{name} differs from what the run wrote"


def _sha256_of_facts(facts: Mapping[str, Any]) -> str:
    """Return the digest of the values; how they are laid out in the file does not matter."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

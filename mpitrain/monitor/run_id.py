"""The name under which a run is known to monitors: the same where it is resumed, also in a directory that was moved."""

import json
import secrets
from pathlib import Path
from typing import Any

from ..data.files import write_atomically
from ..json_text import to_json

RUN_ID = "run-id.json"


def find_run_id(directory: Path | None) -> str:
    """Return the id of the run in ``directory``, which is stored there; a new one without a directory.

    A copy of a directory is another run from the moment in which it is resumed.

    Raises
    ------
    UserError
        If it cannot be stored.
    """
    if directory is None:
        return secrets.token_hex(8)
    here = str(directory.absolute())
    stored = _read(directory)
    if stored and stored["path"] == here:
        return str(stored["id"])
    is_copy = bool(stored) and stored_id(Path(stored["path"])) == stored["id"]
    found = str(stored["id"]) if stored and not is_copy else secrets.token_hex(8)
    write_atomically(directory / RUN_ID, to_json({"id": found, "path": here}) + "\n")
    return found


def stored_id(directory: Path) -> str:
    """Return the id that is stored in ``directory``; empty without one."""
    return str(_read(directory).get("id", ""))


def _read(directory: Path) -> dict[str, Any]:
    """Return the content of the file; empty where there is none, or it is none of ours."""
    try:
        found = json.loads((directory / RUN_ID).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and {"id", "path"} <= set(found) else {}

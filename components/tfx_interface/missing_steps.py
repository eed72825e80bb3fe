"""Why steps of a run made nothing: the local runner writes it down, and EdgeSelector names it for what did not arrive.

ML Metadata has that a step failed, but not why, and nothing of a step that was left out.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping

from tfx_edge.components.core.isolation.printed_line import shortened_line

# Custom property of an artifact that was not made: why, in one line. On Kubeflow a step of a branch that refuses its
# input hands it on in place of its outputs.
MISSING_PROPERTY = 'tfx_edge_missing'

_UNFINISHED = '.unfinished'


def write_missing_steps(pipeline_root: str, run: str, lines: Mapping[str, str]) -> None:
    """Writes why steps of a run made nothing, in place of what was written for the run before.

    Args:
      pipeline_root: folder of the pipeline's artifacts; nothing is written to one on an object store.
      run: id of the run.
      lines: by id of the step, its error or why it was left out, in one line. Long ones are shortened.

    Raises:
      OSError: the file cannot be written.

    Example:
      >>> write_missing_steps('pipeline', '2026-11-29T09:57:22', {'Pruner': 'EdgeError: no weights'})
    """
    if _is_remote(pipeline_root):
        return
    path = _path(pipeline_root, run)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # Renamed when it is whole, since a step may read it at any time.
    with open(path + _UNFINISHED, 'w', encoding='utf-8') as file:
        json.dump({step: shortened_line(line) for step, line in lines.items()}, file, indent=2)
    os.replace(path + _UNFINISHED, path)


def read_missing_steps(output_uri: str) -> dict[str, str]:
    """Why steps of the newest run made nothing.

    Args:
      output_uri: of an output artifact of the step that calls.

    Returns:
      By id of the step, one line; {} if each did what it should, or `output_uri` is not in TFX's layout
      (`ROOT/STEP/OUTPUT/NUMBER`).

    Example:
      >>> write_missing_steps('pipeline', '2026-11-29T09:57:22', {'Pruner': 'EdgeError: no weights'})
      >>> read_missing_steps('pipeline/EdgeSelector/selection/7')
      {'Pruner': 'EdgeError: no weights'}
    """
    root, number = output_uri.rstrip('/'), os.path.basename(output_uri.rstrip('/'))
    for _ in range(3):
        root = os.path.dirname(root)
    if not root or not number.isdigit() or _is_remote(root):
        return {}
    try:
        with os.scandir(_folder(root)) as entries:
            written = [entry for entry in entries if not entry.name.endswith(_UNFINISHED)]
            newest = max(written, key=lambda entry: entry.stat().st_mtime_ns)
        with open(newest.path, encoding='utf-8') as file:
            lines = json.load(file)
    except (OSError, ValueError):  # there is none, or it is removed at this moment
        return {}
    return {str(step): str(line) for step, line in lines.items()} if isinstance(lines, dict) else {}


def remove_missing_steps(pipeline_root: str, run: str) -> None:
    """Removes what was written for a run, if anything was and it can be removed.

    Args:
      pipeline_root: as for `write_missing_steps`.
      run: id of the run.

    Example:
      >>> remove_missing_steps('pipeline', '2026-11-29T09:57:22')
    """
    if _is_remote(pipeline_root):
        return
    path = _path(pipeline_root, run)
    for each in (path, path + _UNFINISHED):
        with contextlib.suppress(OSError):
            os.unlink(each)


def _path(pipeline_root: str, run: str) -> str:
    return os.path.join(_folder(pipeline_root), f'{run}.json')


def _folder(pipeline_root: str) -> str:
    return os.path.join(pipeline_root, '.tfx_edge', 'missing_steps')


def _is_remote(place: str) -> bool:
    return '://' in place

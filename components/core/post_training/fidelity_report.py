"""The report on a file's fidelity: one line in the log, and `fidelity.json`."""

from __future__ import annotations

import json
import math
from typing import Any

from tfx_edge.components.core.post_training.compared_file import ComparedFile
from tfx_edge.components.core.post_training.fidelity import Fidelity, OutputFidelity

FILE_NAME = 'fidelity.json'
_FORMAT_VERSION = 1
_MOST_OPERATORS = 8
# Stands for infinity, which JSON does not have; float32 answers with an error have a lower fidelity.
_MOST_DB = 200.0


def line(held: ComparedFile) -> str:
    """The file's fidelity in one line, with a remedy where it is too low.

    Args:
      held: the file and its fidelity.

    Example:
      >>> line(held)
      'the INT8 file against the float model on 64 held-out examples: 98.44% same class, 31.6 dB'
    """
    examples = f'{held.fidelity.samples} {"held-out " if held.held_out else ""}examples'
    found = f'the {held.mode} file against the float model on {examples}: {_described(held.fidelity)}'
    if held.repaired and held.lost is not None:
        more = held.lost.bytes_more
        found = (
            f'{found}; without {_operators(held)} in float it would be {_db(held.lost.db_before)}, expected '
            f'{held.min_db:g}. These {len(held.lost.operators)} operators stay float ({more:+d} bytes)'
        )
        return f'{found}, and more is lost in {held.mode}' if held.is_low else found
    if not held.is_low:
        return found
    found = f'{found}; expected {held.min_db:g} dB'
    if held.float_fidelity.db < held.min_db:
        return (
            f'{found}. The float .tflite file is no nearer ({_db(held.float_fidelity.db)}): training, or '
            "TensorFlow's converter, changed the model itself"
        )
    return f'{found}. {_where(held)}{_remedy(held)}'


def to_json(held: ComparedFile) -> str:
    """The text of `fidelity.json`; the same file gives the same text."""
    content: dict[str, Any] = {
        'format_version': _FORMAT_VERSION,
        'mode': held.mode,
        'samples': held.fidelity.samples,
        'held_out': held.held_out,
        'min_db': held.min_db,
        'db': number(held.fidelity.db),
        'agreement': held.fidelity.agreement,
        'outputs': [_output(output) for output in held.fidelity.outputs],
        'float_file': [_output(output) for output in held.float_fidelity.outputs],
        'repaired': held.repaired,
        'lost_at': [] if held.lost is None else list(held.lost.operators),
        'keep_float': [] if held.lost is None else list(held.lost.keep_float),
        'db_before': None if held.lost is None else number(held.lost.db_before),
        'db_with_these_float': None if held.lost is None else number(held.lost.db_after),
        'other_modes': {mode: number(db) for mode, db in held.other_modes},
    }
    return json.dumps(content, indent=1, sort_keys=True) + '\n'


def number(db: float) -> float:
    """Decibels as JSON and ML Metadata can hold them: between -200 and 200, with two digits."""
    return round(max(-_MOST_DB, min(_MOST_DB, db)), 2)


def _output(output: OutputFidelity) -> dict[str, Any]:
    return {
        'name': output.name,
        'db': number(output.db),
        'part': output.part,
        'agreement': output.agreement,
    }


def _described(fidelity: Fidelity) -> str:
    worst = fidelity.worst_output
    if worst is None:
        return 'no outputs'
    agreement = '' if fidelity.agreement is None else f'{fidelity.agreement:.2%} same class, '
    several = len(fidelity.outputs) > 1
    part = ', '.join(
        [*([f'output {worst.name!r}'] if several else []), *([worst.part] if worst.part else [])]
    )
    return f'{agreement}{_db(worst.db)}{f" ({part})" if part else ""}'


def _db(db: float) -> str:
    if math.isinf(db):
        return 'no error' if db > 0 else 'no likeness'
    return f'{db:.1f} dB'


def _operators(held: ComparedFile) -> str:
    assert held.lost is not None
    names = held.lost.operators
    more = f' and {len(names) - _MOST_OPERATORS} more' if len(names) > _MOST_OPERATORS else ''
    return ', '.join(names[:_MOST_OPERATORS]) + more


def _where(held: ComparedFile) -> str:
    if held.lost is None or not held.lost.operators:
        return ''
    if held.lost.db_after >= held.min_db:
        return f'The answers are lost at {_operators(held)}. '
    return f'The answers are lost little by little, first at {held.lost.operators[0]}. '


def _remedy(held: ComparedFile) -> str:
    tried = []
    if held.lost is not None and held.lost.keep_float and held.lost.db_after >= held.min_db:
        patterns = ', '.join(repr(pattern) for pattern in held.lost.keep_float)
        more = held.lost.bytes_more
        tried.append(f'keep_float [{patterns}] ({_db(held.lost.db_after)}, {more:+d} bytes)')
    tried += [f'mode {mode} ({_db(db)})' for mode, db in held.other_modes]
    if not tried:
        return 'No group of operators in float and no other mode that was tried helps'
    return f'Tried, and helps: {"; or ".join(tried)}'

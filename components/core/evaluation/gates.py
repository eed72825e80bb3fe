"""The limits a `.tflite` file must keep to ship, beside TFMA's thresholds on metrics."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is demanded; None (or False) where nothing is.

    Attributes:
      min_agreement: share of examples, in (0, 1], with the baseline's top-1 answer.
      max_file_bytes: size of the file.
      max_zip_bytes: size of a DEFLATE zip of the file.
      require_full_integer: no op of the file may compute in floating point.
    """

    min_agreement: float | None = None
    max_file_bytes: int | None = None
    max_zip_bytes: int | None = None
    require_full_integer: bool = False


@dataclasses.dataclass(frozen=True)
class Measurements:
    """What was measured.

    Attributes:
      examples: number of examples evaluated.
      not_finite: number of examples for which the candidate answers NaN or infinity.
      agreement: share of examples with the baseline's top-1 answer; None if it cannot be told.
      no_agreement: why it cannot be told, or ''.
      file_bytes: size of the file.
      zip_bytes: size of a DEFLATE zip of the file.
      float_ops: the ops that compute in floating point.
    """

    examples: int
    not_finite: int
    agreement: float | None
    no_agreement: str
    file_bytes: int
    zip_bytes: int
    float_ops: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Gate:
    """One limit, what was measured against it, and whether it holds; `detail` says more, or ''."""

    name: str
    measured: float | int | None
    limit: float | int
    holds: bool
    detail: str = ''

    @property
    def reason(self) -> str:
        """Why the gate refuses the model, in one line."""
        measured = 'not measured' if self.measured is None else f'{self.measured:.12g}'
        return f'{self.name}: {measured}, limit {self.limit:.12g}{self.detail and f" ({self.detail})"}'


def judge(limits: Limits, measured: Measurements) -> tuple[Gate, ...]:
    """Holds every limit that is set against what was measured; a failed gate hides none of the others.

    One gate is always there: a model that answers NaN or infinity is never blessed.

    Args:
      limits: what is demanded.
      measured: what was measured.

    Returns:
      The gates, in fixed order.

    Example:
      >>> [gate.name for gate in judge(Limits(max_file_bytes=10), measured) if not gate.holds]
      ['max_file_bytes']
    """
    bad = measured.not_finite
    gates = [
        Gate(
            'finite_predictions',
            bad,
            0,
            bad == 0,
            f'{bad} of {measured.examples} examples get NaN or infinity as an answer' if bad else '',
        )
    ]
    if limits.min_agreement is not None:
        share = measured.agreement
        holds = share is not None and share >= limits.min_agreement
        gates.append(Gate('min_agreement', share, limits.min_agreement, holds, measured.no_agreement))
    if limits.max_file_bytes is not None:
        size = measured.file_bytes
        gates.append(Gate('max_file_bytes', size, limits.max_file_bytes, size <= limits.max_file_bytes))
    if limits.max_zip_bytes is not None:
        size = measured.zip_bytes
        gates.append(Gate('max_zip_bytes', size, limits.max_zip_bytes, size <= limits.max_zip_bytes))
    if limits.require_full_integer:
        ops = measured.float_ops
        detail = f'float ops: {", ".join(ops)}' if ops else ''
        gates.append(Gate('require_full_integer', len(ops), 0, not ops, detail))
    return tuple(gates)

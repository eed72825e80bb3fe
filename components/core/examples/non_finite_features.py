"""The first example that holds NaN or infinity in what a model takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples.example_parser import ExampleParser
from tfx_edge.components.core.examples.record_places import first_fault


def non_finite_feature(files: Sequence[str], parser: ExampleParser, consequence: str) -> EdgeError | None:
    """The error that names a feature which is not finite, and the place of its record.

    Args:
      files: TFRecord files.
      parser: makes the model's inputs of the records.
      consequence: what came of it, as the end of a sentence.

    Returns:
      The error; None where the first 100,000 records hold finite numbers only.

    Raises:
      EdgeError: a file is unreadable.

    Example:
      >>> non_finite_feature(files, parser, 'the loss is NaN')
      EdgeError("record 3 of Split-train/data-00000-of-00001.gz: feature 'age' holds NaN, and the loss is NaN; …")
    """

    def require_finite(record: bytes) -> None:
        for name, values in parser([record]).items():
            if not np.issubdtype(values.dtype, np.floating) or np.isfinite(values).all():
                continue
            held = 'NaN' if np.isnan(values).any() else 'infinity'
            raise EdgeError(
                f'feature {name!r} holds {held}, and {consequence}; expected finite numbers. Fill in what is missing: '
                'in the preprocessing_fn, in the examples, or in the model itself '
                f'(where(isnan({name}), 0, {name})).'
            )

    return first_fault(files, require_finite)

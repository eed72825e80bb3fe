"""A TransformGraph: which raw features it takes, and what it makes of them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.examples import record_faults
from tfx_edge.components.core.examples.dense_rows import Value, dense_rows, full, padded
from tfx_edge.components.core.signature import TensorSpec


@contextlib.contextmanager
def _opened(folder: str) -> Iterator[Any]:
    import tensorflow_transform as tft  # takes seconds, only with a transform graph

    try:
        yield tft.TFTransformOutput(folder)
    except (OSError, tf.errors.OpError) as error:
        raise EdgeError(
            f'{folder} cannot be read as a transform graph ({_first_line(error)}); expected the output '
            'transform_graph of Transform, with its metadata and transform_fn. Run Transform again.'
        ) from error


def made_features(folder: str) -> Mapping[str, Any]:
    """How the examples that Transform wrote are parsed: TensorFlow's feature spec, by name.

    Args:
      folder: of the TransformGraph artifact.

    Raises:
      EdgeError: the folder holds none.
    """
    with _opened(folder) as output:
        return dict(output.transformed_feature_spec())


class TransformGraph:
    """A transform graph, loaded.

    Args:
      folder: of the TransformGraph artifact.

    Raises:
      EdgeError: the folder holds none.
    """

    def __init__(self, folder: str) -> None:
        with _opened(folder) as output:
            self._raw_spec = output.raw_feature_spec()
            self._made_spec = output.transformed_feature_spec()
            self._layer = output.transform_features_layer()
        # Raw features that some example lacks, and that no wanted output depends on.
        self._not_needed: frozenset[str] = frozenset()

    @property
    def raw_features(self) -> Mapping[str, object]:
        """TensorFlow's feature spec of the raw features, by name."""
        return self._raw_spec

    @property
    def outputs(self) -> Mapping[str, object]:
        """TensorFlow's feature spec of what the graph makes, by name."""
        return self._made_spec

    def apply(
        self,
        records: Sequence[bytes],
        wanted: Mapping[str, TensorSpec | None],
        *,
        also: Collection[str] = (),
        without: Collection[str] = (),
    ) -> dict[str, np.ndarray]:
        """What the graph makes of raw examples.

        Examples may lack raw features that no wanted output depends on, such as the label.

        Args:
          records: serialized tf.Examples, at least one.
          wanted: outputs that must be made, by name, with the spec of the input that reads each; where it is
            None (a label), all examples must have the same width.
          also: outputs that must be made, of any width.
          without: raw features not to read, though they may be there.

        Returns:
          Outputs by name, arrays of shape (len(records), ...), all that are wanted among them.

        Raises:
          EdgeError: a record does not fit, or an output that is wanted cannot be made, or does not fit its width.
        """
        left_out = {*self._not_needed, *without}
        try:
            raw = self._parsed(records, left_out)
        except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:
            absent = self._absent(records)
            if not absent - left_out:
                raise _unfit(records, self._raw_spec, error) from error
            left_out |= absent
            try:
                raw = self._parsed(records, left_out)
            except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as another:
                raise _unfit(records, self._raw_spec, another) from another
        outputs = self._layer(raw) if raw else {}
        self._require_made(records, {*wanted, *also}, outputs, left_out)
        if not without:
            self._not_needed = frozenset(left_out)
        return {name: self._dense(name, value, wanted) for name, value in outputs.items()}

    def _dense(self, name: str, value: Value, wanted: Mapping[str, TensorSpec | None]) -> np.ndarray:
        spec = wanted.get(name)
        if spec is not None:
            return dense_rows(name, value, spec, has_width=self._has_width(name))
        return full(name, value) if name in wanted and not self._has_width(name) else padded(value)

    def _parsed(self, records: Sequence[bytes], left_out: Collection[str]) -> dict[str, tf.Tensor]:
        spec = {name: feature for name, feature in self._raw_spec.items() if name not in left_out}
        return tf.io.parse_example(tf.constant(list(records)), spec) if spec else {}

    def _absent(self, records: Sequence[bytes]) -> set[str]:
        """Raw features that parsing needs and that at least one record lacks."""
        needed = {name for name, feature in self._raw_spec.items() if record_faults.needs_value(feature)}
        absent: set[str] = set()
        for record in records:
            present = record_faults.decode(record).features.feature
            absent |= {n for n in needed if n not in present or present[n].WhichOneof('kind') is None}
        return absent

    def _has_width(self, name: str) -> bool:
        """Whether a sparse output has the same width for all examples."""
        return isinstance(self._made_spec.get(name), tf.io.SparseFeature)

    def _require_made(
        self,
        records: Sequence[bytes],
        wanted: Collection[str],
        outputs: Mapping[str, tf.Tensor],
        left_out: Collection[str],
    ) -> None:
        missing = sorted({*wanted} - {*outputs})
        if not missing:
            return
        for name in missing:
            if name not in self._made_spec:
                raise EdgeError(
                    f'the transform graph has no output {name!r} (found: {record_faults.listed(self._made_spec)}); '
                    'name an input of the model after one of its outputs, or give another signature_name.'
                )
        present = record_faults.decode(records[0]).features.feature
        raise EdgeError(
            f'the transform graph makes {missing[0]!r} of raw features that an example leaves out (it lacks '
            f'{", ".join(sorted(left_out))}; found: {record_faults.listed(present)}); '
            'give the examples that Transform was given.'
        )


def _unfit(records: Sequence[bytes], spec: Mapping[str, object], error: Exception) -> EdgeError:
    for record in records:
        record_faults.require_raw_features(record, spec)
    return EdgeError(
        f'an example does not fit the raw features of the transform graph ({_first_line(error)}); '
        'give the examples that Transform was given.'
    )


def _first_line(error: Exception) -> str:
    return str(getattr(error, 'message', error)).split('\n', 1)[0]

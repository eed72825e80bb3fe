"""`reference.npz`: a few examples and the float model's answers, which those of a finished file are compared with."""

from __future__ import annotations

import dataclasses
import io
import os
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfx_edge.components.core.errors import EdgeError

FILE_NAME = 'reference.npz'
_INPUT, _ANSWER, _HELD_OUT = 'input ', 'answer ', 'held out'
_MOST_SAMPLES = 64
_FEWEST_SAMPLES = 8
_MOST_BYTES = 32 * 2**20


@dataclasses.dataclass(frozen=True)
class Reference:
    """Examples, and the float model's answers to them.

    Attributes:
      inputs: of the examples, arrays of shape (examples, ...) by input name.
      answers: arrays of shape (examples, ...) by output name.
      held_out: whether nothing was calibrated or trained on these examples.
    """

    inputs: Mapping[str, np.ndarray]
    answers: Mapping[str, np.ndarray]
    held_out: bool

    @property
    def samples(self) -> int:
        """How many examples there are."""
        return max((len(values) for values in self.inputs.values()), default=0)


def sample_count(bytes_of_one: int) -> int:
    """How many examples to compare on.

    Args:
      bytes_of_one: size of one example's inputs.

    Returns:
      64, or as many as 32 MiB hold, at least 8.

    Example:
      >>> sample_count(4 * 28 * 28), sample_count(4 * 1024 * 1024 * 3)
      (64, 8)
    """
    return max(_FEWEST_SAMPLES, min(_MOST_SAMPLES, _MOST_BYTES // max(bytes_of_one, 1)))


def first_rows(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The first examples, as many as are compared.

    Args:
      inputs: arrays of shape (examples, ...) by input name.
    """
    size = sum(values[:1].nbytes for values in inputs.values())
    return {name: values[: sample_count(size)] for name, values in inputs.items()}


def write_reference(folder: str, reference: Reference) -> None:
    """Writes the file; the same reference gives the same bytes.

    Args:
      folder: of a calibration, an existing one.
      reference: numbers only; answers of another type (strings) are left out.

    Example:
      >>> write_reference(calibration.uri, Reference({'image': images}, {'p': probabilities}, held_out=True))
    """
    arrays = {
        **{_INPUT + name: values for name, values in sorted(reference.inputs.items())},
        **{_ANSWER + name: values for name, values in sorted(reference.answers.items())},
        _HELD_OUT: np.array(reference.held_out),
    }
    content = io.BytesIO()
    # np.savez would pickle objects.
    held: dict[str, Any] = {name: values for name, values in arrays.items() if values.dtype != np.object_}
    np.savez(content, **held)
    with tf.io.gfile.GFile(os.path.join(folder, FILE_NAME), 'wb') as file:
        file.write(content.getvalue())


def read_reference(folder: str) -> Reference | None:
    """Reads what `write_reference` wrote.

    Args:
      folder: of a calibration.

    Returns:
      The reference; None where the folder has none.

    Raises:
      EdgeError: the file is damaged.
    """
    path = os.path.join(folder, FILE_NAME)
    try:
        with tf.io.gfile.GFile(path, 'rb') as file:
            content = file.read()
    except tf.errors.NotFoundError:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise EdgeError(
            f'{path} is damaged ({error}); run the step that made the calibration again.'
        ) from error
    return Reference(
        {name.removeprefix(_INPUT): values for name, values in found.items() if name.startswith(_INPUT)},
        {name.removeprefix(_ANSWER): values for name, values in found.items() if name.startswith(_ANSWER)},
        bool(found[_HELD_OUT]) if _HELD_OUT in found else False,
    )

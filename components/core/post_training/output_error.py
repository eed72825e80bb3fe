"""How far a file's outputs are from those of the float file, as a ratio of noise to signal."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.litert.file.interpreter import LiteRTModel
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.post_training.fidelity import compare


class Reference:
    """The float file's answers to samples, and the error of other files on them.

    Args:
      float_model: a float32 `.tflite` file.
      samples: by signature input name, arrays of shape (rows, ...).

    Raises:
      EdgeError: the file is damaged, the samples do not fit it, or its answers are all 0 or not finite.

    Example:
      >>> in_decibels(Reference(model, {'image': images}).noise(quantized))
      38.5
    """

    def __init__(self, float_model: bytes | ModelFile, samples: Mapping[str, np.ndarray]) -> None:
        self._samples = samples
        self._answers = LiteRTModel(ModelFile.of(float_model).data)(samples)
        for name, values in self._answers.items():
            if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
                raise EdgeError(
                    f'output {name!r} of the float model is not finite on a sample; '
                    'correct the examples, or train the model again.'
                )
        if not any(values.any() for values in self._answers.values()):
            raise EdgeError(
                'all outputs of the float model are 0 on the samples, so that no error can be measured; '
                'give other examples.'
            )

    def noise(self, model: bytes | ModelFile) -> float:
        """A file's error on the samples.

        Args:
          model: a `.tflite` file with the same inputs and outputs.

        Returns:
          Ratio of noise to signal of the output where it is largest; see `fidelity.compare`.

        Raises:
          EdgeError: the file is damaged or takes other inputs.
        """
        answers = LiteRTModel(ModelFile.of(model).data)(self._samples)
        return 10 ** (-compare(self._answers, answers).db / 10)


def in_decibels(noise: float) -> float:
    """A ratio of noise to signal as signal-to-noise in dB: higher is better, infinite without noise."""
    return -10 * math.log10(noise) if noise else math.inf

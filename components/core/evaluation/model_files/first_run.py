"""A first run of a `.tflite` file in a process of its own, before the pipeline's process touches it.

The runtime verifies a file's structure, not its values: one changed scale, tensor index or operator code makes
kernels divide by zero, read beyond a buffer or ask for more memory than there is, which ends the process. So a
child process first does with the bytes whatever an evaluation does with them.
"""

from __future__ import annotations

import contextlib
import pathlib
import resource
import sys
import time

import numpy as np

from tfx_edge.components.core.errors import EdgeError, EnvironmentFailure
from tfx_edge.components.core.evaluation.model_files.range_probe import RangeProbe, integer_tensors
from tfx_edge.components.core.isolation.isolated_process import ChildFailure, run_isolated
from tfx_edge.components.core.litert.file import damaged_file
from tfx_edge.components.core.litert.file.activation_memory import peak_activation_bytes
from tfx_edge.components.core.litert.file.inspect import inspect_model
from tfx_edge.components.core.litert.file.interpreter import MAX_BATCH_SIZE, LiteRTModel, TensorDetail
from tfx_edge.components.core.litert.file.model_file import ModelFile

# Limit of the child's memory in bytes, on top of what Python takes and _COPIES times the file.
_MEMORY = 2**32
_COPIES = 8
_SECONDS = 600


def require_runnable(model: bytes) -> None:
    """Refuses a file that ends the process that runs it.

    Args:
      model: bytes of a `.tflite` file.

    Raises:
      EdgeError: the file is damaged, or running it ends the process, takes more than 4 GiB or more than 10 minutes.

    Example:
      >>> require_runnable(pathlib.Path('digits.tflite').read_bytes())
    """
    try:
        run_isolated(try_within_limits, model)
    except (ChildFailure, EnvironmentFailure) as error:
        # The process limits itself: memory that is used up and a kill are the file's there.
        reason = error.reason if isinstance(error, ChildFailure) else str(error)
        raise EdgeError(
            f'the .tflite file ({len(model)} bytes) ended the process that tried it on a batch of {MAX_BATCH_SIZE} '
            f'({reason}); it is damaged, or takes more than 4 GiB of memory or {_SECONDS} s: make it again.'
        ) from error


def try_within_limits(model: bytes) -> None:
    """Limits the memory and time of this process, which is for nothing else, and calls `try_model`.

    Args:
      model: bytes of a `.tflite` file.

    Raises:
      EdgeError: the file is damaged.
    """
    _limit_process(len(model))
    try_model(model)


@damaged_file.damage_as_edge_error()
def try_model(model: bytes) -> None:
    """Does what an evaluation does with a file, on made-up examples; may end the process.

    That the file does not take the made-up examples is no fault: real ones may fit.

    Args:
      model: bytes of a `.tflite` file.

    Raises:
      EdgeError: the file is damaged.
    """
    file = ModelFile(model)
    runnable = LiteRTModel(model)
    is_calibrated = bool(integer_tensors(file))
    inspect_model(file)
    peak_activation_bytes(file)
    if any(detail.dtype.kind not in 'iufb' for detail in runnable.inputs.values()):
        return  # refused when the evaluation loads it
    random = np.random.default_rng(0)
    inputs = {name: _made_up(detail, random) for name, detail in runnable.inputs.items()}
    one = {name: rows[:1] for name, rows in inputs.items()}
    with contextlib.suppress(EdgeError):
        runnable(inputs)
        runnable(one)
    if is_calibrated:
        with contextlib.suppress(EdgeError):
            RangeProbe(file)(one)


def _made_up(detail: TensorDetail, random: np.random.Generator) -> np.ndarray:
    """A batch in the stored type: any integers where they mean real numbers, else zeros, which suit an index."""
    shape = (MAX_BATCH_SIZE, *(1 if size is None else size for size in detail.shape[1:]))
    if detail.dtype.kind == 'f':
        return random.random(shape).astype(detail.dtype)
    if not detail.scale:
        return np.zeros(shape, detail.dtype)
    limits = np.iinfo(detail.dtype)
    return random.integers(limits.min, limits.max, shape, detail.dtype, endpoint=True)


def _limit_process(file_bytes: int) -> None:
    """Limits the processor time of this process and, on Linux, its memory."""
    used = time.process_time()
    _set_limit(resource.RLIMIT_CPU, int(used) + _SECONDS)
    if sys.platform == 'linux':
        pages = int(pathlib.Path('/proc/self/statm').read_text().split()[0])
        _set_limit(resource.RLIMIT_AS, pages * resource.getpagesize() + _MEMORY + _COPIES * file_bytes)


def _set_limit(kind: int, soft: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))

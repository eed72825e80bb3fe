"""What a QATTrainer does before its first step is logged while it does it."""

from __future__ import annotations

import logging
import pathlib

import numpy as np
import pytest

from tests.golden import files
from tfx_edge.components.core.evaluation.evaluators.calibration_fit import calibration_fit
from tfx_edge.components.core.evaluation.model_files.range_probe import RangeProbe
from tfx_edge.components.core.evaluation.model_files.range_use import RangeUse
from tfx_edge.components.core.qat.held_out_examples import split_held_out

from .course import Course

pytestmark = pytest.mark.slow

_IN_ORDER = (
    'converting signature',
    'asking the quantizer',
    'looking for 5 weights',
    'tensors of the file in the graph',
    'measuring the ranges',
    'comparing',
    'simulating',
    'training',
    'step 1 after',
    'fine-tuned',
)


def test_each_part_of_the_work_has_its_line(
    digits: dict[str, np.ndarray], tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, 'tfx_edge')
    course = Course(str(files.saved_model('digits')), {'image': digits['x_train']}, tmp_path, steps=2)
    course.train()
    places = [next(i for i, m in enumerate(caplog.messages) if part in m) for part in _IN_ORDER]
    assert places == sorted(places)


def test_reading_examples_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, 'tfx_edge')
    rows = np.arange(512, dtype=np.float32).reshape(8, 64, 1)
    split_held_out(iter([{'x': batch} for batch in rows]), ['x'])
    assert caplog.messages[0] == 'reading examples, and setting some aside'


def test_a_training_that_outgrows_its_ranges_widens_them(
    digits: dict[str, np.ndarray], tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, 'tfx_edge')
    images = {'image': digits['x_train']}
    course = Course(str(files.saved_model('digits')), images, tmp_path, steps=40, learning_rate=2e-2)
    course.train()
    widened = [m for m in caplog.messages if 'widened the ranges of' in m]
    assert widened
    probe = RangeProbe(course.file())
    use = sum(
        (probe({'image': image[None]}) for image in digits['x_train'][:200]),
        RangeUse.none(len(probe.tensors)),
    )
    assert calibration_fit(probe.tensors, use).most_clipped.clipping < 0.04

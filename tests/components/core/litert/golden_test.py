"""One SavedModel gives the same ranges and the same files on every supported version of TensorFlow."""

from __future__ import annotations

import json

from .golden import make_golden


def test_files_and_ranges_are_the_golden_ones() -> None:
    assert make_golden.content() == json.loads(make_golden.DIGESTS.read_text())

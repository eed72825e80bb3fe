"""The same float file and ranges give the same bytes on every supported version of what quantizes them."""

from __future__ import annotations

import json

from .golden import make_golden


def test_quantized_bytes_are_the_golden_ones() -> None:
    golden = json.loads((make_golden.FOLDER / 'digests.json').read_text())
    ranges = {name: (low, high) for name, (low, high) in golden['ranges'].items()}
    model = (make_golden.FOLDER / 'net.tflite').read_bytes()
    assert make_golden.digests(model, ranges) == golden['sha256']

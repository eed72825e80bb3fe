"""Sizes of a `.tflite` file."""

from __future__ import annotations

import io
import os
import zipfile

from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.components.core.evaluation.model_files.sizes import file_bytes, zip_bytes


@given(st.binary(max_size=20_000))
def test_sizes_are_those_of_the_file_and_of_a_zip_made_by_hand(model):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, 'w', zipfile.ZIP_DEFLATED) as file:
        file.writestr('model.tflite', model)
    assert file_bytes(model) == len(model)
    assert zip_bytes(model) == archive.tell() == zip_bytes(model)


def test_zeros_shrink_the_zip_and_not_the_file():
    noise, pruned = os.urandom(50_000), os.urandom(25_000) + bytes(25_000)
    assert file_bytes(noise) == file_bytes(pruned)
    assert zip_bytes(pruned) < 0.55 * zip_bytes(noise)

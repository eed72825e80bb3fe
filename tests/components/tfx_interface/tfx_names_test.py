"""Names of TFX's that are spelled again: they are still TFX's."""

from __future__ import annotations

import pytest

from tfx_edge.components.tfx_interface import tfx_names

pytestmark = pytest.mark.slow


def test_names_are_those_of_tfx() -> None:
    from tfx.components.evaluator import constants
    from tfx.components.example_gen import utils
    from tfx.components.util import examples_utils

    theirs = {**vars(utils), **vars(examples_utils), **vars(constants)}
    ours = {name: value for name, value in vars(tfx_names).items() if name.isupper()}
    assert ours == {name: theirs[name] for name in ours}

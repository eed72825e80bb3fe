"""What the overrides in the lock promise: the same results, and no compiler for Python 3.11 and newer."""

from __future__ import annotations

import pathlib
import re

import farmhash
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[1]
# Source distributions of Python code alone; whoever adds one has looked that nothing in it is compiled.
PURE_PYTHON = {'google-apitools', 'kfp', 'kfp-server-api', 'rouge-score'}


# FarmHash computes by another rule from 17, 33 and 65 bytes on. Below 0.5 the package takes no null character.
@settings(deadline=None)
@given(st.text(st.characters(exclude_characters='\0', exclude_categories=['Cs'])))
@example('')
@example('x' * 16)
@example('x' * 17)
@example('x' * 33)
@example('x' * 64)
@example('x' * 65)
@example('grün' * 1000)
def test_fingerprint_of_the_locked_farmhash_is_that_of_tensorflow(text: str) -> None:
    (expected,) = tf.fingerprint([text.encode()]).numpy().view('<u8')
    assert farmhash.fingerprint64(text) == expected[0]


@pytest.mark.parametrize(
    ('text', 'fingerprint64', 'fingerprint32'),
    [
        ('', 11160318154034397263, 3696677242),
        ('a', 12917804110809363939, 1016544589),
        ('x' * 17, 11306081951414300581, 733703194),
        ('x' * 65, 4935023790501551929, 3293394063),
        ('x' * 1000, 1913056456708076064, 1495674210),
    ],
)
def test_fingerprints_of_the_locked_farmhash_are_those_of_every_line(
    text: str, fingerprint64: int, fingerprint32: int
) -> None:
    """Both are called by tensorflow-data-validation."""
    assert (farmhash.fingerprint64(text), farmhash.fingerprint32(text)) == (fingerprint64, fingerprint32)


@pytest.mark.parametrize('minor', [11, 12, 13])
def test_no_locked_package_needs_a_compiler(minor: int) -> None:
    """Each has a wheel for this Python on Linux with glibc 2.39, or is a source distribution without native code."""
    environment = {
        'python_version': f'3.{minor}',
        'python_full_version': f'3.{minor}.9',
        'sys_platform': 'linux',
        'platform_system': 'Linux',
        'platform_machine': 'x86_64',
    }
    lines = (ROOT / 'deploy' / 'constraints.txt').read_text().splitlines()
    pins = [pin for pin in map(Requirement, lines) if pin.marker is None or pin.marker.evaluate(environment)]
    wheels = locked_wheels()
    fitting = installable_tags(minor)
    compiled = {
        pin.name
        for pin in pins
        if not any(
            parse_wheel_filename(name)[3] & fitting
            for name in wheels[pin.name, str(pin.specifier).removeprefix('==')]
        )
    }
    assert len(pins) > 200
    assert compiled <= PURE_PYTHON


def locked_wheels() -> dict[tuple[str, str], list[str]]:
    """The names of the wheels of each locked package and version."""
    blocks = (ROOT / 'uv.lock').read_text().split('[[package]]\n')[1:]
    found = [re.search(r'^name = "(.+)"\nversion = "(.+)"\n', block) for block in blocks]
    return {
        (match[1], match[2]): re.findall(r'/([^/"]+\.whl)"', block)
        for match, block in zip(found, blocks, strict=True)
        if match is not None
    }


def installable_tags(minor: int) -> set[Tag]:
    platforms = [f'manylinux_2_{glibc}_x86_64' for glibc in range(39, 4, -1)]
    platforms += [f'{name}_x86_64' for name in ('manylinux2014', 'manylinux2010', 'manylinux1', 'linux')]
    version = (3, minor)
    return {
        *cpython_tags(version, platforms=platforms),
        *compatible_tags(version, platforms=platforms),
    }

"""The list of packages in README.md, which stands there once."""

from __future__ import annotations

import pytest

from tests.fresh import needs


def test_readme_names_what_a_machine_needs_and_what_the_old_line_needs_besides() -> None:
    found = needs.read(needs.README.read_text())
    assert 'make' in found.always
    assert 'g++' in found.for_tfx116
    assert not set(found.always) & set(found.for_tfx116)


def test_words_for_readers_are_no_packages() -> None:
    text = '# Title\n\n    apt-get install make python3  # always\n\napt-get install g++ # besides\n'
    assert needs.read(text) == needs.Needs(('make', 'python3'), ('g++',))


def test_a_list_that_stands_twice_is_refused() -> None:
    with pytest.raises(ValueError, match='has 3 lines'):
        needs.read('apt-get install make\n' * 3)

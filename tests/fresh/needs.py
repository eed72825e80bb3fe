"""What README.md says that a bare machine needs."""

from __future__ import annotations

import dataclasses
import pathlib
import re

README = pathlib.Path(__file__).parents[2] / 'README.md'


@dataclasses.dataclass(frozen=True)
class Needs:
    """Names of packages of Debian and Ubuntu.

    Attributes:
      always: On every machine.
      for_tfx116: Besides, where Python 3.10 and TFX 1.16 are installed.
    """

    always: tuple[str, ...]
    for_tfx116: tuple[str, ...]


def read(text: str) -> Needs:
    """The two lines `apt-get install ...` of README.md; what stands after `#` is for its readers.

    Args:
      text: Of README.md.

    Raises:
      ValueError: If there are not two such lines.
    """
    lines = re.findall(r'^ *apt-get install ([^#\n]+)', text, re.MULTILINE)
    if len(lines) != 2:
        raise ValueError(
            f'README.md has {len(lines)} lines that begin with `apt-get install`; make test-fresh reads two: '
            'what every machine needs, and what Python 3.10 needs besides.'
        )
    always, besides = (tuple(line.split()) for line in lines)
    return Needs(always, besides)

"""How Flink and Beam's job server are started from the jars that Maven brings."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

# Flink and Beam reach into the JDK; since Java 17 each package is opened by name.
_OPENED = (
    'java.lang',
    'java.lang.invoke',
    'java.lang.reflect',
    'java.net',
    'java.nio',
    'java.text',
    'java.time',
    'java.util',
    'java.util.concurrent',
    'sun.nio.ch',
)
_FLAGS = (
    *(f'--add-opens=java.base/{package}=ALL-UNNAMED' for package in _OPENED),
    '--add-exports=java.base/sun.net.util=ALL-UNNAMED',
)
# Beam travels with each job; in Flink's own class path a second copy would be in its way.
_OF_BEAM = 'beam-'


def java(
    jars: pathlib.Path, main_class: str, arguments: Sequence[str], flags: Sequence[str] = (), *, beam: bool
) -> list[str]:
    """The command that starts a class.

    Args:
      jars: the folder of the jars.
      main_class: what is started.
      arguments: of the class.
      flags: of the JVM.
      beam: whether Beam is in the class path, as in the job server and not in Flink.
    """
    paths = [path for path in sorted(jars.glob('*.jar')) if beam or not path.name.startswith(_OF_BEAM)]
    return ['java', *_FLAGS, *flags, '-cp', ':'.join(map(str, paths)), main_class, *arguments]

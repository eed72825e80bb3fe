"""How Flink and Beam's job server are started from the jars that Maven brings."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

# Flink and Beam reach into the JDK; since Java 17 each package is opened by name.
_PACKAGES = (
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
OPENED = (
    *(f'--add-opens=java.base/{package}=ALL-UNNAMED' for package in _PACKAGES),
    '--add-exports=java.base/sun.net.util=ALL-UNNAMED',
)


def java(
    jars: pathlib.Path, main_class: str, arguments: Sequence[str], flags: Sequence[str] = ()
) -> list[str]:
    """The command that starts a class; Flink has Beam in its class path, as deploy/flink/Dockerfile puts it there.

    Args:
      jars: the folder of the jars.
      main_class: what is started.
      arguments: of the class.
      flags: of the JVM.
    """
    return ['java', *OPENED, *flags, '-cp', f'{jars}/*', main_class, *arguments]

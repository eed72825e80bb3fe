"""Paths as a command prints them."""

from __future__ import annotations

import pathlib


def short_path(path: pathlib.Path) -> str:
    """A path relative to the current folder, where it lies below it.

    Args:
      path: absolute.

    Returns:
      As text.

    Example:
      >>> short_path(pathlib.Path.cwd() / 'demo-output' / 'log.txt')
      'demo-output/log.txt'
    """
    current = pathlib.Path.cwd()
    return str(path.relative_to(current) if path.is_relative_to(current) else path)

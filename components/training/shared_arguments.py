"""Functions that take `**shared`, shown by `help` and `inspect.signature` with every argument that it stands for."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any


def show_shared_arguments(method: Any, base: Any, shared: Iterable[str]) -> None:
    """Gives a method the signature and the docstring that it would have without `**shared`.

    Type checkers and editors understand `**shared: Unpack[...]` by themselves; this is for what looks at run time.

    Args:
      method: with parameters of its own, described under `Args` in its docstring, and `**shared`.
      base: the method that `**shared` is passed to, which describes the other parameters, and what is raised.
      shared: the names of the parameters of `base` that `**shared` stands for.

    Raises:
      KeyError: a parameter is described in neither docstring.

    Example:
      ```
      show_shared_arguments(Pruner.__init__, TrainingComponent.__init__, ['schema', 'fine_tuning'])
      inspect.signature(Pruner)  # (model, examples=None, *, pruning=None, schema=None, fine_tuning=None)
      ```
    """
    signature, whole = inspect.signature(method), inspect.signature(base).parameters
    parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    parameters += [whole[name] for name in shared]
    method.__signature__ = signature.replace(parameters=parameters)
    summary, own, raises = _sections(method)
    _, others, usual = _sections(base)
    texts = [{**others, **own}[parameter.name] for parameter in parameters[1:]]
    method.__doc__ = f'{summary}Args:\n{"".join(texts)}\n{raises or usual}'


def _sections(method: Any) -> tuple[str, dict[str, str], str]:
    """What stands before the arguments, each argument's lines by its name, and what stands behind them."""
    summary, _, rest = inspect.cleandoc(method.__doc__).partition('Args:\n')
    arguments, _, raises = rest.partition('\n\n')
    entries = re.split(r'^(?=  \w+: )', f'{arguments}\n', flags=re.MULTILINE)
    return summary, {entry.split(':')[0].strip(): entry for entry in entries if entry.strip()}, raises

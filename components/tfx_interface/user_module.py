"""A user's module file or path: packaged with the pipeline, and loaded where the step runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfx.dsl.components.base import base_component
from tfx.types.component_spec import ExecutionParameter

from tfx_edge.components.core.compression.training.user_functions import NAMES, UserFunctions
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.exhausted_machine import require_machine
from tfx_edge.components.tfx_interface.keys import MODULE_FILE, MODULE_PATH

PARAMETERS = {
    MODULE_FILE: ExecutionParameter(type=str, optional=True),
    MODULE_PATH: ExecutionParameter(type=str, optional=True),
}


def module_properties(module_file: str | None, module_path: str | None) -> dict[str, str]:
    """The exec properties of a module.

    Raises:
      EdgeError: both are given.
    """
    if module_file and module_path:
        raise EdgeError(
            f'module_file {module_file!r} and module_path {module_path!r} are both given; give one of them.'
        )
    return {key: value for key, value in ((MODULE_FILE, module_file), (MODULE_PATH, module_path)) if value}


def package(component: base_component.BaseComponent) -> None:
    """Makes TFX pack the component's module file into a wheel when the pipeline is compiled, as for a Trainer."""
    if not component.spec.exec_properties.get(MODULE_FILE):
        return
    from tfx.components.util import udf_utils  # takes seconds

    if udf_utils.should_package_user_modules():
        udf_utils.add_user_module_dependency(component, MODULE_FILE, MODULE_PATH)


def user_functions(properties: Mapping[str, Any]) -> UserFunctions:
    """The functions of the module that the exec properties name; none without a module.

    Raises:
      EdgeError: the module cannot be imported, or has none of the functions.
    """
    module = {key: properties[key] for key in (MODULE_FILE, MODULE_PATH) if properties.get(key)}
    if not module:
        return UserFunctions()
    from tfx.components.util import udf_utils  # takes seconds

    name = module.get(MODULE_PATH) or module[MODULE_FILE]
    try:
        # The module's own names; what its import raises is kept apart from a function that is not there.
        namespace = udf_utils.get_fn(module, '__dict__')
    except (Exception, SystemExit) as error:
        require_machine(error)
        raise EdgeError(
            f'the module {name} cannot be imported ({type(error).__name__}: {error}); correct it.'
        ) from error
    found = {function: namespace[function] for function in NAMES if function in namespace}
    if not found:
        raise EdgeError(f'the module {name} has none of {", ".join(NAMES)}; define at least one of them.')
    return UserFunctions(**found)

"""The limits that a file must keep on devices."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Sequence

from tfx_edge.components.core.devices import look_up_tables, tflite_micro, web
from tfx_edge.components.core.devices.costs import DeviceCosts
from tfx_edge.components.core.devices.limits import DeviceLimits
from tfx_edge.components.core.devices.profile import profile
from tfx_edge.components.core.errors import EdgeError
from tfx_edge.components.core.evaluation.gates.gate import Gate
from tfx_edge.components.core.evaluation.measurements.baseline_file import as_file
from tfx_edge.components.core.evaluation.measurements.measurement import Finding, Measurement
from tfx_edge.components.core.evaluation.model_files.models import fitted
from tfx_edge.components.core.examples.example_parser import read_records
from tfx_edge.components.core.isolation.isolated_process import run_isolated
from tfx_edge.components.core.litert.file.model_file import ModelFile
from tfx_edge.components.core.litert.quantization.integer_twin import integer_twin

_LOG = logging.getLogger(__name__)
# Examples that the ranges of the baseline's int8 file are of; its costs depend on them little, if at all.
_SAMPLE = 8


class DeviceFigures(Measurement):
    """What devices, or the tools for those that are not here, say of the file, and the limits on it."""

    def read(self) -> Finding:
        """Asks the tools, and runs the file in a browser."""
        demanded = self.setting.demands.devices
        names = [limits.device for limits in demanded]
        baseline, obstacle = self._baseline_file() if names else (None, '')
        pair = self._pair(baseline) if baseline and web.DEVICE in names else None
        costs = [pair.costs if pair and name == web.DEVICE else self._cost(name) for name in names]
        present = [cost.device for cost in costs if not cost.absent]
        beside = {web.DEVICE: pair.baseline} if pair and web.DEVICE in present else {}
        others = [name for name in present if name != web.DEVICE]
        if baseline and others:
            twins, obstacle = self._costs_of_twin(baseline, others)
            beside |= twins
        for cost in costs:
            _warn(cost)
            _log_beside(cost, beside.get(cost.device))
        return Finding(
            judge_devices(demanded, costs),
            {
                'devices': costs,
                'devices_of_baseline': [beside[name] for name in names if name in beside],
            },
            notes=(f'what the baseline costs on devices is not known: {obstacle}',)
            if obstacle and present
            else (),
        )

    def _baseline_file(self) -> tuple[ModelFile | None, str]:
        """The baseline's own file, or why there is none; '' where there is no baseline."""
        baseline = self.setting.evaluation.baseline
        if baseline is None:
            return None, ''
        try:
            return ModelFile(as_file(baseline, self.setting.convert)), ''
        except EdgeError as error:
            return None, str(error)

    def _pair(self, baseline: ModelFile) -> web.WebPair:
        """Both files in one page of a browser."""
        pair = web.profile_pair(self.setting.file, baseline)
        if pair.times:
            _LOG.info(
                "%s: %.3g times the baseline's own file; half of %d rounds within %.3g to %.3g",
                *(web.DEVICE, pair.times.ratio, pair.times.rounds, pair.times.low, pair.times.high),
            )
        return pair

    def _costs_of_twin(
        self, baseline: ModelFile, devices: Sequence[str]
    ) -> tuple[dict[str, DeviceCosts], str]:
        """What the baseline would cost as an int8 file, by device, or why that is not known."""
        contender = self.setting.evaluation.baseline
        assert contender is not None
        try:
            records = list(itertools.islice(read_records(self.setting.files), _SAMPLE))
            inputs = fitted(contender.model, self.setting.parser(records))
            twin = run_isolated(integer_twin, baseline, inputs, self._io())
        except EdgeError as error:
            return {}, str(error)
        return {device: profile(twin, device) for device in devices}, ''

    def _io(self) -> str:
        types = {*self.setting.summary.inputs.values(), *self.setting.summary.outputs.values()}
        return {'int8': 'INT8', 'uint8': 'UINT8'}.get(types.pop(), 'FLOAT') if len(types) == 1 else 'FLOAT'

    def _cost(self, device: str) -> DeviceCosts:
        micro = self.setting.micro_file if device == tflite_micro.DEVICE else None
        cost = profile(micro or self.setting.file, device)
        if micro:
            settings = f'{cost.settings}, of {look_up_tables.FILE_NAME}'.removeprefix(', ')
            cost = dataclasses.replace(cost, settings=settings)
        return cost


def judge_devices(demanded: Sequence[DeviceLimits], costs: Sequence[DeviceCosts]) -> tuple[Gate, ...]:
    """Holds every limit against what the device's tool reports; what it does not report fails.

    Args:
      demanded: of each device.
      costs: of the same devices, in the same order.

    Returns:
      The gates, named such as 'max_cycles on ethos-u55-128'.

    Example:
      >>> judge_devices([DeviceLimits('tflite-micro', {'arena_bytes': 4096})], [costs])[0].holds
      False
    """
    return tuple(
        _gate(cost, figure, limit)
        for wanted, cost in zip(demanded, costs, strict=True)
        for figure, limit in wanted.limits.items()
    )


def _warn(cost: DeviceCosts) -> None:
    if cost.absent or cost.obstacle:
        _LOG.warning('%s: %s', cost.device, cost.absent or cost.obstacle)


def _log_beside(cost: DeviceCosts, baseline: DeviceCosts | None) -> None:
    """One line of what was gained."""
    if baseline is None:
        return
    ratios = [
        f'{name} {ours / theirs:.3g}'
        for name in ('flash_bytes', 'cycles', 'sram_bytes', 'arena_bytes')
        for ours, theirs in [(getattr(cost, name), getattr(baseline, name))]
        if ours is not None and theirs
    ]
    if ratios:
        _LOG.info('%s: times the baseline as an int8 file: %s', cost.device, ', '.join(ratios))


def _gate(cost: DeviceCosts, figure: str, limit: float) -> Gate:
    name = f'max_{figure} on {cost.device}'
    found = getattr(cost, figure)
    if cost.absent or cost.obstacle or found is None:
        return Gate(name, None, limit, False, cost.absent or cost.obstacle or 'the tool does not report it')
    measured = len(found) if figure == 'cpu_operators' else found
    detail = f'left to the CPU: {", ".join(found)}' if figure == 'cpu_operators' and measured > limit else ''
    return Gate(name, measured, limit, measured <= limit, detail)

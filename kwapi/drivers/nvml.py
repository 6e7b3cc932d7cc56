"""Graphics processors of NVIDIA in this machine, by NVML, the library that comes with their driver.

Power is in milliwatts, a mean over the last second or the value of the moment, as the model has it; energy, from Volta
on, in millijoules since the driver was loaded. Cheap models know neither.

``probes`` names the GPUs in NVML's order, that of the PCI bus; an empty name skips one. ``id@gpu`` names one by what
does not change when another is added: ``g1@GPU-513536b6-7d19-9063-b049-1e69664bb298``, ``g1@1650522003820`` (its serial
number), ``g1@00000000:01:00.0`` (its place on the bus). ``id@0`` is the first one.

NVML's calls have no deadline; one that hangs with the driver is left to the manager.

Source: NVML API Reference Guide, nvmlDeviceGetPowerUsage, nvmlDeviceGetTotalEnergyConsumption, nvmlInit_v2.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pynvml

from kwapi.drivers.base import Driver
from kwapi.drivers.places import probes_of
from kwapi.energy import JOULES_PER_KWH
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement

LONGEST_INDEX = 3  # digits; a serial number has more


class Nvml(Driver):
    _initialized = False

    def __init__(
        self, wattmeter: str, values: Mapping[str, Any], shared: Any = None, *, library: Any = pynvml, **clocks: Any
    ) -> None:
        super().__init__(wattmeter, values, shared, **clocks)
        self._library = library

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (option, what is wrong) for each mistake that the options' own types cannot see."""
        for name in self.probes:
            probe, at, gpu = name.partition("@")
            if at and not (probe and gpu.isascii() and gpu.isprintable() and gpu.strip()):
                yield "probes", f"{name!r} does not name a probe and a GPU, such as g1@0 or g1@GPU-513536b6-..."

    def probe_names(self) -> list[str]:
        """Return the ids of the probes, in order: names without GPUs, and without the places that are skipped."""
        return probes_of(self.probes)

    def open(self) -> None:
        """Load the library and find the GPUs that the names mean."""
        try:
            self._library.nvmlInit()
        except self._library.NVMLError as error:
            raise DeviceError(f"NVML: {error}") from error
        self._initialized = True
        self._gpus: dict[str, Any] = {}  # handles by probe
        indices = set()
        place = 0
        for name in self.probes:
            probe, at, gpu = name.partition("@")
            if not at:
                gpu, place = str(place), place + 1
            if not probe:
                continue
            index, self._gpus[probe] = self._find(gpu)
            if index in indices:
                raise DeviceError(f"{name!r} is GPU {index} a second time, and would be counted twice")
            indices.add(index)

    def read(self) -> list[Measurement]:
        """Return power and energy of every GPU that tells them."""
        measurements = []
        failures = []
        for probe, handle in self._gpus.items():
            try:
                watts = self._ask(self._library.nvmlDeviceGetPowerUsage, handle, 1000)
                kwh = self._ask(self._library.nvmlDeviceGetTotalEnergyConsumption, handle, 1000 * JOULES_PER_KWH)
            except self._library.NVMLError as error:  # of one GPU, which may have fallen off the bus; the others go on
                failures.append(f"{probe}: {error}")
                continue
            if watts is not None or kwh is not None:
                measurements.append(Measurement(probe, watts=watts, kwh=kwh))
        if self._gpus and not measurements:
            raise DeviceError(f"NVML: no GPU tells power or energy; {', '.join(failures) or 'not supported'}")
        return measurements

    def close(self) -> None:
        """Let go of the library."""
        if not self._initialized:
            return
        self._initialized = False
        try:
            self._library.nvmlShutdown()
        except self._library.NVMLError as error:
            raise DeviceError(f"NVML: {error}") from error

    def _find(self, gpu: str) -> tuple[int, Any]:
        """Return the index and the handle of a GPU."""
        try:
            handle = self._handle(gpu)
            return self._library.nvmlDeviceGetIndex(handle), handle
        except self._library.NVMLError as error:
            raise DeviceError(f"NVML: GPU {gpu!r}: {error}") from error

    def _handle(self, gpu: str) -> Any:
        if gpu.isdecimal() and len(gpu) <= LONGEST_INDEX:
            return self._library.nvmlDeviceGetHandleByIndex(int(gpu))
        if gpu.isdecimal():
            return self._library.nvmlDeviceGetHandleBySerial(gpu)
        if ":" in gpu:
            return self._library.nvmlDeviceGetHandleByPciBusId(gpu)
        return self._library.nvmlDeviceGetHandleByUUID(gpu)

    def _ask(self, function: Callable[[Any], int], handle: Any, counts: float) -> float | None:
        """Return what a function of the library tells, in units of so many counts, None if the GPU does not know."""
        library = self._library
        try:
            return function(handle) / counts
        except (
            library.NVMLError_NotSupported,  # by this model
            library.NVMLError_FunctionNotFound,  # in an older library
            library.NVMLError_NoPermission,
        ):
            return None

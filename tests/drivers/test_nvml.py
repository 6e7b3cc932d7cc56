from xml.etree import ElementTree

import pynvml
import pytest

from kwapi.drivers.nvml import Nvml
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from tests.drivers.recordings import recordings_root

NOT_SUPPORTED = pynvml.NVMLError_NotSupported
LOST = pynvml.NVMLError_GpuIsLost


class Gpu:
    def __init__(self, uuid, serial, bus, power, energy):
        self.names = {"uuid": uuid, "serial": serial, "bus": bus}
        self.power, self.energy = power, energy  # mW and mJ, or the error that tells why not


class Library:
    """The functions of pynvml that the driver calls, for made-up GPUs; errors are the library's own."""

    NVMLError = pynvml.NVMLError
    NVMLError_NotSupported = pynvml.NVMLError_NotSupported
    NVMLError_FunctionNotFound = pynvml.NVMLError_FunctionNotFound
    NVMLError_NoPermission = pynvml.NVMLError_NoPermission

    def __init__(self, *gpus):
        self.gpus = gpus
        self.users = 0

    def nvmlInit(self):  # noqa: N802 -- the library's name
        self.users += 1

    def nvmlShutdown(self):  # noqa: N802
        self.users -= 1

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        if index >= len(self.gpus):
            raise pynvml.NVMLError_InvalidArgument
        return self.gpus[index]

    def nvmlDeviceGetIndex(self, gpu):  # noqa: N802
        return self.gpus.index(gpu)

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
        return self._find("uuid", uuid)

    def nvmlDeviceGetHandleBySerial(self, serial):  # noqa: N802
        return self._find("serial", serial)

    def nvmlDeviceGetHandleByPciBusId(self, bus):  # noqa: N802
        return self._find("bus", bus)

    def nvmlDeviceGetPowerUsage(self, gpu):  # noqa: N802
        return self._tell(gpu.power)

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu):  # noqa: N802
        return self._tell(gpu.energy)

    def _find(self, kind, name):
        found = [gpu for gpu in self.gpus if gpu.names[kind] == name]
        if not found:
            raise pynvml.NVMLError_NotFound
        return found[0]

    def _tell(self, value):
        if isinstance(value, type):
            raise value
        return value


A100 = Gpu("GPU-513536b6", "1650522003820", "00000000:01:00.0", 67_030, 3_600_000_000)
RTX = Gpu("GPU-19d6d965", "N/A", "00000000:04:00.0", 22_780, NOT_SUPPORTED)
GTX = Gpu("GPU-f9ba66fc", "N/A", "00000000:05:00.0", NOT_SUPPORTED, NOT_SUPPORTED)


def driver(library, *probes):
    return Nvml("gpus", {"probes": list(probes), "interval": 1.0}, library=library)


def read_once(library, *probes):
    meter = driver(library, *probes)
    try:
        meter.open()
        return meter.read()
    finally:
        meter.close()


def test_power_and_energy_are_converted():
    library = Library(A100, RTX)
    assert read_once(library, "a", "b") == [Measurement("a", watts=67.03, kwh=1), Measurement("b", watts=22.78)]
    assert library.users == 0


@pytest.mark.parametrize("name", ["a@1", "a@GPU-19d6d965", "a@00000000:04:00.0"])
def test_a_gpu_can_be_named(name):
    assert read_once(Library(A100, RTX), name) == [Measurement("a", watts=22.78)]


def test_a_gpu_can_be_named_by_its_serial_number():
    assert read_once(Library(RTX, A100), "a@1650522003820") == [Measurement("a", watts=67.03, kwh=1)]


def test_an_empty_name_skips_a_gpu():
    assert [each.probe for each in read_once(Library(A100, RTX), "", "b")] == ["b"]


@pytest.mark.parametrize("name", ["a@2", "a@GPU-0", "a@9999999999999", "a@00000000:09:00.0"])
def test_a_gpu_that_is_not_there_is_told(name):
    with pytest.raises(DeviceError, match=f"GPU '{name[2:]}': "):
        read_once(Library(A100, RTX), name)


@pytest.mark.parametrize("names", [("a", "b@0"), ("a@GPU-513536b6", "b@1650522003820")])
def test_one_gpu_under_two_names_is_refused(names):
    with pytest.raises(DeviceError, match=f"'{names[1]}' is GPU 0 a second time, and would be counted twice"):
        read_once(Library(A100, RTX), *names)


def test_a_gpu_that_tells_nothing_is_left_out():
    assert [each.probe for each in read_once(Library(GTX, RTX), "a", "b")] == ["b"]
    with pytest.raises(DeviceError, match="no GPU tells power or energy; not supported"):
        read_once(Library(GTX), "a")


def test_a_driver_that_was_loaded_again_counts_energy_anew():
    gpu = Gpu("GPU-1", "N/A", "00000000:06:00.0", 50_000, 7_200_000_000)
    meter = driver(Library(gpu), "a")
    meter.open()
    assert meter.read() == [Measurement("a", watts=50, kwh=2)]
    gpu.power = gpu.energy = pynvml.NVMLError_Uninitialized
    with pytest.raises(DeviceError, match="a: Uninitialized"):
        meter.read()
    meter.close()
    gpu.power, gpu.energy = 40_000, 0
    meter.open()
    assert meter.read() == [Measurement("a", watts=40, kwh=0)]
    meter.close()


def test_a_lost_gpu_does_not_silence_the_others():
    lost = Gpu("GPU-1", "N/A", "00000000:06:00.0", LOST, LOST)
    assert [each.probe for each in read_once(Library(lost, A100), "a", "b")] == ["b"]
    with pytest.raises(DeviceError, match="a: GPU is lost"):
        read_once(Library(lost), "a")


@pytest.mark.parametrize("error", [pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded])
def test_a_machine_without_nvidias_driver_is_a_failure(error):
    class Broken(Library):
        def nvmlInit(self):  # noqa: N802
            raise error

    library = Broken()
    with pytest.raises(DeviceError, match=f"NVML: {error()}"):
        read_once(library, "a")
    assert library.users == 0


def test_the_real_library_says_what_it_lacks_or_finds_no_such_gpu():
    with pytest.raises(DeviceError, match="NVML: "):
        read_once(pynvml, "a@GPU-00000000-0000-0000-0000-000000000000")


def test_the_real_library_has_every_function_and_error_that_is_used():
    used = [name for name in vars(Library) if name.startswith(("nvml", "NVML"))]
    assert len(used) == 13
    assert [name for name in used if not hasattr(pynvml, name)] == []


def test_names_of_recorded_gpus_are_told_apart():
    names = {}
    for file in sorted((recordings_root() / "gpu" / "nvidia_smi").glob("*.xml")):
        for gpu in ElementTree.parse(file).iter("gpu"):  # noqa: S314 -- files of ours
            serial = gpu.findtext("serial") or "N/A"
            names[gpu.findtext("uuid")] = Gpu(gpu.findtext("uuid"), serial, gpu.get("id"), 1000, NOT_SUPPORTED)
    for gpu in names.values():
        library = Library(gpu)
        kinds = [gpu.names["uuid"], gpu.names["bus"], *(s for s in [gpu.names["serial"]] if s != "N/A")]
        for name in kinds:
            assert read_once(library, f"a@{name}") == [Measurement("a", watts=1)]
    assert len(names) == 6


@pytest.mark.parametrize("name", ["a@", "a@ ", "@0", "a@GPÜ"])
def test_mistakes_of_the_names_are_told(name):
    ((told, what),) = driver(Library(), name).problems()
    assert told == "probes"
    assert "does not name a probe and a GPU" in what


def test_names_are_published_without_their_gpus():
    meter = driver(Library(), "a", "", "b@GPU-1")
    assert meter.probe_names() == ["a", "b"]
    assert list(meter.problems()) == []

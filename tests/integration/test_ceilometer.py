"""A real ceilometer-polling with our pollsters finds kwapi-api in a real Keystone, and takes its samples."""

import time
from contextlib import contextmanager

import pytest

from kwapi.bus import Publisher
from kwapi.keys import KeyFile
from kwapi.measurement import Measurement
from kwapi.plugins.api.query import PAGE
from tests.integration.ceilometer import METERS, Polling
from tests.integration.daemons import Site
from tests.integration.keystone import PASSWORDS, PROJECT
from tests.integration.test_keystone import Api
from tests.ports import free_port
from tests.waiting import eventually

pytestmark = pytest.mark.integration

DUMMY = "[lab.meter]\ndriver = dummy\nload = steady\nwatts = 42\nprobes = a, Ünï.rack 1\ninterval = 0.2\n"
STEADY = ("a", "Ünï.rack 1")
PDU = "[lab.pdu]\ndriver = snmp\nhost = 127.0.0.1\nport = {}\ntimeout = 0.5\nretries = 0\nprobes = o1\n"
MACHINE = "[machine web-1]\nprobes = psu-1, psu-2\n"
LASTING = 3600.0  # seconds; interval of a wattmeter that is not stale while a test runs
SECONDS = 36  # between two polls of it
RISE = 2**-7  # kWh that a register rises between them: a power of two, so that its difference is exact
OLDEST = 30  # seconds; of version 1, as its file says


class Kwapi:
    """kwapi-api that asks a real Keystone, with real drivers, and a bus on which the test itself publishes as well."""

    def __init__(self, directory, keystone, drivers=DUMMY):
        self._site = Site(directory, drivers)
        self._keystone = keystone
        self._endpoint = f"tcp://127.0.0.1:{free_port()}"
        self.url = f"http://127.0.0.1:{self._site.api_port}"
        self.api = Api(self._site)

    def __enter__(self):
        site = self._site
        site.start("drivers", "forwarder")
        self._publisher = Publisher(self._endpoint, KeyFile(site.directory / "state" / "signing.key"))
        path = site.directory / "api.conf"
        text = path.read_text().replace("acl_enabled = false\n", "")
        text = text.replace(
            f"probes_endpoint = {site.forwarded}", f"probes_endpoint = {site.forwarded}, {self._endpoint}"
        )
        path.write_text(
            f"{text}{MACHINE}[keystone_authtoken]\nauth_url = {self._keystone.url}\n"
            f"username = kwapi\npassword = {PASSWORDS['kwapi']}\nuser_domain_name = Default\n"
            f"project_name = {PROJECT}\nproject_domain_name = Default\n"
        )
        self.start()
        return self

    def __exit__(self, *_):
        self._publisher.close()
        self._site.__exit__()

    def start(self):
        self._site.start("api")
        self._token = self._keystone.token("ceilometer")
        eventually(lambda: self.api.has_heard() and set(STEADY) <= set(self.probes()))

    def stop(self):
        assert self._site.stop("api") == 0

    def ask(self, path):
        """Return what the API answers to the user ceilometer."""
        return self.api.ask(path, self._token)[2]

    def probes(self):
        """Return the probes of version 2 by id, a page of them."""
        return {probe["id"]: probe for probe in self.ask("/v2/probes")["probes"]}

    def publish(self, wattmeter, *polls):
        """Publish polls (timestamp, measurements) of a wattmeter, the first one until it has been heard."""
        sender = self._publisher.sender(wattmeter, LASTING)
        (timestamp, measurements), *others = polls
        path = f"/v2/probes?wattmeter={wattmeter}"

        def is_heard():
            sender.publish(measurements, timestamp, timestamp)
            return self.ask(path)["probes"]

        eventually(is_heard)
        for timestamp, measurements in others:
            sender.publish(measurements, timestamp, timestamp)
            eventually(lambda at=timestamp: self.ask(path)["probes"][0]["timestamp"] == at)


@pytest.fixture(scope="module")
def kwapi(tmp_path_factory, keystone):
    with Kwapi(tmp_path_factory.mktemp("kwapi"), keystone) as kwapi:
        yield kwapi


@pytest.fixture
def polling(tmp_path_factory, keystone):
    """Start a ceilometer-polling that finds a Kwapi in Keystone's catalogue."""

    @contextmanager
    def start(kwapi, *files, endpoint="/v1", user="ceilometer", password=None):
        keystone.register("energy", f"{kwapi.url}{endpoint}")
        password = password or PASSWORDS[user]
        directory = tmp_path_factory.mktemp("ceilometer")
        with Polling(directory, keystone.url, files or ["kwapi.yaml"], user, password) as polling:
            yield polling

    return start


def meters_of(probe, samples):
    return [meter for meter in METERS if (meter, probe) in samples]


def told(sample):
    """Return what a sample says, but for when it was taken."""
    return tuple(sample[f"counter_{part}"] for part in ("type", "unit", "volume")), sample["resource_metadata"]


def two_polls(now, *pairs):
    """Return polls of which the second is of this moment, given each probe's measurements in both."""
    first, second = zip(*pairs, strict=True)
    return (now - SECONDS, first), (now, second)


def test_every_probe_gives_its_energy_and_its_power(kwapi, polling):
    now = time.time()
    register = Measurement("psu-1", watts=500, kwh=100), Measurement("psu-1", watts=250, kwh=100 + RISE)
    integrated = Measurement("psu-2", watts=500, level="outlet"), Measurement("psu-2", watts=2000, level="outlet")
    kwapi.publish("lyon.pdu", *two_polls(now, register, integrated))
    before = kwapi.probes()
    with polling(kwapi) as ceilometer:
        samples = ceilometer.poll()
    after = kwapi.probes()
    about = {"wattmeter": "lyon.pdu", "level": "device", "timestamp": now, "coverage": 1.0}
    assert told(samples["energy", "psu-1"]) == (("cumulative", "kWh", RISE), about)
    assert told(samples["power", "psu-1"]) == (("gauge", "W", 250), about)
    kwh = samples["energy", "psu-2"]["counter_volume"]
    assert kwh == pytest.approx(2000 * SECONDS / 3.6e6)
    assert told(samples["energy", "psu-2"])[1] == about | {"level": "outlet"}
    assert told(samples["power", "psu-2"]) == (("gauge", "W", 2000), about | {"level": "outlet"})
    machine = about | {"wattmeter": "kwapi.machine", "level": "machine"}
    assert told(samples["energy", "web-1"]) == (("cumulative", "kWh", RISE + kwh), machine)
    assert told(samples["power", "web-1"]) == (("gauge", "W", 2250), machine)
    for probe in STEADY:
        assert samples["power", probe]["counter_volume"] == 42
        assert before[probe]["kwh"] < samples["energy", probe]["counter_volume"] < after[probe]["kwh"]
        at = samples["power", probe]["resource_metadata"]["timestamp"]
        assert before[probe]["timestamp"] < at < after[probe]["timestamp"]


def test_the_catalogue_may_name_the_api_without_a_version(kwapi, polling):
    with polling(kwapi, endpoint="") as ceilometer:
        assert meters_of("a", ceilometer.poll()) == ["energy", "power"]


def test_what_is_not_known_gives_no_sample(kwapi, polling):
    now = time.time()
    kwapi.publish("lyon.once", (now, [Measurement("once", watts=7)]))
    kwapi.publish("lyon.volts", (now, [Measurement("volts", volts=230)]))
    kwapi.publish("lyon.register", *two_polls(now, (Measurement("only", kwh=5), Measurement("only", kwh=5 + RISE))))
    with polling(kwapi) as ceilometer:
        samples = ceilometer.poll()
    assert [meters_of(probe, samples) for probe in ("once", "volts", "only")] == [["power"], [], ["energy"]]
    assert samples["power", "once"]["counter_volume"] == 7
    assert samples["energy", "only"]["counter_volume"] == RISE


def test_the_pollsters_of_version_1_take_what_it_shows_and_nothing_old(kwapi, polling):
    now = time.time()
    for name, timestamp in (("old", now - OLDEST), ("new", now)):
        measured = Measurement(name, watts=1, kwh=1), Measurement(name, watts=2, kwh=1 + RISE)
        kwapi.publish(f"rack.{name}", *two_polls(timestamp, measured))
    with polling(kwapi, "kwapi_v1.yaml") as ceilometer:
        samples = ceilometer.poll()
    assert told(samples["energy", "new"]) == (("cumulative", "kWh", RISE), {"timestamp": now})
    assert told(samples["power", "new"]) == (("gauge", "W", 2), {"timestamp": now})
    assert kwapi.ask("/v1/probes/")["probes"]["old"] == {"timestamp": now - OLDEST, "w": 2, "kwh": RISE}
    assert [meters_of(probe, samples) for probe in ("old", *STEADY)] == [[], list(METERS), list(METERS)]


def test_version_2_goes_first_where_both_files_are_installed(kwapi, polling):
    with polling(kwapi, "kwapi.yaml", "kwapi_v1.yaml") as ceilometer:
        samples = ceilometer.poll()
    assert {samples[meter, "a"]["resource_metadata"]["wattmeter"] for meter in METERS} == {"lab.meter"}


def test_a_dead_wattmeter_gives_no_sample(tmp_path, keystone, pdu, polling):
    with Kwapi(tmp_path, keystone, DUMMY + PDU.format(pdu.port)) as kwapi:

        def taken(file):
            with polling(kwapi, file) as ceilometer:
                return {probe: meters_of(probe, ceilometer.poll()) for probe in ("o1", "a")}

        eventually(lambda: "o1" in kwapi.probes() and kwapi.probes()["o1"]["coverage"])
        assert taken("kwapi.yaml") == taken("kwapi_v1.yaml") == {"o1": list(METERS), "a": list(METERS)}
        pdu.kill()
        eventually(lambda: kwapi.probes()["o1"]["state"] == "stale")
        assert taken("kwapi.yaml") == {"o1": [], "a": list(METERS)}
        eventually(lambda: kwapi.ask("/v1/probes/")["probes"]["o1"]["timestamp"] < time.time() - OLDEST, timeout=60)
        assert taken("kwapi_v1.yaml") == {"o1": [], "a": list(METERS)}


def test_more_probes_than_a_page_are_all_taken(tmp_path, keystone, polling):
    names = [f"p{number:04}" for number in range(2 * PAGE + 1)]
    polls = two_polls(time.time(), *((Measurement(name, watts=1), Measurement(name, watts=1)) for name in names))
    with Kwapi(tmp_path, keystone) as kwapi:
        kwapi.publish("many", *polls)
        with polling(kwapi) as ceilometer:
            samples = ceilometer.poll()
    assert set(samples) == {(meter, probe) for meter in METERS for probe in (*names, *STEADY)}


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ({"password": "not that one, but long"}, "keystone issue"),
        ({"user": "visitor"}, "Continue after error from"),
    ],
)
def test_who_may_not_read_gets_no_sample(kwapi, polling, who, reason):
    with polling(kwapi, **who) as ceilometer:
        ceilometer.await_log(lambda log: log.count(reason) > 4)
        assert ceilometer.samples() == []
    assert kwapi.api.status(token="not a token") == 401


def test_while_kwapi_is_down_there_are_no_samples_and_then_again(kwapi, polling):
    with polling(kwapi) as ceilometer:
        before = ceilometer.poll()["energy", "a"]["counter_volume"]
        kwapi.stop()
        failed = ceilometer.log().count("Continue after error from")
        ceilometer.await_log(lambda log: log.count("Continue after error from") > failed + 4)
        taken = len(ceilometer.samples())
        kwapi.start()
        eventually(lambda: len(ceilometer.samples()) > taken)
        assert ceilometer.poll()["energy", "a"]["counter_volume"] > before

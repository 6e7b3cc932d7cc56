"""A Redfish service and a driver for it."""

import pytest

from kwapi.drivers.redfish.driver import Redfish
from tests.integration.redfish_server import PASSWORD, USER, make_certificate, serve_redfish

DEFAULTS = {option.dest: option.default for option in Redfish.options}
PATIENT = {"timeout": 30.0, "deadline": 60.0}  # for machines with a lot else to do


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def shared():
    shared = Redfish.open_shared()
    yield shared
    Redfish.close_shared(shared)


@pytest.fixture
def device(certificate, shared):
    """Return what makes a server of these resources, and a driver for it with these probes and options."""
    servers, drivers = [], []

    def start(resources, probes, **options):
        context = serve_redfish(resources, certificate)
        served = context.__enter__()
        servers.append(context)
        values = {"host": "127.0.0.1", "port": served.port, "user": USER, "password": PASSWORD, "interval": 1.0}
        driver = Redfish(
            "rack.bmc", DEFAULTS | PATIENT | values | {"ca_file": str(certificate), "probes": probes} | options, shared
        )
        drivers.append(driver)
        return served, driver

    yield start
    for driver in drivers:
        driver.close()
    for context in servers:
        context.__exit__(None, None, None)

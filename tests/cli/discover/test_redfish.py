import pytest

from kwapi.cli.discover.redfish import title_of


@pytest.mark.parametrize(
    ("root", "title"),
    [
        ({"Vendor": "Acme", "Product": "Rack BMC", "RedfishVersion": "1.15.0"}, "Acme Rack BMC with Redfish 1.15.0"),
        ({"Vendor": "Acme\n", "Product": None, "RedfishVersion": "1.0.2"}, "Acme with Redfish 1.0.2"),
        ({"RedfishVersion": "1.15.0"}, "device with Redfish 1.15.0"),
        ({"Vendor": 3}, "device with Redfish"),
    ],
)
def test_a_service_is_called_as_it_calls_itself(root, title):
    assert title_of(root) == title

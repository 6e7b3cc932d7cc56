"""Configurations as the Kwapi of 2013 had them, written here by what its options were."""

DRIVERS = """\
# As an administrator of 2013 wrote it.
[DEFAULT]
probes_endpoint = ipc:///tmp/kwapi-drivers
enable_signing = true
metering_secret = 0ld-metering-secret
check_drivers_interval = 60
log_file = /var/log/kwapi/kwapi-drivers.log
verbose = true

[wattsup-1]
probes = ['taurus-1']
driver = Wattsup
parameters = {'device': '/dev/ttyUSB1'}

[bmc]
probes = ['taurus-2']
driver = Ipmi
parameters = {'interface': 'lanplus', 'host': '10.0.0.2', 'username': 'ops', 'password': ' pa$$, "w', 'sensor': 'Power'}

[pdu]
probes = ['taurus-3', None, 'taurus-4']
driver = Snmp
parameters = {'protocol': '1', 'community': 'wattos', 'ip': '10.0.0.3', 'oid': 'iso.3.6.1.4.1.318.1.1.12.1.16'}

[eaton]
probes = ['taurus-5', 'taurus-6']
driver = Eaton
parameters = {'ip': '10.0.0.4', 'user': 'public'}

[raritan]
probes = ['a/b', 'taurus-1']
driver = Raritan
parameters = {'ip': '10.0.0.5', 'user': 'public', 'colour': 'red'}

[site]
probes = ['lyon.taurus-7', 'lyon.taurus-8']
driver = Json_url
parameters = {'url': 'http://10.0.0.6/power.json'}
data_type = {'name': 'power', 'type': 'Gauge', 'unit': 'W'}

[made-up]
probes = ['x', 'y']
driver = Dummy
parameters = {'min': 60, 'max': 100}

[switch]
probes = ['s1']
driver = SnmpIn
parameters = {'ip': '10.0.0.7', 'community': 'hidden',
    'oid': '1.3'}
"""
FORWARDER = """\
[DEFAULT]
probes_endpoint = ipc:///tmp/kwapi-drivers
probes_endpoint = tcp://10.0.1.1:5000
forwarder_endpoint = ipc:///tmp/kwapi-forwarder
"""
API = """\
[DEFAULT]
api_port = 5001
probes_endpoint = ipc:///tmp/kwapi-forwarder
signature_checking = true
driver_metering_secret = 0ld-metering-secret
acl_enabled = true
policy_file = /etc/kwapi/policy.json
cleaning_interval = 300
watch_probe = pdu
watch_probe = taurus-3

[keystone_authtoken]
auth_host = keystone.example.org
auth_port = 35357
auth_protocol = https
admin_user = kwapi
admin_password = 0ld-keystone
admin_tenant_name = service
signing_dir = /tmp/keystone
"""
RRD = """\
[DEFAULT]
rrd_port = 8081
probes_endpoint = 'ipc:///tmp/kwapi-forwarder'
signature_checking = true
driver_metering_secret = 0ld-metering-secret
png_dir = /var/lib/kwapi/kwapi-png
rrd_dir = /var/lib/kwapi/kwapi-rrd
currency = \u20ac
kwh_price = 0.125
hue = 100
max_watts = 200
refresh_interval = 0
verbose = false
frobnicate = 3
"""
FILES = {"drivers": DRIVERS, "forwarder": FORWARDER, "api": API, "rrd": RRD}

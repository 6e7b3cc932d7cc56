"""Every word that the pages say, in English, for the script too."""

from collections.abc import Mapping
from types import MappingProxyType

TEXT: Mapping[str, str] = MappingProxyType(
    {
        "skip": "To the probes",
        "period": "Period",
        "last": "Last {period}",
        "all": "All probes",
        "chosen": "Chosen probes",
        "found": "Found probes",
        "now": "now",
        "measured": "{measured} of {counted} probes measured",
        "measured_one": "{measured} of 1 probe measured",
        "probes": "{number} probes",
        "probes_one": "1 probe",
        "energy": "in the last {period}",
        "until": "until",
        "others": "{number} others",
        "no_site": "no site",
        # the bar of controls
        "view": "What is shown",
        "search": "Search",
        "search_hint": "Name or wattmeter",
        "site": "Site",
        "wattmeter": "Wattmeter",
        "any_site": "All sites",
        "any_wattmeter": "All wattmeters",
        "group": "Group",
        "group_none": "Not grouped",
        "group_site": "By site",
        "group_wattmeter": "By wattmeter",
        "sort": "Sort",
        "sort_name": "By name",
        "sort_watts": "By watts now",
        "sort_kwh": "By kWh",
        "graphs": "Graphs",
        "table": "Table",
        "apply": "Show",
        "state": "State",
        # choosing
        "choose": "Choose {probe}",
        "chosen_number": "{number} chosen",
        "chosen_one": "1 chosen",
        "only_chosen": "Show only these",
        "choose_others": "Choose others",
        "show_all": "Show all probes",
        "too_many": "A graph is of {most} probes at most.",
        "nothing_found": "No probe is like that.",
        # states
        "up": "up",
        "stale": "stale",
        "down": "down",
        "muted": "muted",
        "broken": "its file can't be used, see the log",
        "not_counted": "not part of the total",
        "place": "{level} of {wattmeter}",
        "last_measured": "last measured",
        "never_measured": "never measured",
        # graphs and tables
        "power_of": "Power of {what} in the last {period}",
        "name": "Name",
        "watts": "Watts now",
        "kwh": "kWh",
        "energy_used": "Energy",
        "cost": "Cost",
        "minimum": "Minimum",
        "average": "Average",
        "maximum": "Maximum",
        "download": "Download",
        "download_rrd": "RRD file",
        "first_seen": "First seen",
        "rows": "Values of the last {period}",
        "time": "Time",
        "read_out": "{name}. Arrow keys read it out.",
        # the first visit
        "first": "No measurement yet",
        "first_soon": "Probes appear here by themselves, a few seconds after their first measurement.",
        "first_nothing": "Nothing has come from {endpoints} so far.",
        "first_rejected": "{number} messages have come and were dropped: {reason}.",
        "first_rejected_one": "1 message has come and was dropped: {reason}.",
        "first_no_watts": "{number} messages have come, and none of them had watts.",
        "first_no_watts_one": "1 message has come, and it had no watts.",
        "first_next": "What to do next",
        "step_wattmeter": "Describe a wattmeter in drivers.conf; this asks a device what it is and prints its section:",
        "step_check": "Look for mistakes in all configuration files:",
        "step_state": "Is kwapi-drivers running, and are its wattmeters up?",
        "step_bus": "See what travels on the bus. rrd.conf names the same place, probes_endpoint:",
        "step_key": "Both ends need the same signing key, signing_key_file: where it differs, messages are dropped as "
        "“unknown key”.",
        # pages
        "pages": "Pages",
        "previous": "Previous {number}",
        "next": "Next {number}",
        "range": "{first} to {last} of {number}",
        # errors
        "no_page": "There is no such page.",
        "no_period": "There is no period {period}. There are {periods}.",
        "no_probe": "There is no probe {probe}.",
        "no_site_named": "There is no site {site}.",
        "no_file": "There is no file of {probe} yet.",
        "out_of_bounds": "{key} is {least} to {most}, not {given}.",
        "our_error": "Something went wrong here. The log of kwapi-rrd has the details.",
        "login": "This page asks for a name and a password.",
        "no_user": "Only a reverse proxy on this machine that says who asks is answered.",
        # keeping a page new
        "unanswered": "no answer since {time}",
    }
)
FOR_SCRIPT = (
    "measured", "measured_one", "chosen_number", "chosen_one", "up", "stale", "down", "muted", "broken",
    "unanswered", "read_out", "last_measured", "never_measured",
)  # fmt: skip


def say(key: str, /, **values: object) -> str:
    """Return a text with its places filled in; of ``number`` or ``counted`` 1 the singular, where it has one."""
    if 1 in (values.get("number"), values.get("counted")) and f"{key}_one" in TEXT:
        key += "_one"
    return TEXT[key].format(**values)

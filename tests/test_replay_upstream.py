"""What the spool of a forwarder lacks comes from the one before it, over real sockets."""

import time

import pytest

from kwapi.replay import Service
from kwapi.spool.store import Spool
from tests.replaying import Plugin, Site, all_of, heard
from tests.threads import running
from tests.waiting import eventually


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.fixture
def branch(site, tmp_path):
    """Return a spool of another daemon, which asks on at the site's for what it lacks, and where it answers."""
    spool, endpoint = Spool(tmp_path / "branch", max_bytes=16 << 20, max_age=3600.0), f"ipc://{tmp_path}/branch-replay"
    service = Service(endpoint, tmp_path / "branch", upstream=[site.replay, f"ipc://{tmp_path}/nobody"])
    with running(spool.run), running(service.run):
        yield spool, endpoint


def test_what_a_spool_lacks_it_asks_of_the_one_before_it(site, branch):
    before = Plugin(site)
    with before.running():
        heard(before, site)
    spool, endpoint = branch
    keep, site.publisher._keep = (
        site.publisher._keep,
        lambda *frame: (site.spool.hand_numbered(*frame), spool.hand_numbered(*frame)),
    )
    site.publish(50)
    site.publisher._keep = keep
    site.publish(200)
    site.publish(20, "paris.pdu9")  # of which nobody but the site's spool has ever heard
    after = Plugin(site, before.streams.positions(), since=time.time() - 3600, spools=[endpoint])
    with after.running():
        eventually(lambda: site.publish(1) or len(after.taken) > 270)
        eventually(lambda: ("paris.pdu9", site.publisher.boot, 19) in after.taken)
        eventually(lambda: after.streams.behind() == 0)
    assert [seq for name, _, seq in after.taken if name == "paris.pdu9"] == list(range(20))
    taken = before.taken + [taken for taken in after.taken if taken[0] == "lyon.pdu1"]
    assert taken == all_of(site, before)[: len(taken)]
    assert after.gate.lost == 0


def test_a_hole_in_the_middle_of_what_a_spool_has_is_asked_of_the_one_before_it(site, branch):
    """The branch was away for a while."""
    before = Plugin(site)
    with before.running():
        heard(before, site)
    spool, endpoint = branch
    keep = site.publisher._keep
    site.publisher._keep = both = lambda *frame: (keep(*frame), spool.hand_numbered(*frame))
    site.publish(20)
    site.publisher._keep = keep
    site.publish(20)
    site.publisher._keep = both
    site.publish(20)
    eventually(lambda: spool.kept == 40)
    after = Plugin(site, before.streams.positions(), spools=[endpoint])
    with after.running():
        eventually(lambda: site.publish(1) or len(after.taken) > 65)
        eventually(lambda: after.streams.behind() == 0)
    taken = before.taken + after.taken
    assert taken == all_of(site, before)[: len(taken)]
    assert after.gate.lost == 0


def test_what_may_be_in_a_spool_that_is_away_is_waited_for(site, branch):
    """The branch has what came before and after, and the site's spool what came between, and is away."""
    before = Plugin(site)
    with before.running():
        heard(before, site)
    spool, endpoint = branch
    keep = site.publisher._keep
    site.publish(20)
    site.publisher._keep = lambda *frame: (keep(*frame), spool.hand_numbered(*frame))
    site.publish(20)
    site.close_replay()
    after = Plugin(site, before.streams.positions(), spools=[endpoint])
    with after.running():
        eventually(lambda: site.publish(1) or after.shown)
        eventually(lambda: after.streams.accounts()[b"lyon.pdu1."].awaited > 20)
        site.open_replay()
        eventually(lambda: after.taken[-1:] >= after.shown[-1:])
    taken = before.taken + after.taken
    assert taken == all_of(site, before)[: len(taken)]
    assert after.gate.lost == 0

"""What must hold after a run of misbehaving.py."""

from collections import Counter

from kwapi.drivers.worker import LONGEST_WAIT, PATIENCE
from tests.integration.misbehaving import BMC_INTERVAL, MICROJOULES_PER_KWH, RESETS, Episode, Result

COUNT_KWH = 0.001  # what the coarsest register of the farm counts in
SAMPLING = 0.05  # of the energy: what readings every 5 s of a load that changes each second may be wrong by
LASTS = 50.0  # seconds of a step back that may be taken for a reset, which is one from a minute on
MISTAKEN = 5  # counts, which each such mistake and its end may cost
SLOW_INTERVAL = 2.0  # seconds between two readings of a PDU's registers
SLACK = 1.0  # seconds
ONE_POLL = 3.0  # seconds, opening included


def healthy_wattmeters_miss_no_poll(result: Result) -> None:
    """Every beat of every good wattmeter was polled and published."""
    wrong = []
    for name in result.wattmeters("good"):
        heard = result.watch.heard[name]
        health = heard.health
        assert health is not None
        beats = (result.ended - result.started) / health.interval
        came = sum(result.started <= moment <= result.ended for moment in heard.at)
        is_well = (health.state, health.failures, health.restarts) == ("up", 0, 0)
        if not is_well or health.missed != heard.missed_before or came < int(beats) - 1:
            wrong.append(f"{came} messages in {beats:.1f} beats, {heard.missed_before} missed before: {health}")
    assert not wrong, "\n".join(wrong)


def numbers_have_no_hole(result: Result) -> None:
    """Nothing that was published was lost."""
    assert (result.watch.listener.gate.lost, dict(result.watch.listener.gate.rejected)) == (0, {})
    for name, heard in result.watch.heard.items():
        seqs = [seq for _, seq in heard.seqs]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), name


def energy_is_true(result: Result) -> None:
    """Each register counted what was drawn, to the count; a reset may cost what was drawn since the last reading.

    Where there is no register, what healthy wattmeters counted from watts is true but for the error of sampling: two
    intervals of it at the ends, and a share of it.

    Energy before a reset that no reading of the register saw is integrated from watts, so the error is that of the
    sampling: the most that was drawn, for as long as the registers were not read.
    """
    lasting = Counter(
        each.wattmeter for each in result.episodes if each.kind == "step-back" and each.end - each.begin > LASTS
    )
    reset = Counter(episode.wattmeter for episode in result.episodes if episode.kind in RESETS)
    wrong = []
    for probe, after in result.after.items():
        true = (after["true"] - result.before[probe]["true"]) / MICROJOULES_PER_KWH
        counted = result.counted[probe]
        if after["register"] is None:
            if after["wattmeter"].startswith("good"):
                ends = 2 * BMC_INTERVAL / (result.ended - result.started)
                assert abs(counted - true) < (SAMPLING + 2 * ends) * true, (
                    f"{probe}: {counted} kWh counted, {true} drawn"
                )
            continue
        limit = COUNT_KWH * max(1, MISTAKEN * lasting[after["wattmeter"]])
        if after["wattmeter"] in reset:
            limit += COUNT_KWH * reset[after["wattmeter"]]  # what it had not shown yet when it was reset
            limit += unread_kwh(result, after["wattmeter"], true)
        if abs(counted - true) >= limit:
            faults = [
                f"{each.kind} {each.begin - result.started:.0f}-{each.end - result.started:.0f} s"
                for each in result.episodes
                if each.wattmeter == after["wattmeter"]
            ]
            wrong.append(f"{probe}: {counted} kWh counted, {true} drawn, {limit} may be wrong: {', '.join(faults)}")
    assert not wrong, "\n".join(wrong)


def unread_kwh(result: Result, wattmeter: str, true: float) -> float:
    """Return the energy that resets may hide: four times the mean power, from the last reading before to the next."""
    at = result.watch.heard[wattmeter].at
    spans = []
    for episode in result.episodes:
        if episode.wattmeter == wattmeter and episode.kind in RESETS:
            before, after = neighbours(at, episode, result)
            spans.append(after - before + 2 * SLOW_INTERVAL + 2 * result.interval)
    return 4 * true * min(sum(spans) / (result.ended - result.started), 1.0)


def neighbours(at: list[float], episode: Episode, result: Result) -> tuple[float, float]:
    """Return when a wattmeter was last heard before an episode began, and first after it ended."""
    before = max((moment for moment in at if moment <= episode.begin), default=result.started)
    after = min((moment for moment in at if moment >= episode.end), default=result.ended)
    return before, after


def nothing_is_left_over(result: Result) -> None:
    """After all faults the daemon has the threads and descriptors it had before."""
    (threads, descriptors, _), *_, (threads_after, descriptors_after, _) = result.resources
    assert threads_after <= threads + 2
    assert descriptors_after <= descriptors + 5


def back_in_time(result: Result) -> dict[str, list[float]]:
    """Return the seconds from the end of each fault to the next measurement, of short and of long ones.

    Each wattmeter that was away fewer than 5 polls is back within an interval and a second; the others within a minute
    and one poll, unless they misbehaved again before.
    """
    delays: dict[str, list[float]] = {"short": [], "long": []}
    late = []
    for episode in result.episodes:
        before, after = neighbours(result.watch.heard[episode.wattmeter].at, episode, result)
        again = min(
            (
                other.begin
                for other in result.episodes
                if other.wattmeter == episode.wattmeter and other.begin > episode.begin
            ),
            default=result.ended,
        )
        health = result.watch.heard[episode.wattmeter].health
        interval = health.interval if health else result.interval
        is_short = episode.end - before < PATIENCE * interval
        limit = interval + SLACK if is_short else LONGEST_WAIT + ONE_POLL
        if after < again:
            delays["short" if is_short else "long"].append(after - episode.end)
        if min(after, again) - episode.end > limit:
            late.append(f"{episode}: back after {after - episode.end:.1f} s")
    assert not late, "\n".join(late)
    return delays

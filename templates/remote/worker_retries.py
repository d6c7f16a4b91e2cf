"""Runs a test that fails again, at once and in the same process, as pytest-rerunfailures does.

Each attempt but the last is told up to where it failed, with the outcome `rerun`. Leaves tests alone that
pytest-rerunfailures sees to.
"""

from _pytest.runner import runtestprotocol

from .worker_reports import is_failed


class Retries:
    def __init__(self, most):
        self._most = most

    def pytest_runtest_protocol(self, item, nextitem):
        """Comes after other plugins' own ways to run a test, and before pytest's."""
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        told = len(item.user_properties)
        for attempt in range(1, self._most + 2):
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            first = next((place for place, report in enumerate(reports) if is_failed(report)), None)
            again = first is not None and attempt <= self._most and not ends(item.session)
            if again:
                failed = reports[first]
                failed.outcome = "rerun"
                failed.cloudist_attempt = attempt
                # A call that passed before a teardown failed must not be counted.
                reports = [report for report in reports[:first] if report.when == "setup"] + [failed]
            for report in reports:
                hook.pytest_runtest_logreport(report=report)
            if not again:
                break
            renew(item, told)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True


def ends(session):
    return bool(session.shouldstop or session.shouldfail)


def renew(item, told):
    """Takes back what an attempt has left: wider fixtures stay, but for those that failed."""
    definitions = item._fixtureinfo.name2fixturedefs.values() if hasattr(item, "_fixtureinfo") else ()
    failed = [one for several in definitions for one in several if has_failed(one)]
    if failed and not item._request:
        item._initrequest()
    for definition in failed:
        definition.finish(item._request)
    if getattr(item, "cls", None) is not None:
        # Each attempt gets an instance of the class that nothing was done to.
        for name in ("_instance", "_obj"):
            item.__dict__.pop(name, None)
    # What it printed and noted is in the reports of that attempt.
    del item._report_sections[:]
    del item.user_properties[told:]


def has_failed(definition):
    cached = getattr(definition, "cached_result", None)
    return cached is not None and cached[2] is not None

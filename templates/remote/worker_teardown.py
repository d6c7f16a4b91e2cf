"""Tears down what the next test doesn't share with the last, as the last part of that test's own teardown.

Captures output, logging and warnings meanwhile, as pytest does. Never tears down a function's fixtures.
"""

from contextlib import ExitStack, contextmanager
from functools import partial

from _pytest.logging import LogCaptureHandler, catching_logs
from _pytest.outcomes import Exit
from _pytest.reports import TestReport
from _pytest.runner import CallInfo, _update_current_test_var, check_interactive_exception
from _pytest.warnings import catch_warnings_for_item


def tear_down_to(item, following, config):
    """Returns a report, or None if all that is set up is also needed by the following test."""
    state = item.session._setupstate
    if following is not None:
        if following.parent is item.parent:
            return None
        standing = list(state.stack)
        if standing == following.listchain()[: len(standing)]:
            return None
    elif not state.stack:
        return None
    with catch_warnings_for_item(config=config, ihook=item.ihook, when="runtest", item=item):
        body = partial(captured, item, following, config)
        call = CallInfo.from_call(body, "teardown", (Exit, KeyboardInterrupt))
    if call.excinfo is None:
        # Plugins have made the report of this teardown already, at its first part.
        return TestReport.from_item_and_call(item, call)
    if getattr(item, "funcargs", {}) is None:
        item.funcargs = {}
    report = item.ihook.pytest_runtest_makereport(item=item, call=call)
    if check_interactive_exception(call, report):
        item.ihook.pytest_exception_interact(node=item, call=call, report=report)
    return report


def captured(item, following, config):
    __tracebackhide__ = True
    error = None
    capture = config.pluginmanager.get_plugin("capturemanager")
    log = config.pluginmanager.get_plugin("logging-plugin")
    with ExitStack() as stack:
        _update_current_test_var(item, "teardown")
        stack.callback(_update_current_test_var, item, None)
        if capture is not None:
            stack.enter_context(capture.item_capture("teardown", item))
        if log is not None:
            stack.enter_context(logged(item, log))
        try:
            item.session._setupstate.teardown_exact(following)
        except BaseException as raised:
            error = raised
    if error is not None:
        raise error


@contextmanager
def logged(item, log):
    handler = LogCaptureHandler()
    handler.setFormatter(log.formatter)
    with catching_logs(handler, level=log.log_level):
        try:
            yield
        finally:
            item.add_report_section("teardown", "log", handler.stream.getvalue().strip())


def joined(own, late):
    """One report of a test's own teardown and of that of wider fixtures."""
    late.sections = merged(late.sections)
    if own is None:
        return late
    report = late if late.outcome == "failed" and own.outcome != "failed" else own
    report.duration = own.duration + late.duration
    if hasattr(own, "start"):
        report.start, report.stop = own.start, late.stop
    report.sections = late.sections
    if report is own and late.outcome == "failed":
        report.sections.append(("Error in a later teardown", late.longreprtext))
    return report


def merged(sections):
    """What was captured in both parts of the teardown under one heading."""
    texts = {}
    for name, text in sections:
        texts[name] = texts.get(name, "") + text
    return list(texts.items())

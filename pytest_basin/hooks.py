"""Hooks that act once basin tests exist: registered by :func:`activate`, absent from every other run."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import pytest

from pytest_basin.bound import UNDECIDED
from pytest_basin.gates import BasinWarning
from pytest_basin.results import RESULTS
from pytest_basin.session import Session, session_of
from pytest_basin.terminal import context_lines, summary_lines

EXPLAINED = pytest.StashKey[str]()


def activate(config: pytest.Config) -> Session:
    """Return the basin session and make sure that its hooks are registered."""
    session = session_of(config)
    if not config.pluginmanager.hasplugin("basin-hooks"):
        config.pluginmanager.register(Hooks(session), "basin-hooks")
    return session


class Hooks:
    """Explains failed gates, marks undecided ones, and prints the table at the end."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.reports: dict[str, pytest.TestReport] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Start each run of an item afresh."""
        self.session.begin(item)
        item.stash[EXPLAINED] = ""

    def pytest_assertrepr_compare(self, op: str, left: object, right: object) -> list[str] | None:
        """Explain a failed comparison with a bound or a basin."""
        from pytest_basin.explain import explain, verdict_of

        lines = explain(self.session, op, left, right)
        if lines and self.session.item and verdict_of(op, left, right) == UNDECIDED:
            self.session.item.stash[EXPLAINED] = lines[0]
        return lines

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the gates to the report of the call, and treat an undecided failure as asked."""
        report = yield
        if type(report) is not pytest.TestReport or not item.stash.get(RESULTS, None):
            return report  # a subtest's report, or no gate
        if call.when == "call" or report.failed:
            report.basin = item.stash[RESULTS]  # type: ignore[attr-defined]
        if call.when == "call" and report.failed and _undecided(item, call):
            self._settle(item, report)
        return report

    def _settle(self, item: pytest.Item, report: pytest.TestReport) -> None:
        action = self.session.settings.value("undecided")
        text = report.longreprtext
        if action == "warn":
            try:
                item.warn(BasinWarning(f"{item.nodeid} is undecided: {_verdict_line(text)}"))
            except BasinWarning:  # warnings are errors here, so the test fails after all
                action = "fail"
        if action == "xfail":
            report.outcome, report.wasxfail = "skipped", _verdict_line(text)
            return
        if action == "warn":
            report.outcome, report.longrepr = "passed", None
        report.basin_undecided = text  # type: ignore[attr-defined]

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport | pytest.CollectReport
    ) -> tuple[str, str, tuple[str, Mapping[str, bool]]] | None:
        """Show an undecided item as U."""
        if getattr(report, "basin_undecided", None) is None or getattr(report, "outcome", "") == "rerun":
            return None
        return "undecided", "U", ("UNDECIDED", {"yellow": True})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the gates that ran here or in xdist's workers; of reruns the last one counts."""
        if getattr(report, "basin", None):
            self.reports[report.nodeid] = report

    def pytest_report_collectionfinish(self, config: pytest.Config) -> list[str]:
        """Say what will be gated."""
        return context_lines(self.session, config.get_verbosity())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        """Print undecided items, which pytest itself lists nowhere, and the table of gates."""
        undecided = terminalreporter.stats.get("undecided", [])
        if undecided and config.getoption("tbstyle", "auto") != "no" and not terminalreporter.no_summary:
            terminalreporter.write_sep("=", "UNDECIDED", yellow=True)
            for report in undecided:
                terminalreporter.write_sep("_", report.nodeid, yellow=True)
                terminalreporter.write_line(report.basin_undecided)
        results: list[dict[str, Any]] = [gate for report in self.reports.values() for gate in report.basin]
        if results:
            terminalreporter.write_sep("-", "basin")
            for line in summary_lines(results, config.get_verbosity()):
                terminalreporter.write_line(line)
            for report in undecided:
                terminalreporter.write_line(f" UNDECIDED {report.nodeid}")


def _undecided(item: pytest.Item, call: pytest.CallInfo[None]) -> bool:
    """Whether the test failed in the very assertion that an undecided gate explained."""
    explained = item.stash.get(EXPLAINED, "")
    raised = call.excinfo.value if call.excinfo else None
    return bool(explained) and isinstance(raised, AssertionError) and f"assert {explained}\n" in str(raised)


def _verdict_line(text: str) -> str:
    """Return the line of a failure text that begins with the verdict."""
    lines = (line.removeprefix("E").strip() for line in text.splitlines())
    return next((line for line in lines if line.startswith(UNDECIDED.upper())), UNDECIDED)

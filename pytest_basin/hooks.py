"""Hooks that act once basin tests exist: registered by :func:`activate`, absent from every other run."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import pytest

from pytest_basin import extras, reports
from pytest_basin.bound import UNDECIDED
from pytest_basin.explain import brief, explain, in_brief
from pytest_basin.gates import BasinWarning
from pytest_basin.markers import uses_basin
from pytest_basin.replay import test_id
from pytest_basin.results import RESULTS
from pytest_basin.session import OBJECTIONS, Session, session_of
from pytest_basin.terminal import context_lines, resume_line, summary_lines, together_lines

EXPLAINED = pytest.StashKey[tuple[str, str]]()
"""The first line of the last explanation in a test, and the verdict in brief that it begins with."""


def activate(config: pytest.Config) -> Session:
    """Return the basin session and make sure that its hooks are registered."""
    session = session_of(config)
    if not config.pluginmanager.hasplugin("basin-hooks"):
        config.pluginmanager.register(Hooks(session), "basin-hooks")
    return session


def hooks_of(config: pytest.Config) -> Hooks:
    """Return the hooks that :func:`activate` registered."""
    hooks = config.pluginmanager.get_plugin("basin-hooks")
    assert isinstance(hooks, Hooks)
    return hooks


class _UndecidedBaseline(pytest.fail.Exception):  # type: ignore[name-defined, misc]
    """A test whose assertions hold is undecided by its baseline."""


class Hooks:
    """Explains failed gates, marks undecided ones, and prints and writes what was found at the end."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.reports: dict[str, Any] = {}  # with the gates' rows
        self.crashed: dict[str, None] = {}
        self.not_run: dict[str, None] = {}
        self.refused: dict[str, None] = {}
        self.written: list[str] = []

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The gates that ran, here or in xdist's workers, in the order of collection."""
        return sorted((row for report in self.reports.values() for row in report.basin), key=lambda row: row["index"])

    @property
    def missing(self) -> dict[str, list[str]]:
        """The tests whose gates nobody judged, by why."""
        return {"crashed": list(self.crashed), "not_run": list(self.not_run), "refused": list(self.refused)}

    @property
    def worker(self) -> bool:
        """Whether this process is one of xdist's workers, which leave reports to their controller."""
        return hasattr(self.session.config, "workerinput")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the reports when all tests are done, or stopped; one that cannot be written fails the run."""
        if self.worker or not (self.rows or self.crashed or self.refused):
            return
        self.written, failed = reports.write(self.session, self.rows, self.missing)
        if failed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Start each run of an item afresh."""
        self.session.begin(item)
        item.stash[EXPLAINED] = ("", "")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Fail a test whose own assertions hold, but not its baseline."""
        result = yield
        if objections := item.stash.get(OBJECTIONS, []):
            undecided, lines = min(objections)  # what is refuted or missing before what is undecided
            text = brief(self.session, lines)
            raise _UndecidedBaseline(text, pytrace=False) if undecided else pytest.fail.Exception(text, pytrace=False)
        if unasked := self.session.unasked(item):
            raise pytest.fail.Exception(unasked, pytrace=False)
        return result

    def pytest_assertrepr_compare(self, op: str, left: object, right: object) -> list[str] | None:
        """Explain a failed comparison with a bound or a basin."""
        lines = explain(self.session, op, left, right)
        if lines and self.session.item:
            self.session.item.stash[EXPLAINED] = (lines[0], in_brief(op, left, right))
        return lines

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the gates to the report of the call, and treat an undecided failure as asked."""
        report = yield
        if type(report) is not pytest.TestReport:
            return report  # a subtest's
        required = self.session.settings.value("require-gpu") and not self.session.disabled
        if required and report.skipped and uses_basin(item):
            _refuse_skip(report)
        if not uses_basin(item) or self.session.disabled:
            return report
        if report.skipped and not hasattr(report, "wasxfail"):
            report.basin_skipped = test_id(item)  # type: ignore[attr-defined]
        if report.failed and call.excinfo is not None:
            from certify.text import visible

            why = next(iter(call.excinfo.exconly(tryshort=True).splitlines()), "no reason given")
            self.session.failed(item, visible(why.removeprefix("Failed: "))[:300])
        rows = item.stash.get(RESULTS, None)
        if not rows:
            return report
        if call.when == "call" or report.failed:
            report.basin = rows  # type: ignore[attr-defined]
            extras.attach(item.config, report, rows)
        objections = item.stash.get(OBJECTIONS, [])
        brief_verdict = _explained(item, call)
        if brief_verdict and (crash := getattr(report.longrepr, "reprcrash", None)):
            crash.message = brief_verdict  # what the short summary shows of a failure
        if call.when == "call" and report.failed and _undecided(item, call):
            if all(undecided for undecided, _ in objections):
                self._settle(item, call, report)
            else:  # a gate that is undecided is no excuse for a baseline that is refuted or missing
                report.sections.append(("basin", brief(self.session, min(objections)[1])))
        return report

    def _settle(self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
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
        report.basin_brief = _explained(item, call)  # type: ignore[attr-defined]

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
        if getattr(report, "basin_skipped", None):
            self.not_run[report.nodeid] = None
        if report.when not in ("setup", "call", "teardown"):  # what xdist says of a worker that died in a test
            self.crashed[report.nodeid] = None

    def refuse(self, refused: Mapping[pytest.Item, str], items: Sequence[pytest.Item]) -> None:
        """Report as errors of collection those of the items that cannot be judged as configured, each with the reason.

        Nothing runs then, as after every error of collection, and the reports name the gates that nobody judged. A
        listing or a plan judges nothing, so nothing is refused; under xdist the gates themselves say it.
        """
        config = self.session.config
        if not refused or self.worker or config.option.collectonly or self.session.settings.value("plan"):
            return
        for item, why in refused.items():
            self.session.failed(item, why)
            report = pytest.CollectReport(test_id(item), "failed", f"{test_id(item)}: {why}", [])
            report.basin = item.stash[RESULTS]  # type: ignore[attr-defined]
            config.hook.pytest_collectreport(report=report)
        if not config.option.continue_on_collection_errors:
            self.not_run |= dict.fromkeys(test_id(item) for item in items if item not in refused)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Collect the gates that cannot be judged as configured, and what could not be collected at all."""
        if getattr(report, "basin", None):
            self.reports[report.nodeid] = report
        elif report.failed:
            self.refused[report.nodeid] = None

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
        lines = self._summary(config) if self.rows else []
        lines += [f" CRASHED {name}: its worker died; nothing is known about its gates" for name in self.crashed]
        lines += [f" NOT RUN {name}" for name in self.not_run] if self.rows else []
        lines += [f" NOT COLLECTED {name}: nothing is known about its gates" for name in self.refused]
        lines += [f" UNDECIDED {r.nodeid}{r.basin_brief.replace(UNDECIDED + ':', ' -', 1)}" for r in undecided]
        if self.session.drawing:
            lines.append(resume_line(self.session))
        if lines:
            terminalreporter.write_sep("-", "basin")
            for line in lines:
                terminalreporter.write_line(line)

    def _summary(self, config: pytest.Config) -> list[str]:
        session, rows = self.session, self.rows
        verbosity = max(config.get_verbosity(), 0) if reports.asks_for_table(session) else config.get_verbosity()
        # Under xdist this process collects nothing, so what will be gated was not said before.
        context = context_lines(session, verbosity) if config.pluginmanager.hasplugin("dsession") else []
        together = together_lines(session, rows, self.missing)
        return [*context, *summary_lines(rows, verbosity), *together, *self.written]


def _refuse_skip(report: pytest.TestReport) -> None:
    """Turn a skip into an error: where a GPU is required, a gate that did not run is no success."""
    if hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"a GPU is required (--basin-require-gpu), and this basin test did not run: {reason}"


def _undecided(item: pytest.Item, call: pytest.CallInfo[None]) -> bool:
    """Whether the test failed in the very assertion that an undecided gate explained, or by an undecided baseline."""
    raised = call.excinfo.value if call.excinfo else None
    return isinstance(raised, _UndecidedBaseline) or _explained(item, call).startswith(UNDECIDED)


def _explained(item: pytest.Item, call: pytest.CallInfo[None]) -> str:
    """Return the verdict in brief where the test failed in the very assertion that was explained, else nothing."""
    head, verdict = item.stash.get(EXPLAINED, ("", ""))
    raised = call.excinfo.value if call.excinfo else None
    return verdict if head and isinstance(raised, AssertionError) and f"assert {head}\n" in str(raised) else ""


def _verdict_line(text: str) -> str:
    """Return the line of a failure text that begins with the verdict."""
    lines = (line.removeprefix("E").strip() for line in text.splitlines())
    return next((line for line in lines if line.startswith(UNDECIDED.upper())), UNDECIDED)

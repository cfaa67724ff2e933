"""One owner for each GPU, and `--basin-require-gpu`: on machines without any, what can be known without one."""

import multiprocessing
import re
import time
from types import SimpleNamespace

import pytest

from pytest_basin import gpu

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    ("device", "visible", "name"),
    [
        ("cpu", None, None),
        ("mps", None, None),
        ("cuda", None, "0"),
        ("cuda:1", None, "1"),
        ("cuda", "4,5", "4"),
        ("cuda:1", "4,5", "5"),
        ("cuda:1", " GPU-aa , GPU-bb", "GPU-bb"),
        ("cuda:2", "4,5", None),
        ("cuda:1", "4,-1,5", None),  # CUDA ignores what follows
        ("cuda", "", None),
        ("cuda:x", "4", None),
        ("auto", None, "all"),
        ("auto", "4,5", "all"),
        ("auto", "", None),
    ],
)
def test_name_of_a_device(device, visible, name, monkeypatch):
    """The index counts within the caller's CUDA_VISIBLE_DEVICES, so that two runs mean the same GPU by one name."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu.owned(device) == name


def hold(device, folder, seconds, times):
    """Own a device for a while, and note when, and what was said about waiting."""
    said = []
    with gpu.alone(device, folder, said.append):
        start = time.monotonic()
        time.sleep(seconds)
        times.put((start, time.monotonic(), said))


def held(devices, folder):
    """The times in which processes held their devices, in order."""
    context = multiprocessing.get_context("fork")
    times = context.Queue()
    processes = [context.Process(target=hold, args=(device, folder, 0.2, times)) for device in devices]
    for process in processes:
        process.start()
    found = sorted(times.get(timeout=30) for _ in processes)
    for process in processes:
        process.join()
    return found


@pytest.mark.parametrize("devices", [("cuda:1", "cuda:1"), ("auto", "cuda:1"), ("cuda:0", "auto")])
def test_processes_take_turns_on_one_gpu(devices, tmp_path, monkeypatch):
    """While one holds the lock of a GPU no other does; `auto` means every GPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    (_, end, first), (start, _, second) = held(devices, tmp_path)
    assert start >= end
    assert first == []
    assert len(second) == 1
    assert re.fullmatch("waited for GPU [45], which another worker or run had", second[0])
    assert {file.name for file in tmp_path.iterdir()} <= {"gpu-4.lock", "gpu-5.lock"}


def test_processes_on_two_gpus_do_not_wait(tmp_path, monkeypatch):
    """The check above can fail: with a GPU each they overlap."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    (_, end, _), (start, _, said) = held(("cuda:0", "cuda:1"), tmp_path)
    assert start < end
    assert said == []


@pytest.mark.parametrize(("device", "locks"), [("cuda:1", ["5"]), ("auto", ["4", "5"])])
def test_the_locks_are_of_the_gpus_that_are_used(device, locks, tmp_path, monkeypatch):
    """One file for each GPU, by the name that every process has for it."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    with gpu.alone(device, tmp_path, pytest.fail):
        assert sorted(file.name for file in tmp_path.iterdir()) == [f"gpu-{name}.lock" for name in locks]


def test_nothing_is_locked_without_a_gpu(tmp_path):
    """Gates on the CPU leave no trace."""
    with gpu.alone("cpu", tmp_path / "locks", pytest.fail):
        assert not (tmp_path / "locks").exists()


SKIPPED = """
import pytest

@pytest.fixture(scope="session")
def basin_base():
    pytest.skip("no model here")

@pytest.mark.parametrize("i", range(4))
def test_kept(i, basin_bound): pass

@pytest.mark.xdist_group("mine")
def test_mine(basin_bound): pass

def test_other(): pass
"""


def test_gates_on_one_gpu_are_one_group(project, monkeypatch):
    """Under `--dist loadgroup` one worker runs them all; other tests stay free, and so does a group of one's own."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    arguments = ["-v", "-n2", "--dist=loadgroup", "--basin-device=cuda:1", "-p", "no:hypothesispytest"]
    result = project.run_apart("same", *arguments, test=SKIPPED)
    result.assert_outcomes(passed=1, skipped=5)
    ran = [line.split() for line in result.outlines if " SKIPPED " in line]
    if not any(words[-1].endswith("@mine") for words in ran):
        pytest.skip("this pytest-xdist does not group under this pytest (pytest-xdist issue 1386)")
    gates = {words[-1]: words[0] for words in ran if "test_kept" in words[-1]}
    assert set(gates) == {f"test_gate.py::test_kept[digits-{i}]@basin-gpu:5" for i in range(4)}
    assert len(set(gates.values())) == 1


def test_gates_on_the_cpu_are_no_group(project):
    """Any worker may run them."""
    project.pytester.makeconftest(
        "def pytest_collection_finish(session):\n"
        "    print('GROUPS', sum(item.get_closest_marker('xdist_group') is not None for item in session.items))"
    )
    project.run("same", "-s", test=SKIPPED).stdout.fnmatch_lines(["GROUPS 1"])
    project.run("same", "-s", "--basin-device=cuda", test=SKIPPED).stdout.fnmatch_lines(["GROUPS 5"])


def test_grouping_needs_no_xdist(project):
    """Without it there is no such mark, and strict mode would refuse it."""
    result = project.run(
        "same", "-p", "no:xdist", "--basin-device=cuda", test=SKIPPED.replace("@pytest.mark.xdist_group", "#")
    )
    result.assert_outcomes(passed=1, skipped=5)


@pytest.mark.parametrize(
    ("workers", "loadgroup", "device", "shared"),
    [(4, False, "cuda", True), (4, True, "cuda", False), (1, False, "cuda", False), (4, False, "cpu", False)],
)
def test_workers_that_share_a_gpu(workers, loadgroup, device, shared, monkeypatch):
    """Several workers without groups, and a device of CUDA's."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    config = SimpleNamespace(workerinput={"workercount": workers}, option=SimpleNamespace(loadgroup=loadgroup))
    assert gpu.shared(config, device) is shared


def test_workers_that_share_a_gpu_are_told(project, monkeypatch):
    """One warning names the option to give; nothing is disabled."""
    monkeypatch.setattr(gpu, "shared", lambda config, device: device == "cuda")
    result = project.run("same", "--basin-device=cuda", test=SKIPPED)
    result.assert_outcomes(passed=1, skipped=5, warnings=1)
    result.stdout.fnmatch_lines(["*BasinWarning: several workers may load the models onto the same GPU*loadgroup*"])


@pytest.mark.parametrize(
    ("device", "found", "told"),
    [
        ("cpu", 8, "the device is 'cpu': name a GPU with --basin-device=cuda:0"),
        ("cuda", 0, "torch finds none (CUDA_VISIBLE_DEVICES='')"),
        ("cuda:2", 2, "device 'cuda:2' is beyond the 2 that torch finds"),
        ("cuda:1", 2, ""),
        ("auto", 0, "torch finds none (CUDA_VISIBLE_DEVICES='')"),
        ("auto", 1, ""),
    ],
)
def test_what_is_missing_for_a_gpu(device, found, told, monkeypatch):
    """The device, its number, and what torch finds."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(gpu, "count", lambda: found)
    assert gpu.missing(device) == told


def test_a_required_gpu_that_is_not_there_is_an_error(project):
    """A gate does not quietly run on the CPU."""
    result = project.run("same", "--basin-require-gpu")
    result.assert_outcomes(errors=1)
    assert "kept[digits]: a GPU is required (--basin-require-gpu), and the device is 'cpu'" in result.stdout.str()


def test_a_skip_is_an_error_where_a_gpu_is_required(project):
    """`pytest.skip("no GPU")` in a gate is no success; other tests may skip, and so may all with --basin-disable."""
    test = SKIPPED + "\n\ndef test_skipped(): pytest.skip('for another reason')"
    result = project.run("same", "--basin-require-gpu", test=test)
    result.assert_outcomes(errors=5, passed=1, skipped=1)
    assert "this basin test did not run: Skipped: no model here" in result.stdout.str()
    project.run("same", "--basin-require-gpu", "--basin-disable", test=test).assert_outcomes(passed=1, skipped=6)

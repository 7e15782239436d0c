"""What /proc tells of a process and its descendants: CPU time and memory."""

import os
from pathlib import Path
from typing import Final

_TICK: Final = os.sysconf("SC_CLK_TCK")


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:  # it has ended meanwhile
        return ""


def _stat(pid: int) -> list[str]:
    """The fields behind the name: state, parent …; see proc(5), where they begin at 3."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def family(root: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    names = [path.name for path in Path("/proc").iterdir()]
    for name in names:
        if name.isdigit() and (stat := _stat(int(name))):
            children.setdefault(int(stat[1]), []).append(int(name))
    found, rest = [], [root]
    while rest:
        pid = rest.pop()
        found.append(pid)
        rest += children.get(pid, [])
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of processes and of their children that were waited for."""
    stats = [stat for pid in pids if (stat := _stat(pid))]
    return sum(int(tick) for stat in stats for tick in stat[11:15]) / _TICK


def exact_cpu_seconds(pids: list[int]) -> float:
    """The time of all running threads, to the nanosecond."""
    return (
        sum(
            int(text.split()[0])
            for pid in pids
            for task in Path(f"/proc/{pid}/task").glob("*")
            if (text := _read(f"{task}/schedstat"))
        )
        / 1e9
    )


def machine_seconds() -> float:
    """The time that the machine was busy, in any process, since it was booted."""
    fields = [int(field) for field in _read("/proc/stat").partition("\n")[0].split()[1:]]
    return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) / _TICK


def _kilobytes(pid: int, name: str, file: str = "status") -> int:
    for line in _read(f"/proc/{pid}/{file}").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def memory_kb(pids: list[int]) -> int:
    """What is resident; what several processes share is counted once."""
    if len(pids) == 1:
        return _kilobytes(pids[0], "VmRSS")
    return sum(_kilobytes(pid, "Pss", "smaps_rollup") for pid in pids)


def peak_kb(pids: list[int]) -> int:
    """The most that was ever resident in each."""
    return sum(_kilobytes(pid, "VmHWM") for pid in pids)

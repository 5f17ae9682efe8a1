"""The kernel's view of a server: its processes, their descriptors, threads, memory and CPU time, all from /proc."""
import os
import re
import signal
import time
from collections import Counter
from pathlib import Path

# A sanitizer build on a shared two-core machine is this much slower than the developer's; multiplies every deadline.
SLOW = float(os.environ.get("BARKEEP_TEST_SLOW", "1"))
ROOT_IS_MEANT = {"BARKEEP_USER": "root"} if os.geteuid() == 0 else {}  # or each start says [root-user]


def until(condition, seconds=10.0, what="the condition"):
    """Calls `condition` until it is true and returns its value; AssertionError when the time is up."""
    deadline = time.monotonic() + seconds * SLOW
    pause = 0.001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds * SLOW:g} s: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def alive(pid):
    """Running, not merely a zombie that waits for its parent."""
    return state(pid) not in ("", "Z", "X")


def state(pid):
    """The state letter of /proc/PID/stat, '' when there is no such process."""
    return read(f"/proc/{pid}/stat").rpartition(b")")[2][1:2].decode()


def freeze(pid):
    """SIGSTOP, and waits until every thread stands still: until then one of them may go on serving."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: all(read(f"/proc/{pid}/task/{task}/stat").rpartition(b")")[2][1:2] == b"T" for task in os.listdir(f"/proc/{pid}/task")),
          10, f"process {pid} to stand still")


def children(pid):
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            found += [int(word) for word in read(f"/proc/{pid}/task/{task}/children").split()]
    except OSError:
        pass
    return sorted(found)


def tree(pid):
    """The process and all its descendants."""
    found = [pid]
    for child in children(pid):
        found += tree(child)
    return found


def waits_in_epoll(pid):
    """One of its threads sleeps in epoll_wait (or the kernel does not tell us)."""
    shown = [read(path) for path in Path(f"/proc/{pid}/task").glob("*/wchan")]
    return any(text in (b"", b"0") or b"ep_poll" in text or b"epoll" in text for text in shown)


def pending(pid, sig):
    """The process has been sent this signal and has not taken it yet."""
    masks = re.findall(rb"(?:SigPnd|ShdPnd):\s+([0-9a-f]+)", read(f"/proc/{pid}/status"))
    return any(int(mask, 16) >> (sig - 1) & 1 for mask in masks)


def title(pid):
    return read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def members(session, marker):
    """Every living process of a session, or whose environment carries `marker`: finds what has left the tree as well."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            fields = read(f"/proc/{name}/stat").rpartition(b")")[2].split()
            if fields and fields[0] not in (b"Z", b"X") and (int(fields[3]) == session or marker in read(f"/proc/{name}/environ")):
                found.append(int(name))
    return found


def fds(pid):
    """Descriptor number -> what it points to."""
    found = {}
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
            except OSError:
                pass
    except OSError:
        pass
    return found


def fd_kinds(pid):
    """How many descriptors of each kind: sockets, pipes and memfds without their numbers, files by name."""
    return Counter(re.sub(r":\[\d+\]$", "", target) for target in fds(pid).values())


def sockets(pid):
    """Inodes of the sockets a process holds."""
    return {int(m[1]) for m in (re.match(r"socket:\[(\d+)\]", target) for target in fds(pid).values()) if m}


def established(port):
    """Inodes of the server side's established connections on a local TCP port."""
    wanted = f":{port:04X}"
    rows = (line.split() for line in read("/proc/net/tcp").decode().splitlines()[1:])
    return {int(row[9]) for row in rows if row[1].endswith(wanted) and row[3] == "01"}


def taken(port):
    """All connections on a local TCP port are accepted and every byte sent to them has been read by the server."""
    rows = [line.split() for line in read("/proc/net/tcp").decode().splitlines()[1:]]
    ours = [row for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"]
    return bool(ours) and all(row[9] != "0" and row[4].endswith(":00000000") for row in ours)


def threads(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def cpu_seconds(pids):
    """CPU time of all threads, by the scheduler's own nanoseconds."""
    total = 0
    for pid in pids:
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                total += int((read(f"/proc/{pid}/task/{task}/schedstat").split() or [0])[0])
        except OSError:
            pass
    return total / 1e9


def pss_kb(pid):
    found = re.search(rb"^Pss:\s+(\d+)", read(f"/proc/{pid}/smaps_rollup"), re.M)
    return int(found[1]) if found else 0


def rss_kb(pid):
    found = re.search(rb"^VmRSS:\s+(\d+)", read(f"/proc/{pid}/status"), re.M)
    return int(found[1]) if found else 0

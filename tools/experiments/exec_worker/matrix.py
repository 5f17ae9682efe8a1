"""Drives master.c and boot.py through {root, user} x {plain, PID 1} x {none, template} x what goes wrong."""
import os, random, re, shutil, signal, socket, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
WORKERS = 3
bad = 0


def check(what, ok, more=""):
    global bad
    if not ok:
        bad += 1
        print(f"    FAILED {what} {more}")
    elif more:
        print(f"    {what}: {more}")


def until(seconds, test):
    end = time.time() + seconds
    while time.time() < end:
        if test():
            return True
        time.sleep(0.01)
    return False


def stat(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            rest = f.read().rsplit(")", 1)[1].split()
            return rest[0], int(rest[1])
    except OSError:
        return None


def processes():
    return {int(p): s for p in os.listdir("/proc") if p.isdigit() and (s := stat(p))}


def left(crew):
    """Who still runs. A zombie whose parent was killed waits for the machine's init, which takes its time."""
    now = processes()
    return [p for p in crew if p in now and now[p][0] != "Z"]


def fds(pid):
    out = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            out.append(re.sub(r"\[\d+\]", "", os.readlink(f"/proc/{pid}/fd/{fd}")))
        except OSError:
            pass
    return sorted(out)


class Master:
    def __init__(self, user, pid1, template):
        self.dir = tempfile.mkdtemp(prefix="exec-worker-")
        os.chmod(self.dir, 0o755)
        shutil.copytree(f"{HERE}/out", f"{self.dir}/versions")
        self.install(1)
        args = [f"{self.dir}/current/master", f"python={PYTHON}", f"package={self.dir}/current", f"workers={WORKERS}",
                f"template={int(template)}"]
        if user:
            args.append(f"user={user}")
        if pid1:
            args = ["unshare", "--pid", "--fork", "--mount-proc", *args]
        self.process = subprocess.Popen(args, stderr=subprocess.PIPE, text=True)
        self.lines = []
        threading.Thread(target=lambda: [self.lines.append(l.rstrip()) for l in self.process.stderr], daemon=True).start()
        until(5, lambda: self.said("master pid"))
        self.port = int(re.search(r"port (\d+)", self.said("master pid")[0]).group(1))
        self.pid = self.process.pid
        if pid1:
            self.pid = next(p for p, s in processes().items() if s[1] == self.process.pid)

    def install(self, version):
        os.symlink(f"versions/v{version}", f"{self.dir}/new")
        os.rename(f"{self.dir}/new", f"{self.dir}/current")

    def said(self, word):
        return [l for l in self.lines if word in l]

    def children(self):
        return {p: s[0] for p, s in processes().items() if s[1] == self.pid}

    def zombies(self):
        return [p for p, s in self.children().items() if s == "Z"]

    def ask(self, order=b"who"):
        with socket.create_connection(("127.0.0.1", self.port), 3) as s:
            s.send(order)
            return s.recv(100).decode().split()

    def all_ready(self, count):
        """`count` ready messages in all, and answers come."""
        ok = until(5, lambda: len(self.said("ready layout")) >= count)
        return ok and len(self.ask()) == 3

    def readies(self):
        return len(self.said("ready layout"))

    def workers(self):
        """Outer pids of the workers: children that hold the listener, without the template."""
        return [p for p in self.children() if p not in self.templates() and self.children().get(p) != "Z"]

    def templates(self):
        if not TEMPLATE:
            return []
        return [p for p, s in processes().items() if s[1] == self.pid and len(os.listdir(f"/proc/{p}/task")) == 1
                and s[0] != "Z" and b"boot.py" in open(f"/proc/{p}/cmdline", "rb").read()]

    def port_free(self):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", self.port))
                s.listen()
                return True
            except OSError:
                return False


def kill(pid, sig=signal.SIGKILL):
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


def grow(m, count, what):
    check(what, m.all_ready(count), f"only {m.readies()} of {count} ready; {m.lines[-5:]}" if m.readies() < count else "")


def run(user, pid1):
    m = Master(user, pid1, TEMPLATE)
    ready = WORKERS
    grow(m, ready, "start")
    uid = re.search(r"uid=(\d+)", m.said("ready")[0]).group(1)
    check("uid", uid == ("65534" if user else "0"), "" if user else "")
    ppids = {re.search(r"ppid=(\d+)", l).group(1) for l in m.said("ready")}
    check("worker's parent is the master", ppids == {"1" if pid1 else str(m.pid)}, str(ppids) if len(ppids) > 1 else "")
    first = fds(m.workers()[0])
    print("    a worker's fds:", [f for f in first if "/dev/" not in f and not f.startswith("pipe")])

    for victim in m.workers()[:1]:
        kill(victim)
        ready += 1
        grow(m, ready, "kill -9 worker")
    if TEMPLATE:
        before = set(m.workers())
        kill(m.templates()[0])
        check("new template", until(3, lambda: len(m.said("template pid")) == 2))
        check("workers untouched by template's death", set(m.workers()) - set(m.templates()) >= before)
        victim = sorted(before)[0]
        kill(m.templates()[0])
        kill(victim)
        ready += 1
        grow(m, ready, "kill -9 template and worker together")

    # Storm: workers and templates die at every age, also before their hello and during upgrades.
    for n in range(60):
        some = m.children()
        if some:
            kill(random.choice(list(some)))
        if n % 3 == 0:
            os.kill(m.pid, signal.SIGUSR2)
        time.sleep(random.random() * 0.06)
    time.sleep(0.5)
    check("after a storm of kills and upgrades", until(6, lambda: len(m.workers()) == WORKERS and not m.zombies()), m.lines[-4:] if len(m.workers()) != WORKERS else "")
    time.sleep(0.5)
    strangers = len(m.said("stranger"))
    lost = len(m.said("lost"))
    if strangers or lost:
        print(f"    storm: {strangers} reaped before their hello (or unknown), {lost} orders lost with the template")
    check("answers after the storm", len(m.ask()) == 3)

    waits = [int(re.search(r"after (\d+) us", l).group(1)) for l in m.said("reparented")]
    if waits:
        print(f"    re-parented after: median {sorted(waits)[len(waits) // 2]} us, worst {max(waits)} us of {len(waits)}")
    took = []
    for _ in range(5):
        had, since = m.readies(), time.time()
        kill(max(m.workers()))
        until(3, lambda: m.readies() > had)
        took.append((time.time() - since) * 1000)
    print(f"    kill -9 to the next ready: median {sorted(took)[2]:.0f} ms (50 of them back-off)")

    # An app's fork outlives its worker.
    who = int(m.ask(b"fork")[0])
    if not pid1:
        kill(who)
    time.sleep(0.3)
    check("a forked child keeps nothing", not m.said("forked child keeps"), str(m.said("forked child keeps")) if m.said("forked child keeps") else "")
    time.sleep(2.2)
    check("no zombie after the fork's end", not m.zombies(), str(m.zombies()) if m.zombies() else "")

    # Upgrade in place, same version, five times, with a worker killed at the same moment twice.
    so_far = int(m.said("upgrades")[-1].split()[-1])
    before_fds, before = fds(m.pid), set(m.workers())
    for n in range(5):
        if n in (2, 4):
            kill(sorted(before)[0])
        os.kill(m.pid, signal.SIGUSR2)
        check("upgrade", until(3, lambda: m.said(f"upgrades {so_far + n + 1}")), m.lines[-3:] if not m.said(f"upgrades {so_far + n + 1}") else "")
        if n in (2, 4):
            check("killed at upgrade: replaced", until(4, lambda: len(m.workers()) == WORKERS and not m.zombies()))
            time.sleep(0.3)
            before = set(m.workers())
        check("workers stay over the upgrade", set(m.workers()) == before, f"{before} {m.workers()}" if set(m.workers()) != before else "")
    check("master's fds stay", until(2, lambda: len(fds(m.pid)) == len(before_fds)), f"{before_fds} -> {fds(m.pid)}" if len(fds(m.pid)) != len(before_fds) else "")
    check("no leak into workers", fds(m.workers()[-1]) and len(fds(max(m.workers()))) <= len(first), fds(max(m.workers())) if len(fds(max(m.workers()))) > len(first) else "")

    # A broken upgrade leaves the old one serving.
    os.rename(f"{m.dir}/versions/v1/master", f"{m.dir}/versions/v1/gone")
    os.kill(m.pid, signal.SIGUSR2)
    check("broken upgrade refused", until(3, lambda: m.said("upgrade refused")) and len(m.ask()) == 3)
    os.rename(f"{m.dir}/versions/v1/gone", f"{m.dir}/versions/v1/master")

    # New versions under the old master: 2 understands layout 1, 3 does not.
    m.install(2)
    kill(sorted(m.workers())[0])
    check("v2 worker under v1 master", until(4, lambda: m.said("ready layout=2") or TEMPLATE))
    until(3, lambda: len(m.workers()) == WORKERS)
    m.install(3)
    if TEMPLATE:
        kill(m.templates()[0])
        time.sleep(0.5)
    kill(sorted(m.workers())[0])
    check("v3: master upgrades itself", until(6, lambda: m.said("layout 3 port")), m.lines[-6:] if not m.said("layout 3 port") else "")
    check("v3 worker", until(6, lambda: m.said("ready layout=3")), m.lines[-6:] if not m.said("ready layout=3") else "")
    check("crew complete", until(6, lambda: len(m.workers()) == WORKERS), f"{m.workers()} {m.lines[-6:]}" if len(m.workers()) != WORKERS else "")

    # TERM right behind an upgrade must not get lost (pid 1 drops unblocked signals without a handler).
    os.kill(m.pid, signal.SIGUSR2)
    os.kill(m.pid, signal.SIGTERM)
    crew = list(m.children())
    try:
        code = m.process.wait(8)
    except subprocess.TimeoutExpired:
        code = "still running"
    check("TERM right behind USR2 ends it with 0", code == 0, f"{code} {m.lines[-5:]}" if code != 0 else "")
    check("nobody left", until(1, lambda: not left(crew)))
    check("port free", m.port_free())
    shutil.rmtree(m.dir)

    # kill -9 of the master.
    m = Master(user, pid1, TEMPLATE)
    grow(m, WORKERS, "start again")
    crew = list(m.children())
    kill(m.pid)
    since = time.time()
    check("workers end with their master", until(3, lambda: not left(crew)))
    print(f"    kill -9 master: crew gone after {(time.time() - since) * 1000:.0f} ms")
    check("port free after kill -9", m.port_free())
    m.process.wait(3)
    shutil.rmtree(m.dir)


PYTHON = sys.argv[1] if len(sys.argv) > 1 else "/usr/bin/python3"
for TEMPLATE in (False, True):
    for pid1 in (False, True):
        for user in (None, "nobody"):
            print(f"{'template' if TEMPLATE else 'no template'}, {'PID 1' if pid1 else 'plain'}, {user or 'root'}")
            run(user, pid1)
print(f"{bad} failed")
sys.exit(bad > 0)

"""breakpoint() in a worker: pdb on the terminal the server was started on. Used by worker.py."""
import fcntl
import os
import pdb


class Debugger(pdb.Pdb):
    """Two versions of an application may be at a breakpoint at once, while --reload replaces one by the other: who comes later
    waits until the terminal is free. The master is told, so that nothing hurries a person."""

    def __init__(self, worker):
        super().__init__(nosigint=True)  # Ctrl-C stops the server, also after `continue`
        self.worker, self.terminal = worker, None

    def interaction(self, *args, **more):
        self.take_terminal()
        super().interaction(*args, **more)

    def set_continue(self):
        super().set_continue()
        self.leave_terminal()

    def set_quit(self):
        super().set_quit()
        self.leave_terminal()

    def take_terminal(self):
        if self.terminal is not None:
            return
        self.tell(True)
        try:
            self.terminal = os.open(os.ttyname(0), os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            fcntl.flock(self.terminal, fcntl.LOCK_EX)
        except OSError:  # no name, no lock: then without
            pass

    def leave_terminal(self):
        if self.terminal is not None:
            os.close(self.terminal)
            self.terminal = None
        self.tell(False)

    def tell(self, on):
        try:
            if self.worker is not None:
                self.worker.debugging(on)
        except RuntimeError:  # a forked child has no master
            pass

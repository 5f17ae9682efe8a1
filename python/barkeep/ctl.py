"""The `barkeepctl` command: becomes the native program beside the master."""
import os
import sys

NATIVE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_bin", "barkeepctl")


def main():
    try:
        os.execv(NATIVE, ["barkeepctl", *sys.argv[1:]])
    except OSError as error:
        print(f"barkeepctl: error: cannot run {NATIVE}: {error.strerror} [internal]", file=sys.stderr)
        return 1

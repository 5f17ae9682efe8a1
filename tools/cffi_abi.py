#!/usr/bin/env python3
"""Turns hosts/pypy/door.cdef into the module that cffi reads without a parser: barkeep/pypy/_abi.py.

  tools/cffi_abi.py door.cdef _abi.py      run by meson with the PyPy the package is built for
"""
import sys
from pathlib import Path

import cffi


def main(source, product):
    builder = cffi.FFI()
    builder.cdef(Path(source).read_text())
    builder.set_source("barkeep.pypy._abi", None)
    builder.emit_python_code(product)


if __name__ == "__main__":
    main(*sys.argv[1:])

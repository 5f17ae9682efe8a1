#!/usr/bin/env python3
"""Finds the perfect hash of the known field names and writes src/proto/headers_hash.h.

Run it after a name was added to BK_HEADERS in src/proto/headers.h; tests/unit/test_headers.c fails until then.
`--check` only says whether the file is up to date.
"""
import random
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER, MADE = ROOT / "src/proto/headers.h", ROOT / "src/proto/headers_hash.h"
BITS = 9  # with 9 a factor is found at once, with 8 only after a minute


def main():
    rows = re.findall(r'X\((\w+), "([^"]+)"\)', HEADER.read_text())
    old = MADE.read_text() if MADE.exists() else ""
    old_factor = re.search(r"FACTOR UINT64_C\((0x\w+)\)", old)
    made = render(rows, find(rows, int(old_factor[1], 16) if old_factor else 1))
    if "--check" in sys.argv[1:]:
        print("1 passed, 0 failed" if made == old else f"{MADE.name} is out of date: run tools/header_hash.py\n0 passed, 1 failed")
        return made != old
    MADE.write_text(made)
    return 0


def key(name):
    """The same as in headers_find.h: first four bytes, last four bytes (little-endian, 0x20 set in each) and the length."""
    raw = name.lower().encode()
    first = int.from_bytes((raw + b"  ")[:4], "little") | 0x20202020
    last = int.from_bytes(raw[-4:], "little") | 0x20202020 if len(raw) >= 4 else first
    return (first << 32 | last) ^ len(raw)


def find(rows, first_try):
    keys = [key(name) for _, name in rows]
    assert len(set(keys)) == len(keys), "two names share length, first and last four bytes: widen the key"
    random.seed(1)
    factor = first_try
    while len({slot(k, factor) for k in keys}) < len(keys):
        factor = random.getrandbits(64) | 1
    return factor


def slot(k, factor):
    return (k * factor & (1 << 64) - 1) >> 64 - BITS


def render(rows, factor):
    lines = ["// Made by tools/header_hash.py from BK_HEADERS: the perfect hash of headers_find.h. Do not edit.\n#pragma once\n\n",
             f"#define BK__HEADER_FACTOR UINT64_C({factor:#018x})\n#define BK__HEADER_HASH_BITS {BITS}\n\n",
             "// slot, id, key of the name\n#define BK__HEADER_HASHES(X) \\\n"]
    made = sorted((slot(key(name), factor), identifier, key(name)) for identifier, name in rows)
    lines += [f"    X({number}, {identifier}, UINT64_C({k:#018x})) \\\n" for number, identifier, k in made]
    lines[-1] = lines[-1].replace(" \\\n", "\n")
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())

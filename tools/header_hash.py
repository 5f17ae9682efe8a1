#!/usr/bin/env python3
"""Finds the multiplier and the table of src/proto/headers.c's perfect hash, and writes them into that file.

Run it after a name was added to BK_HEADERS in src/proto/headers.h; tests/unit/test_headers.c fails until then.
`--check` only says whether the file is up to date.
"""
import random
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER, SOURCE = ROOT / "src/proto/headers.h", ROOT / "src/proto/headers.c"
BITS = 9  # twice as many slots would find a factor at once, half as many only after a minute
BEGIN, END = "// begin of tools/header_hash.py's output\n", "// end of tools/header_hash.py's output\n"


def main():
    rows = re.findall(r'X\((\w+), "([^"]+)"\)', HEADER.read_text())
    text = SOURCE.read_text()
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    old_factor = re.search(r"UINT64_C\((0x\w+)\)", old)
    factor = find(rows, int(old_factor[1], 16) if old_factor else 1)
    made = before + BEGIN + render(rows, factor) + END + after
    if "--check" in sys.argv[1:]:
        print("1 passed, 0 failed" if made == text else f"{SOURCE.name} is out of date: run {Path(__file__).name}\n0 passed, 1 failed")
        return made != text
    SOURCE.write_text(made)
    return 0


def key(name):
    """The same as the C: first four bytes, last four bytes (little-endian, 0x20 set in each) and the length."""
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
    lines = [f"#define FACTOR UINT64_C({factor:#018x})\n", f"#define HASH_BITS {BITS}\n",
             "static const uint8_t slots[1 << HASH_BITS] = {\n"]
    for number, identifier in sorted((slot(key(name), factor), identifier) for identifier, name in rows):
        lines.append(f"    [{number}] = BK_HEADER_{identifier},\n")
    return "".join(lines) + "};\n"


if __name__ == "__main__":
    sys.exit(main())

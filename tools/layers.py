#!/usr/bin/env python3
"""Checks who includes whom (ARCHITECTURE.md, "Layers"): folders are layers and an include may only point down.

Also: each third-party header has one home, a .c includes its own header first, headers have `#pragma once`, nothing
includes a .c, every .c is listed in its folder's meson.build, and ARCHITECTURE.md knows every file of src/serve.
Prints one line per offence and ends with 'N passed, N failed'.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"

# Folder -> the folders it may include beside itself. Written out rather than derived: this is the page to read.
BELOW = {
    "base": (),
    "loop": ("base",),
    "net": ("base", "loop"),
    "tls": ("base", "loop", "net"),
    "proto": ("base",),
    "config": ("base",),
    "stats": ("base",),
    "process": ("base",),
    "certs": ("base", "loop", "net", "tls", "process"),
    "host": ("base", "proto"),
    "serve": ("base", "loop", "net", "tls", "proto", "host", "config", "stats"),
    "worker": ("base", "loop", "net", "tls", "proto", "host", "config", "stats", "serve", "process", "certs"),
    "master": ("base", "loop", "net", "config", "stats", "process"),
    "ctl": ("base", "stats"),  # barkeepctl, a program of its own
    "main": ("base", "loop", "net", "config", "stats", "process", "master", "tls", "certs"),  # files right in src/
    "hosts/cpython": ("base", "host", "loop/guests.h", "worker/worker.h", "config/messages.h", "proto/message.h", "proto/headers.h", "proto/target.h"),
    "hosts/pypy": ("base", "host", "loop/guests.h", "worker/worker.h", "config/messages.h", "proto/message.h", "proto/headers.h", "proto/target.h"),
    "hosts/null": ("base", "host", "worker/worker.h", "proto/message.h", "proto/headers.h"),
}

# <header> that is neither the C library's nor the kernel's -> its only home.
THIRD_PARTY = {
    r"(Python|structmember|datetime|frameobject|internal/.*)\.h$": "hosts/cpython",
    r"openssl/": "src/tls",
    r"nghttp2/": "src/proto/h2.c",
    r"zlib\.h$": "src/proto/ws_deflate.c",
    r"(zstd|brotli/.*)\.h$": "src/proto/compress.c",
}
SYSTEM = re.compile(r"(sys|sanitizer|linux|asm|netinet|arpa|net)/[a-z_0-9]+\.h$|[a-z_0-9]+\.h$")


def main():
    files = [path for top in (SRC, ROOT / "hosts") for path in sorted(top.rglob("*.[ch]"))]
    offences = []
    for path in files:
        offences += check_file(path)
    offences += check_meson(files) + check_way()
    for offence in offences:
        print(offence)
    print(f"{len(files)} passed, {len(offences)} failed")
    return 1 if offences else 0


def layer_of(path):
    parts = path.relative_to(ROOT).parts
    if parts[0] == "hosts":
        return "/".join(parts[:2])
    return parts[1] if len(parts) > 2 else "main"


def check_file(path):
    name, offences = path.relative_to(ROOT), []
    text = path.read_text()
    layer = layer_of(path)
    if layer not in BELOW:
        return [f"{name}: folder {layer} is in no layer; add it to tools/layers.py and ARCHITECTURE.md"]
    if path.suffix == ".h" and "#pragma once" not in text:
        offences.append(f"{name}: no #pragma once")
    includes = re.findall(r'^\s*#\s*include\s+([<"])([^">]+)[">]', text, re.M)
    for kind, target in includes:
        if target.endswith(".c"):
            offences.append(f"{name}: includes {target}; link it instead")
        elif kind == "<":
            offences += check_system(name, target)
        elif not allowed(path, layer, target):
            offences.append(f"{name}: {layer} may not include {target}")
    own = path.with_suffix(".h")
    if path.suffix == ".c" and own.exists() and includes:
        quoted = [target for kind, target in includes if kind == '"']
        expected = {own.name, str(own.relative_to(SRC)) if own.is_relative_to(SRC) else own.name}
        first = first_header(includes)
        if first not in expected and not (quoted and quoted[0] in expected and first == "Python.h"):
            offences.append(f"{name}: does not include its own {own.name} first")
    return offences


def first_header(includes):
    """The first include; Python.h may stand before it, as CPython demands."""
    return includes[0][1]


def allowed(path, layer, target):
    if target.startswith("hosts/"):
        return layer.startswith("hosts/") and target.startswith(layer + "/")
    if (path.parent / target).exists():  # a header of the same folder
        return True
    folder = target.split("/")[0] if "/" in target else "main"
    return folder == layer or folder in BELOW[layer] or target in BELOW[layer]


def check_system(name, target):
    for pattern, home in THIRD_PARTY.items():
        if re.match(pattern, target):
            return [] if str(name).startswith(home) else [f"{name}: <{target}> belongs in {home} only"]
    if not SYSTEM.match(target):
        return [f"{name}: <{target}> is a third-party header without a home in tools/layers.py"]
    return []


def check_meson(files):
    offences = []
    for path in files:
        build = path.parent / "meson.build"
        if path.suffix != ".c":
            continue
        listed = build.read_text() if build.exists() else (ROOT / "meson.build").read_text()
        if path.name not in listed and path.stem not in listed:
            offences.append(f"{path.relative_to(ROOT)}: not in {build.relative_to(ROOT)}")
    return offences


def check_way():
    """ARCHITECTURE.md's table of the way of a request names every file of src/serve, and no file that is gone."""
    page = ROOT / "ARCHITECTURE.md"
    if not page.exists():
        return ["ARCHITECTURE.md: missing"]
    named = set(re.findall(r"`(?:[a-z]+/)?(\w+\.c)`", page.read_text()))
    inside = {path.name for path in (SRC / "serve").glob("*.c")}
    offences = [f"ARCHITECTURE.md: does not say what serve/{name} does" for name in sorted(inside - named)]
    for folder, name in re.findall(r"`([a-z]+)/(\w+\.c)`", page.read_text()):
        if not (SRC / folder / name).exists() and not (ROOT / "hosts" / folder / name).exists():
            offences.append(f"ARCHITECTURE.md: names {folder}/{name}, which does not exist")
    steps = re.findall(r'^X\((\w+), "([^"]*)"', (SRC / "serve/steps.def").read_text(), re.M)
    offences += [f"serve/steps.def: the phrase of {step} is no 'while ...'" for step, phrase in steps if not phrase.startswith("while ")]
    return offences


if __name__ == "__main__":
    sys.exit(main())

# Two commands are all a newcomer needs; both install what is missing (as root on Debian, by apt-get), build, and go on:
#   make run    serves examples/hello.py on http://127.0.0.1:8000 in the foreground
#   make test   builds everything and runs every test
# The rest is for developers; CONTRIBUTING.md says when to use what. PYTHON=/path/to/python chooses the interpreter.

PYTHON ?= python3
export PYTHON
tools = $(PYTHON) tools

.PHONY: build run test quick sanitize test-matrix fuzz scorecard autobahn fresh-machine format-check docs clean help
.DEFAULT_GOAL = build

build:  ## .venv with barkeep installed in it; where there is a pypy3 also .venv-pypy
	@tools/bootstrap build
	@$(tools)/build.py --python $(PYTHON) run-venv

run: build  ## build, then serve examples/hello.py on http://127.0.0.1:8000
	@exec .venv/bin/barkeep --bind 127.0.0.1:8000 examples/hello.py

test:  ## every test on this interpreter
	@tools/bootstrap test
	@$(tools)/check.py full

quick:  ## under a minute: checks, unit tests, the fast integration tests
	@tools/bootstrap test
	@$(tools)/check.py quick

sanitize:  ## unit, corpus replay and integration tests with AddressSanitizer and UndefinedBehaviorSanitizer
	@tools/bootstrap test
	@$(tools)/check.py sanitize

test-matrix:  ## the fast tests on every CPython from 3.10 that is here; as root also on Debian testing's newer ones
	@tools/bootstrap test
	@$(tools)/check.py matrix
	@if [ "$$(id -u)" = 0 ]; then tools/fresh-machine.sh matrix; fi

fuzz:  ## a minute of libFuzzer for each target (SECONDS=60)
	@tools/bootstrap fuzz
	@$(tools)/fuzz.py --seconds $(or $(SECONDS),60)

scorecard:  ## CPU per request beside bjoern and the kernel's floor
	@tools/bootstrap bench
	@$(tools)/build.py --python $(PYTHON) run-venv
	@$(PYTHON) bench/scorecard.py --barkeep .venv/bin/barkeep

autobahn:  ## the Autobahn WebSocket suite against the engine; FULL=1 for all 517 cases (needs a CPython 2.7)
	@tools/bootstrap test
	@$(tools)/autobahn.py $(if $(FULL),--full)

fresh-machine:  ## `make run` and `make test` in a minimal Debian made for the purpose (root, debootstrap)
	@tools/fresh-machine.sh

format-check:  ## layers, sizes, form and generated pages
	@$(tools)/check.py checks

docs:  ## docs/options.md, docs/messages.md and the man page, from the tables in src/config
	@$(tools)/reference.py

clean:  ## removes everything that was built
	rm -rf build .venv .venv-pypy

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

"""python run_suite.py plain|engine ARGS...: CPython's own tests (python -m test ARGS) with or without our selector."""
import os
import runpy
import sys

if sys.argv[1] == "engine":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import engine_selector

    engine_selector.install()
del sys.path[0]
sys.argv[1:] = sys.argv[2:]
runpy.run_module("test", run_name="__main__", alter_sys=True)

"""pytest -p engine_plugin: every asyncio loop of the run gets our selector (EXPERIMENT_PLAIN=1: it does not)."""
import os

import engine_selector

if not os.environ.get("EXPERIMENT_PLAIN"):
    engine_selector.install()


def pytest_sessionfinish():
    print(f"\nengine selectors made: {engine_selector.EngineSelector.made}")

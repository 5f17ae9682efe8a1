"""The config process: reads settings files for the master, which runs no Python. See __main__.py."""

"""The host for PyPy: libbarkeep.so driven through cffi in ABI mode, by a pull loop in Python (hosts/pypy/door.cdef). Nothing
is compiled where it runs, and C never calls Python. CPython has hosts/cpython instead: there cffi costs ten times as much.
"""

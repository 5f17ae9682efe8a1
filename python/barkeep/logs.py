"""Python's logging in a worker: what is logged to `barkeep.error` goes the way of Barkeep's own lines, into the master's error
log. Countless applications borrow the handlers of `gunicorn.error` or `uvicorn.error`, so these two names have it too.

worker.py and serve.py call `attach_soon`; this module is imported when the application imports `logging`, not before.
"""
import logging

from ._engine import log
from .words import clean, for_log

NAMES = ("barkeep.error", "gunicorn.error", "gunicorn.access", "uvicorn.error")
LINE_MAX = 4000
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR,
          "critical": logging.CRITICAL}


class Handler(logging.Handler):
    """Hands records to the engine. The first line is the text, the rest (a traceback) its detail."""

    def emit(self, record):
        try:
            first, *rest = self.format(record).split("\n") or [""]
            log(self.word(record.levelno), None, clean(first, LINE_MAX), for_log(*rest, longest=LINE_MAX))
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)

    @staticmethod
    def word(number):
        for word, least in reversed(LEVELS.items()):
            if number >= least:
                return word
        return "debug"


def attach(level):
    """Gives the loggers their one handler. Configuring logging later, as any application may, takes it away or adds to it."""
    handler = Handler()
    for name in NAMES:
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(handler)
            logger.propagate = False
            if logger.level == logging.NOTSET:
                logger.setLevel(LEVELS.get(level, logging.INFO))
    return handler


def configure(wanted):
    """logconfig_dict of a gunicorn.conf.py. As under Gunicorn it need not say everything: what it leaves out is there, with
    handlers that lead to the error log."""
    from logging.config import dictConfig
    parts = ("loggers", "handlers", "formatters")
    dictConfig(DEFAULTS | wanted | {part: DEFAULTS[part] | dict(wanted.get(part) or {}) for part in parts})


DEFAULTS = {
    "version": 1,
    "disable_existing_loggers": False,
    "root": {"level": "INFO", "handlers": ["console"]},
    "loggers": {name: {"level": "INFO", "handlers": ["error_console"], "propagate": False, "qualname": name} for name in NAMES},
    "handlers": {"console": {"()": "barkeep.logs.Handler"}, "error_console": {"()": "barkeep.logs.Handler"}},
    "formatters": {"generic": {"format": "%(message)s"}},
}


def detach(handler):
    for name in NAMES:
        logger = logging.getLogger(name)
        if handler in logger.handlers:
            logger.removeHandler(handler)
            logger.propagate = True
            logger.setLevel(logging.NOTSET)

"""`uwsgidecorators` for an application that came from uWSGI and has no such module installed, see uwsgi_shim.py: @postfork, and
errors that name the alternative for the rest.
"""
import uwsgi

postfork_chain = []


def postfork_chain_hook():
    for function in list(postfork_chain):
        function()


uwsgi.post_fork_hook = postfork_chain_hook


def postfork(function):
    """@postfork, or @postfork(2) for that worker alone."""
    if callable(function):
        postfork_chain.append(function)
        return function

    def decorate(inner):
        postfork_chain.append(lambda: inner() if uwsgi.worker_id() == function else None)
        return inner
    return decorate


def lock(function):
    return uwsgi.lock


_NEEDS = {
    **dict.fromkeys(("spool", "spoolforever", "spoolraw"), "spool"), **dict.fromkeys(("timer", "rbtimer", "mstimer"), "add_timer"),
    **dict.fromkeys(("cron", "cron2"), "add_cron"), "filemon": "add_file_monitor", "signal": "register_signal",
    **dict.fromkeys(("mule", "mulefunc", "mule_brain", "mulemsgloop", "farm"), "mule_msg"), "rpc": "register_rpc", "harakiri": "set_user_harakiri",
    "thread": "async_sleep", "erlang": "rpc",
}


def __getattr__(name):
    if name in _NEEDS:
        getattr(uwsgi, _NEEDS[name])  # raises, with a hint
    raise AttributeError(f"module 'uwsgidecorators' has no attribute {name!r}")

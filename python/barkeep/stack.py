"""Tracebacks as a user wants them: from the application's first frame on, without frames of the server and of importlib,
paths below the current directory without it.

Used by diagnose.py for failed imports and by worker.py for imports that take long.
"""
import linecache
import os

from .words import clean, relative

OWN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")
FRAMES_FIRST, FRAMES_LAST = 10, 30  # shown of a deep stack
MESSAGE_LINES = 20                  # of an exception's own text
CHAIN_MAX = 4

CAUSE = "The above exception was the direct cause of the following exception:"
CONTEXT = "During handling of the above exception, another exception occurred:"


def exception_lines(error, last_only=False):
    """The traceback and what it led from, oldest first, without `Traceback (most recent call last):`. last_only: just the
    place where it was raised."""
    lines = []
    for link, one in chain(error)[-1:] if last_only else chain(error):
        if link:
            lines += ["", link, ""]
        frames = error_frames(one)
        lines += frame_lines(frames[-1:] if last_only else frames)
        if not last_only:
            lines += own_lines(one)
    return [clean(line) for line in lines]


def in_short(error):
    """One line with the place: "SyntaxError in api.py line 12, expected ':'"; and whether there is no more to say."""
    frames, whole = error_frames(error), isinstance(error, SyntaxError) and bool(error.filename)
    name = type(error).__name__
    if whole:
        return f"{name} in {relative(error.filename)} line {error.lineno}, {error.msg}", True
    said = own_lines(error)[0].partition(": ")[2] if own_lines(error) else ""
    place = f" in {relative(frames[-1][0])} line {frames[-1][1]}" if frames else ""
    return f"{name}{place}" + (f", {said}" if said else ""), False


def raised_in(error):
    """Was it raised in code of the application or its packages, and not by the import system for us?"""
    return bool(error_frames(error))


def stack_lines(frame):
    """Where a thread is now, from a frame of sys._current_frames()."""
    frames = []
    while frame is not None:
        frames.append(facts_of(frame))
        frame = frame.f_back
    frames.reverse()
    while frames and frames[0][3].get("__name__") == "threading":  # how a thread begins
        del frames[0]
    return [clean(line) for line in frame_lines(without_ours(frames))]


def awaiting_lines(frames):
    """The same of suspended coroutines, the outermost first."""
    return [clean(line) for line in frame_lines(without_ours([facts_of(frame) for frame in frames]))]


def facts_of(frame):
    return frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name, frame.f_globals


def error_frames(error):
    frames, step = [], error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        frames.append((code.co_filename, step.tb_lineno, code.co_name, step.tb_frame.f_globals))
        step = step.tb_next
    return without_ours(frames)


def without_ours(frames):
    """Without the server, the import system, and os, whose only part in most failures is os.environ["NAME"]."""
    importlib = os.path.join(os.path.dirname(os.__file__), "importlib", "")
    hidden = (OWN, "<frozen ", importlib, os.__file__)
    return [frame for frame in frames if not frame[0].startswith(hidden)]


def frame_lines(frames):
    lines, skipped = [], len(frames) - FRAMES_FIRST - FRAMES_LAST
    if skipped > 0:
        frames = frames[:FRAMES_FIRST] + [None] + frames[-FRAMES_LAST:]
    for frame in frames:
        if frame is None:
            lines.append(f"... {skipped} frames ...")
            continue
        filename, number, function, names = frame
        lines.append(f'File "{relative(filename)}", line {number}, in {function}')
        source = linecache.getline(filename, number or 0, names).strip()
        if source:
            lines.append("  " + source)
    return lines


def own_lines(error):
    """The last lines: class and message; for a SyntaxError the place and the caret too."""
    import traceback
    try:
        text = "".join(traceback.format_exception_only(type(error), error))
    except Exception as broken:  # its __str__ raised
        text = f"{type(error).__name__} (and {type(broken).__name__} while asking for its text)"
    here = os.path.join(os.getcwd(), "")
    lines = text.replace(f'File "{here}', 'File "').splitlines()
    if isinstance(error, SyntaxError):
        lines = [line[2:] if line.startswith("  ") else line for line in lines]
    return lines if len(lines) <= MESSAGE_LINES else lines[:MESSAGE_LINES] + [f"... {len(lines) - MESSAGE_LINES} lines ..."]


def chain(error):
    """[(sentence that leads over, exception)], oldest first."""
    links, seen = [], set()
    while error is not None and id(error) not in seen and len(links) < CHAIN_MAX:
        seen.add(id(error))
        if error.__cause__ is not None:
            links.append((CAUSE, error))
            error = error.__cause__
        elif error.__context__ is not None and not error.__suppress_context__:
            links.append((CONTEXT, error))
            error = error.__context__
        else:
            links.append(("", error))
            error = None
    links.reverse()
    if links:
        links[0] = ("", links[0][1])
    return links

"""Settings as the text of a barkeep.toml. Used by migrate.py and init.py; --print-config writes its own in C."""
import json
import re


def toml_lines(table, app, values, remarks=None):
    """`values` is {key: [texts]}, one for all but lists, as the config process has them. In the order of options.def."""
    remarks = remarks or {}
    if app:
        yield f"app = {text_of(app)}"
    for option in table.options:
        if option.key in values and option.key != "env":
            remark = f"  # {remarks[option.key]}" if option.key in remarks else ""
            yield f"{option.key} = {value_of(option, values[option.key])}{remark}"
    if values.get("env"):
        yield ""
        yield "[env]"
        for name, value in dict(item.partition("=")[::2] for item in values["env"]).items():
            yield f"{name if re.fullmatch(r'[A-Za-z0-9_-]+', name) else text_of(name)} = {text_of(value)}"


def value_of(option, texts):
    text = texts[-1]
    if option.type == "BOOL":
        return "true" if text == "on" else "false"
    if option.type == "LIST":
        items = [item.strip() for one in texts for item in (one.split(",") if option.range == "," else [one])]
        return text_of(items[0]) if len(items) == 1 else f"[{', '.join(map(text_of, items))}]"
    if option.type in ("INT", "AUTO", "SIZE", "TIME") and re.fullmatch(r"0|[1-9]\d*", text):
        return text
    return text_of(text)


def text_of(text):
    """A basic string; bytes that are no text cannot be in a TOML file."""
    return json.dumps(text.encode("utf-8", "replace").decode(), ensure_ascii=False).replace("\x7f", "\\u007f")

"""A Bottle application."""
from pathlib import Path

import bottle

app = bottle.Bottle()


@app.get("/hello/<name>")
def hello(name):
    return bottle.template("<b>Hello {{name}}</b>!", name=name)


@app.get("/json")
def json():
    return {"a": 1}


@app.post("/form")
def form():
    return bottle.request.forms.text


@app.get("/source")
def source():
    here = Path(__file__)
    return bottle.static_file(here.name, root=str(here.parent))

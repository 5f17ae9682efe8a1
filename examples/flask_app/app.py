"""Flask, as in its own first page:  pip install flask && barkeep --chdir examples/flask_app app:app"""
from flask import Flask, Response, abort, jsonify, redirect, request, session

app = Flask(__name__)
app.secret_key = "only an example"


@app.get("/")
def index():
    return "<p>Hello from Flask</p>"


@app.get("/user/<int:number>")
def user(number):
    return jsonify(id=number, q=request.args.get("q"))


@app.post("/form")
def form():
    return jsonify(dict(request.form))


@app.post("/upload")
def upload():
    file = request.files["file"]
    size = sum(len(piece) for piece in iter(lambda: file.stream.read(65536), b""))
    return jsonify(name=file.filename, size=size)


@app.get("/stream")
def stream():
    return Response((f"line {number}\n" for number in range(1000)), mimetype="text/plain")


@app.get("/visits")
def visits():
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@app.get("/secret")
def secret():
    abort(403)


@app.get("/old")
def old():
    return redirect("/")


@app.get("/broken")
def broken():
    raise ValueError("a bug in the view")

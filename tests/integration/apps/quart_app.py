"""Quart: its own request context, streaming answers, websockets."""
from quart import Quart, jsonify, request, websocket

app = Quart(__name__)


@app.before_serving
async def before():
    app.began = True


@app.after_serving
async def after():
    print("quart says goodbye", flush=True)


@app.route("/")
async def index():
    return jsonify(began=app.began, path=request.path, name=request.args.get("name"))


@app.route("/form", methods=["POST"])
async def form():
    return jsonify(dict(await request.form))


@app.route("/stream")
async def stream():
    async def parts():
        for number in range(20):
            yield b"%d," % number
    return parts(), 200, {"X-Stream": "yes"}


@app.route("/fail")
async def fail():
    raise RuntimeError("quart fails")


@app.websocket("/ws")
async def ws():
    while True:
        await websocket.send(f"quart heard {await websocket.receive()}")

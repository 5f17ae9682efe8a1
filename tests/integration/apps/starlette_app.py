"""A Starlette application that uses what its users use: lifespan state, streaming, files, background tasks, sockets."""
import asyncio
import contextlib
from pathlib import Path

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

SEEN = {}


@contextlib.asynccontextmanager
async def lifespan(app):
    yield {"database": {"open": True}}
    print("starlette says goodbye", flush=True)


class Marking(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-marked"] = "yes"
        return response


async def index(request):
    return JSONResponse({"open": request.state.database["open"], "query": dict(request.query_params),
                         "client": request.client.host, "url": str(request.url)})


async def stream(request):
    async def parts():
        try:
            number = 0
            while True:
                yield b"x" * 10_000
                number += 1
                SEEN["stream"] = number
                await asyncio.sleep(0.001)
        finally:
            SEEN["stream"] = "closed"
    return StreamingResponse(parts())


async def counted(request):
    async def parts():
        for number in range(50):
            yield b"%d," % number
    return StreamingResponse(parts())


async def file(request):
    return FileResponse(Path(__file__))


async def upload(request):
    form = await request.form()
    data = await form["file"].read()
    return JSONResponse({"name": form["file"].filename, "size": len(data)})


async def drip(request):
    """Reads until the client goes."""
    try:
        async for _ in request.stream():
            SEEN["drip"] = "reading"
    except ClientDisconnect:
        SEEN["drip"] = "disconnected"
        raise
    return PlainTextResponse("all")


async def background(request):
    async def later():
        await asyncio.sleep(0.2)
        SEEN["background"] = "done"
    SEEN["background"] = "begun"
    return PlainTextResponse("begun", background=BackgroundTask(later))


async def seen(request):
    return JSONResponse(SEEN.get(request.path_params["name"]))


async def thread(request):
    import anyio.to_thread
    return PlainTextResponse(await anyio.to_thread.run_sync(lambda: "from a thread"))


async def group(request):
    import anyio
    results = []

    async def one(number):
        await anyio.sleep(0.01)
        results.append(number)
    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(one, number)
    with anyio.move_on_after(0.02) as scope:
        await anyio.sleep(10)
    return JSONResponse({"sum": sum(results), "cancelled": scope.cancelled_caught})


async def fail(request):
    if "http" in request.query_params:
        raise HTTPException(418, "short and stout")
    raise RuntimeError("starlette fails")


async def socket(websocket):
    await websocket.accept(subprotocol=(websocket.scope["subprotocols"] or [None])[0])
    async for text in websocket.iter_text():
        await websocket.send_json({"heard": text, "open": websocket.state.database["open"]})


async def denied(websocket):
    await websocket.send_denial_response(PlainTextResponse("no entry", status_code=401))


routes = [Route("/", index), Route("/stream", stream), Route("/counted", counted), Route("/file", file),
          Route("/upload", upload, methods=["POST"]), Route("/drip", drip, methods=["POST"]), Route("/background", background),
          Route("/seen/{name}", seen), Route("/thread", thread), Route("/group", group), Route("/fail", fail),
          WebSocketRoute("/socket", socket), WebSocketRoute("/denied", denied)]
app = Starlette(routes=routes, lifespan=lifespan)
marked = Starlette(routes=routes, lifespan=lifespan, middleware=[Middleware(Marking)])

"""An ASGI application that forks in a request and lets the child go on as if nothing had happened."""
import asyncio
import os


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    pid = os.fork()
    if pid:
        _, status = await asyncio.get_running_loop().run_in_executor(None, os.waitpid, pid, 0)
    else:
        status = -1
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(status).encode()})

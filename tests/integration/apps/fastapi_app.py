"""FastAPI as its users use it: models, dependencies that end after the answer, plain functions in threads."""
import contextlib
import contextvars

from fastapi import Depends, FastAPI, WebSocket
from pydantic import BaseModel

user = contextvars.ContextVar("user", default="nobody")
EVENTS = []


@contextlib.asynccontextmanager
async def lifespan(app):
    EVENTS.append("startup")
    yield
    print("fastapi says goodbye", flush=True)


app = FastAPI(lifespan=lifespan)


class Item(BaseModel):
    name: str
    price: float


async def session():
    EVENTS.append("session opened")
    yield "a session"
    EVENTS.append("session closed")


@app.post("/items/{number}")
async def create(number: int, item: Item, session: str = Depends(session)):
    return {"number": number, "name": item.name, "session": session}


@app.get("/sync")
def in_a_thread():
    import threading
    return {"main": threading.current_thread() is threading.main_thread()}


@app.get("/user/{name}")
async def set_user(name: str):
    before = user.get()
    user.set(name)
    return {"before": before, "now": user.get()}


@app.get("/events")
async def events():
    return EVENTS


@app.websocket("/ws")
async def socket(websocket: WebSocket):
    await websocket.accept()
    while True:
        await websocket.send_text((await websocket.receive_text()).upper())

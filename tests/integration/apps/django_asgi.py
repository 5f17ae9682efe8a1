"""Django under ASGI: async and sync views, the request's end, streaming."""
import asyncio

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.signals import request_finished
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(DEBUG=False, SECRET_KEY="for tests", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=[
    "django.middleware.common.CommonMiddleware"], LOGGING_CONFIG=None)
django.setup()
FINISHED = []
request_finished.connect(lambda **more: FINISHED.append(1), weak=False)


async def quick(request):
    await asyncio.sleep(0)
    return JsonResponse({"method": request.method, "query": request.GET.dict(), "scheme": request.scheme})


def plain(request):
    return HttpResponse("from a thread")


async def echo(request):
    return HttpResponse(request.body)


async def stream(request):
    async def parts():
        for number in range(20):
            await asyncio.sleep(0)
            yield f"{number},"
    return StreamingHttpResponse(parts())


async def fail(request):
    raise RuntimeError("django fails")


async def finished(request):
    return JsonResponse({"count": len(FINISHED)})


urlpatterns = [path("", quick), path("plain", plain), path("echo", echo), path("stream", stream), path("fail", fail),
               path("finished", finished)]
application = get_asgi_application()

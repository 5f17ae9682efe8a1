"""Addresses and views of the example site."""
import hashlib

from django.contrib import admin
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.urls import path
from django.views.decorators.csrf import csrf_exempt


def index(request):
    return HttpResponse("<p>Hello from Django")


def form(request):
    """A form with Django's CSRF protection."""
    if request.method == "POST":
        return JsonResponse({key: request.POST[key] for key in request.POST if key != "csrfmiddlewaretoken"})
    return HttpResponse(f'<form method=post><input name=csrfmiddlewaretoken value="{get_token(request)}"><input name=text><button>Send</button></form>')


@csrf_exempt
def upload(request):
    """Any number of files; what came is shown by size and digest."""
    files = {}
    for name, file in request.FILES.items():
        digest = hashlib.sha256()
        for piece in file.chunks():
            digest.update(piece)
        files[name] = {"name": file.name, "size": file.size, "sha256": digest.hexdigest()}
    return JsonResponse(files)


def stream(request):
    return StreamingHttpResponse((f"line {number}\n" for number in range(1000)), content_type="text/plain")


def secure(request):
    """Loops for ever behind a proxy whose word about https is not believed."""
    return HttpResponse("secure") if request.is_secure() else redirect(f"https://{request.get_host()}/secure")


urlpatterns = [path("", index), path("form", form), path("upload", upload), path("stream", stream), path("secure", secure),
               path("admin/", admin.site.urls)]

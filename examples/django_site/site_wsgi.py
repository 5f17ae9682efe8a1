"""The WSGI entry:  pip install django && barkeep --chdir examples/django_site site_wsgi"""
import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")

application = StaticFilesHandler(get_wsgi_application())

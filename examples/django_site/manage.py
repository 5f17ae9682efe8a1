#!/usr/bin/env python3
"""Django's command line for this site: python manage.py migrate"""
import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")

if __name__ == "__main__":
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)

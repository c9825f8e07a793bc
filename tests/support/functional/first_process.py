"""A project that puts the first process of a container to the test."""

from __future__ import annotations

SETTINGS = """
import atexit
def note():
    with open(BASE_DIR / "ended", "a") as record:
        record.write("the function ran\\n")
atexit.register(note)
"""
VIEWS = """
import multiprocessing, os, re, signal, subprocess, time
from django.http import HttpResponse
from django.urls import path

def orphans(request):
    for _ in range(5):
        subprocess.run("sleep 0.1 & sleep 0.2 & exit 0", shell=True)
    return HttpResponse("left")

def statuses(request):
    shells = [subprocess.run(["sh", "-c", f"sleep 0 & exit {number}"]).returncode for number in range(10)]
    forks = []
    for number in range(10):
        child = multiprocessing.Process(target=os._exit, args=(number,))
        child.start()
        child.join(20)
        forks.append(child.exitcode)
    return HttpResponse(f"{shells} {forks}")

def compute(request):
    re.match(r"(a+)+$", "a" * 60 + "b")

def die(request):
    os.kill(os.getpid(), signal.SIGABRT)

urlpatterns = [
    path("orphans/", orphans), path("statuses/", statuses), path("compute/", compute), path("die/", die),
]
"""

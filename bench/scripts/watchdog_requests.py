"""What people write today: watch a folder, POST each file, write the answer. IN OUT URL [fsync]."""

import os
import sys
import threading

import requests
from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer

inbound, outbound, url = sys.argv[1:4]
durable = "fsync" in sys.argv[4:]  # what few people write
session = requests.Session()
lock = threading.Lock()


def enrich(path):
    name = os.path.basename(path)
    try:
        with open(path, "rb") as source:
            answer = session.post(url, data=source, timeout=30)
    except FileNotFoundError:
        return  # seen twice: at the start and as an event
    answer.raise_for_status()
    part = os.path.join(outbound, name + ".tmp")
    with open(part, "wb") as result:
        result.write(answer.content)
        if durable:
            result.flush()
            os.fsync(result.fileno())
    os.rename(part, os.path.join(outbound, name))
    if durable:
        folder = os.open(outbound, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    os.unlink(path)


class Handler(FileSystemEventHandler):
    def on_created(self, event):  # also what is renamed into the folder from outside
        with lock:
            enrich(event.src_path)


observer = Observer()
observer.schedule(Handler(), inbound)
observer.start()
for left in sorted(os.listdir(inbound)):  # what lay there before the start
    with lock:
        enrich(os.path.join(inbound, left))
observer.join()

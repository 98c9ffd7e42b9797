"""Feeds Celery: each file that is moved into the folder becomes a task."""

import os

import celery_tasks
import inotify_simple

folder = os.environ["BENCH_IN"]
watch = inotify_simple.INotify()
watch.add_watch(folder, inotify_simple.flags.MOVED_TO)
for left in sorted(os.listdir(folder)):  # what lay there before the start
    celery_tasks.enrich.delay(left)
while True:
    for event in watch.read():
        celery_tasks.enrich.delay(event.name)

"""The Celery application: one task, which POSTs a file and writes the answer."""

import os

import requests
from celery import Celery

app = Celery(broker=os.environ["BENCH_REDIS"])
app.conf.task_ignore_result = True
app.conf.task_acks_late = True  # a killed worker's task is delivered again
app.conf.task_reject_on_worker_lost = True
app.conf.broker_transport_options = {"visibility_timeout": 10}  # default: an hour
app.conf.broker_connection_retry_on_startup = True
session = requests.Session()


@app.task
def enrich(name):
    path = os.path.join(os.environ["BENCH_IN"], name)
    try:
        with open(path, "rb") as source:
            answer = session.post(os.environ["BENCH_URL"], data=source, timeout=30)
    except FileNotFoundError:
        return  # delivered twice
    answer.raise_for_status()
    target = os.path.join(os.environ["BENCH_OUT"], name)
    with open(target + ".tmp", "wb") as result:
        result.write(answer.content)
    os.rename(target + ".tmp", target)
    os.unlink(path)

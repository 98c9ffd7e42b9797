"""A Sarracenia plugin: POSTs each file that the flow gathered and writes the answer."""

import os

import requests
from sarracenia.flowcb import FlowCB


class Sr3_enrich(FlowCB):  # noqa: N801 - Sarracenia derives the class's name from the file's
    def __init__(self, options):
        super().__init__(options)
        options.post_exchange = None  # the watch names it in a log line, broker or not
        self.session = requests.Session()
        self.outbound = os.environ["BENCH_OUT"]
        self.url = os.environ["BENCH_URL"]

    def after_accept(self, worklist):
        for message in worklist.incoming:
            path = "/" + message["relPath"].lstrip("/")
            if os.path.isfile(path):
                self.enrich(path)
        worklist.rejected.extend(worklist.incoming)  # dealt with: nothing is left to be posted
        worklist.incoming = []

    def enrich(self, path):
        with open(path, "rb") as source:
            answer = self.session.post(self.url, data=source, timeout=30)
        answer.raise_for_status()
        target = os.path.join(self.outbound, os.path.basename(path))
        with open(target + ".tmp", "wb") as result:
            result.write(answer.content)
        os.rename(target + ".tmp", target)
        os.unlink(path)

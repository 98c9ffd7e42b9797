"""A Sarracenia plugin: gathers files as a watch does, POSTs each and writes the answer."""

import os

import requests
from sarracenia.flow.watch import default_options
from sarracenia.flowcb.gather.file import File


class Sr3_enrich(File):  # Sarracenia derives the class's name from the file's
    def __init__(self, options):
        super().__init__(options)
        for name, value in default_options.items():  # a watch's, which a plain flow lacks
            if not hasattr(self.o, name):
                setattr(self.o, name, value)
        self.o.postpath = [os.environ["BENCH_IN"]]
        self.o.post_exchange = None  # there is no broker to post to
        self.o.publishers = [{"baseUrl": "file:/", "baseDir": None}]
        self.session = requests.Session()
        self.outbound = os.environ["BENCH_OUT"]
        self.url = os.environ["BENCH_URL"]

    def after_accept(self, worklist):
        for message in worklist.incoming:
            path = "/" + message["relPath"].lstrip("/")
            if os.path.isfile(path):
                self.enrich(path)
        worklist.rejected.extend(worklist.incoming)  # dealt with: nothing is left to be done
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

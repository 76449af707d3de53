#!/usr/bin/env python3
"""A scheduler for Dunlin that prefers the node with the fewest pods. Python 3, standard library only.

    examples/scheduler.py --kubeconfig /var/lib/dunlin/kubeconfig.yaml
    dunlin server --scheduler external=http://127.0.0.1:8888

It speaks the Kubernetes scheduler extender protocol. Dunlin asks it about one pod at a time, with the nodes that can
take the pod, and binds the pod to the node that gets the highest score. POST requests:

    /filter       which of the nodes may take the pod; this scheduler has no objections
    /prioritize   a score from 0 to 10 for each node
    /bind         answered with 404: Dunlin binds the pod itself
"""

import argparse
import base64
import collections
import http.server
import json
import ssl
import tempfile
import urllib.request


class Cluster:
    """The API of the cluster, as the administrator of a kubeconfig that Dunlin wrote (it is JSON)."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.url = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self.tls = ssl.create_default_context(cadata=authority)
        # The module reads certificates from files only.
        with tempfile.NamedTemporaryFile() as file:
            for part in ("client-certificate-data", "client-key-data"):
                file.write(base64.b64decode(user[part]) + b"\n")
            file.flush()
            self.tls.load_cert_chain(file.name)

    def pods_by_node(self):
        """How many pods each node has that have not ended."""
        with urllib.request.urlopen(self.url + "/api/v1/pods", context=self.tls, timeout=3) as answer:
            pods = json.load(answer)["items"]
        running = (pod for pod in pods if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"))
        return collections.Counter(pod["spec"].get("nodeName", "") for pod in running)


def filter_nodes(_cluster, args):
    return {"NodeNames": args["NodeNames"], "FailedNodes": {}, "Error": ""}


def prioritize(cluster, args):
    pods = cluster.pods_by_node()
    fewest = min(pods[name] for name in args["NodeNames"])
    return [{"Host": name, "Score": max(0, 10 - (pods[name] - fewest))} for name in args["NodeNames"]]


VERBS = {"/filter": filter_nodes, "/prioritize": prioritize}


class Handler(http.server.BaseHTTPRequestHandler):
    cluster = None

    def do_POST(self):
        verb = VERBS.get(self.path)
        if verb is None:
            self.send_error(404)
            return
        args = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            answer = json.dumps(verb(self.cluster, args)).encode()
        except OSError as error:
            # The pod then waits, and its condition says that this scheduler failed.
            self.send_error(503, explain=str(error))
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def main():
    parser = argparse.ArgumentParser(description="Prefers the node with the fewest pods.")
    parser.add_argument("--kubeconfig", required=True, help="the file that dunlin server wrote")
    parser.add_argument("--listen", default="127.0.0.1:8888", help="ADDRESS:PORT [default: %(default)s]")
    options = parser.parse_args()
    Handler.cluster = Cluster(options.kubeconfig)
    address, port = options.listen.rsplit(":", 1)
    http.server.ThreadingHTTPServer((address, int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()

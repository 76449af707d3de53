"""The official Python client against a cluster with one node and the image busybox:test: whatever a program does with it.

Run with KUBECONFIG set. Ends with an exception at the first thing that is not as it should be.
"""

import faulthandler
import threading
import time

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward, stream

# Calls of this client wait for ever if nobody answers; this says where.
faulthandler.dump_traceback_later(240, exit=True)
config.load_kube_config()
core, apps, batch = client.CoreV1Api(), client.AppsV1Api(), client.BatchV1Api()
NAMESPACE = "python"


def refused(code, call, *args, **more):
    try:
        call(*args, **more)
    except ApiException as error:
        assert error.status == code, error
        return error
    raise AssertionError(f"{call.__name__}{args} was not refused")


def until(what, check, seconds=60):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def pod(name, script, **more):
    container = client.V1Container(name="main", image="busybox:test", command=["/bin/sh", "-c", script], **more)
    spec = client.V1PodSpec(containers=[container], termination_grace_period_seconds=1, restart_policy="Never")
    return client.V1Pod(metadata=client.V1ObjectMeta(name=name, labels={"app": name}), spec=spec)


version = client.VersionApi().get_code()
assert version.major == "1" and int(version.minor.rstrip("+")) >= 36, version
core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
until("default account", lambda: core.list_namespaced_service_account(NAMESPACE).items)

# Typed objects there and back, conflicts, pages.
made = core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a"), data={"k": "1"}))
made.data["k"] = "2"
replaced = core.replace_namespaced_config_map("a", NAMESPACE, made)
assert replaced.data == {"k": "2"} and replaced.metadata.resource_version != made.metadata.resource_version
assert "object has been modified" in refused(409, core.replace_namespaced_config_map, "a", NAMESPACE, made).body
assert core.patch_namespaced_config_map("a", NAMESPACE, {"data": {"l": "3"}}).data == {"k": "2", "l": "3"}
refused(404, core.read_namespaced_config_map, "b", NAMESPACE)
for number in range(5):
    core.create_namespaced_secret(NAMESPACE, client.V1Secret(metadata=client.V1ObjectMeta(name=f"s{number}"), string_data={"x": "y"}))
names, more = [], None
while True:
    page = core.list_namespaced_secret(NAMESPACE, limit=2, _continue=more)
    names += [item.metadata.name for item in page.items]
    more = page.metadata._continue
    if not more:
        break
assert names == [f"s{number}" for number in range(5)], names

# A watch sees a pod's life from another thread.
seen = []


def look():
    for event in watch.Watch().stream(core.list_namespaced_pod, NAMESPACE, timeout_seconds=60):
        phase = event["object"].status.phase
        seen.append((event["type"], phase))
        if event["type"] == "DELETED":
            return


watcher = threading.Thread(target=look, daemon=True)
watcher.start()
core.create_namespaced_pod(NAMESPACE, pod("brief", "echo brief; sleep 1"))
until("brief succeeds", lambda: core.read_namespaced_pod("brief", NAMESPACE).status.phase == "Succeeded")
# This version of the client makes "b'...'" of text; raw it is right.
log = core.read_namespaced_pod_log("brief", NAMESPACE, _preload_content=False).data
assert log == b"brief\n", log
core.delete_namespaced_pod("brief", NAMESPACE)
watcher.join(60)
assert not watcher.is_alive(), seen
phases = [phase for kind, phase in seen if kind == "MODIFIED"]
assert seen[0] == ("ADDED", "Pending") and "Running" in phases and "Succeeded" in phases, seen

# Sessions.
core.create_namespaced_pod(NAMESPACE, pod("serving", "mkdir /page; echo here > /page/index.html; busybox httpd -f -p 8080 -h /page"))
until("serving runs", lambda: core.read_namespaced_pod("serving", NAMESPACE).status.phase == "Running")
connect = core.connect_get_namespaced_pod_exec
said = stream(connect, "serving", NAMESPACE, command=["/bin/sh", "-c", "echo out; echo err >&2"], stdout=True, stderr=True, stdin=False, tty=False)
assert "out" in said and "err" in said, said
session = stream(connect, "serving", NAMESPACE, command=["/bin/sh"], stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False)
session.write_stdin("echo $((6 * 7)); exit 3\n")
session.run_forever(timeout=20)
assert session.read_stdout().strip() == "42" and session.returncode == 3
until("the page", lambda: "here" in stream(connect, "serving", NAMESPACE, command=["/bin/cat", "/page/index.html"], stdout=True, stderr=True, stdin=False, tty=False))
forward = portforward(core.connect_get_namespaced_pod_portforward, "serving", NAMESPACE, ports="8080")
socket = forward.socket(8080)
socket.settimeout(20)
socket.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
answer = b""
while chunk := socket.recv(4096):
    answer += chunk
assert answer.endswith(b"here\n"), (answer, forward.error(8080))

# Controllers, scale, owner references.
template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels={"app": "web"}), spec=pod("web", "sleep 1000000").spec)
template.spec.restart_policy = "Always"
selector = client.V1LabelSelector(match_labels={"app": "web"})
deployment = client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=client.V1DeploymentSpec(replicas=1, selector=selector, template=template))
apps.create_namespaced_deployment(NAMESPACE, deployment)
scale = apps.read_namespaced_deployment_scale("web", NAMESPACE)
scale.spec.replicas = 2
# Its controller writes the status meanwhile; this is to overwrite, not to compare.
scale.metadata.resource_version = None
apps.replace_namespaced_deployment_scale("web", NAMESPACE, scale)
until("two replicas", lambda: apps.read_namespaced_deployment("web", NAMESPACE).status.ready_replicas == 2)
apps.delete_namespaced_deployment("web", NAMESPACE, propagation_policy="Foreground")
until("all gone", lambda: not core.list_namespaced_pod(NAMESPACE, label_selector="app=web").items)

# Anything, without types; server-side apply; manifests.
anything = dynamic.DynamicClient(client.ApiClient())
maps = anything.resources.get(api_version="v1", kind="ConfigMap")
body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied", "namespace": NAMESPACE}, "data": {"k": "1"}}
applied = maps.server_side_apply(body=body, namespace=NAMESPACE, field_manager="one")
assert applied.metadata.managedFields[0].manager == "one"
body["data"]["k"] = "2"
assert "conflict" in str(refused(409, maps.server_side_apply, body=body, namespace=NAMESPACE, field_manager="two").body)
assert maps.server_side_apply(body=body, namespace=NAMESPACE, field_manager="two", force_conflicts=True).data.k == "2"
job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox:test", "command": ["/bin/true"]}]}}}}
utils.create_from_dict(client.ApiClient(), job, namespace=NAMESPACE)
until("the job is done", lambda: batch.read_namespaced_job("job", NAMESPACE).status.succeeded == 1)

# A program in a pod's place: its account's token and what it may do.
token = core.create_namespaced_service_account_token("default", NAMESPACE, client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))).status.token
inside = client.Configuration.get_default_copy()
inside.cert_file = inside.key_file = None
inside.api_key = {"authorization": f"Bearer {token}"}
inside = client.ApiClient(inside)
assert client.AuthenticationV1Api(inside).create_self_subject_review(client.V1SelfSubjectReview()).status.user_info.username == f"system:serviceaccount:{NAMESPACE}:default"
refused(403, client.CoreV1Api(inside).list_namespaced_secret, NAMESPACE)

core.delete_namespace(NAMESPACE)
until("the namespace is gone", lambda: NAMESPACE not in [n.metadata.name for n in core.list_namespace().items])
print("python: all as it should be")

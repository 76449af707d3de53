//! Descriptors in, objects or complaints out.

use serde_json::{Value, json};

use super::*;

fn objects(text: &str) -> Vec<Value> {
    translate_all("file", text, &Pins::default()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn complaint(text: &str) -> String {
    translate_all("file", text, &Pins::default()).expect_err(text).to_string()
}

#[test]
fn edgeio_becomes_a_deployment_and_a_service() {
    let text = "
api_version: v0.1
job_name: Test_1
image: nginx:1
image_runtime: unikernel
requirements: {cpu: 0.5, memory: 100}
cluster_location: garching
worker_node: site/e580
area: campus
replicas: 2
command: /bin/serve --quiet
environment: {MODE: fast, LEVEL: 3}
port: 8080:80
ports: [53:53/udp]
";
    let labels = json!({"dunlin.io/job": "test-1"});
    assert_eq!(
        objects(text),
        [
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "test-1", "labels": labels},
                "spec": {
                    "replicas": 2, "selector": {"matchLabels": labels},
                    "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
                    "template": {
                        "metadata": {"labels": labels, "annotations": {"dunlin.io/machine": "site/e580"}},
                        "spec": {
                            "runtimeClassName": "unikernel",
                            "nodeSelector": {"dunlin.io/cluster": "garching", "dunlin.io/area": "campus"},
                            "containers": [{
                                "name": "test-1", "image": "nginx:1", "command": ["/bin/serve", "--quiet"],
                                "env": [{"name": "LEVEL", "value": "3"}, {"name": "MODE", "value": "fast"}],
                                "resources": {"requests": {"cpu": "500m", "memory": "100M"}},
                                "ports": [
                                    {"name": "tcp-8080", "containerPort": 80, "hostPort": 8080, "protocol": "TCP"},
                                    {"name": "udp-53", "containerPort": 53, "hostPort": 53, "protocol": "UDP"},
                                ],
                            }],
                        },
                    },
                },
            }),
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "test-1", "labels": labels},
                "spec": {"selector": labels, "ports": [
                    {"name": "tcp-8080", "port": 8080, "targetPort": 80, "protocol": "TCP"},
                    {"name": "udp-53", "port": 53, "targetPort": 53, "protocol": "UDP"},
                ]},
            }),
        ]
    );
}

#[test]
fn picasso_becomes_the_same() {
    let text = r#"{"imageName": "registry.example:5000/fnichol/uhttpd:v1", "imageSize": 1.2, "port_host": 8083, "port_container": 80,
        "architecture": "armv7", "memory": "64Mi", "node": "pi"}"#;
    let all = objects(text);
    assert_eq!(all.len(), 2);
    assert_eq!(all[0]["metadata"]["name"], "uhttpd");
    let template = &all[0]["spec"]["template"];
    assert_eq!(
        template["spec"]["nodeSelector"],
        json!({"kubernetes.io/arch": "arm", "kubernetes.io/hostname": "pi"})
    );
    assert_eq!(template["metadata"]["annotations"], json!({"dunlin.io/machine": "pi"}));
    assert_eq!(template["spec"]["containers"][0]["resources"], json!({"requests": {"memory": "64Mi"}}));
    assert_eq!(all[1]["spec"]["ports"][0]["targetPort"], 80);
    assert_eq!(objects(r#"[{"imageName": "a"}, {"imageName": "b"}]"#).len(), 2, "no ports, no Service");
}

#[test]
fn kubernetes_objects_pass_and_pods_get_controllers() {
    let text = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: b}
---
apiVersion: v1
kind: Pod
metadata: {name: lonely, namespace: site, labels: {app: x}, annotations: {n: o}}
spec: {containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Pod
metadata: {name: once}
spec: {restartPolicy: Never, containers: [{name: c, image: i}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere}
spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {nodeSelector: {disk: fast}}}}
";
    let pins = Pins { area: Some("roof".to_owned()), ..Pins::default() };
    let all = translate_all("file", text, &pins).expect("all are right");
    assert_eq!(
        all[0],
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "b"}})
    );
    let job = |name: &str| json!({"dunlin.io/job": name});
    assert_eq!(
        all[1],
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "lonely", "namespace": "site", "labels": job("lonely")},
            "spec": {"replicas": 1, "selector": {"matchLabels": job("lonely")}, "template": {
                "metadata": {"labels": {"app": "x", "dunlin.io/job": "lonely"}, "annotations": {"n": "o"}},
                "spec": {"containers": [{"name": "c", "image": "i"}], "nodeSelector": {"dunlin.io/area": "roof"}}}}})
    );
    assert_eq!((&all[2]["kind"], &all[2]["spec"]["selector"]), (&json!("Job"), &Value::Null));
    assert_eq!(all[3]["metadata"]["labels"], job("everywhere"));
    let template = &all[3]["spec"]["template"];
    assert_eq!(template["metadata"]["labels"], json!({"a": "b", "dunlin.io/job": "everywhere"}));
    assert_eq!(template["spec"]["nodeSelector"], json!({"disk": "fast", "dunlin.io/area": "roof"}));
    assert_eq!(
        objects(
            "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}]"
        )
        .len(),
        1
    );
}

#[test]
fn flags_win_over_descriptors() {
    let pins = Pins { machine: Some("other".to_owned()), ..Pins::default() };
    let all =
        translate_all("f", "job_name: a\nimage: b\nworker_node: one\narea: roof", &pins).expect("right");
    let selector = &all[0]["spec"]["template"]["spec"]["nodeSelector"];
    assert_eq!(*selector, json!({"dunlin.io/area": "roof", "kubernetes.io/hostname": "other"}));
}

#[test]
fn what_is_wrong_is_said_with_its_path() {
    for (text, wanted) in [
        ("", "file describes nothing"),
        ("{", "file is neither YAML nor JSON"),
        ("5", "file: is no descriptor"),
        ("a: b", "file: is of no known form"),
        ("job_name: a", "file: image: is missing"),
        ("job_name: a\nimage: ''", "file: image: is empty"),
        ("image: a\napi_version: v0.1", "file: job_name: is missing"),
        ("api_version: v9\njob_name: a\nimage: b", "file: api_version: \"v9\" is unknown"),
        ("job_name: a\nimage: b\nimagee: c", "file: imagee: is unknown here; known are api_version"),
        (
            "job_name: a\nimage: b\nrequirements: {cpus: 1}",
            "file: requirements.cpus: is unknown here; known are cpu, memory",
        ),
        ("job_name: a\nimage: b\nrequirements: {cpu: much}", "file: requirements.cpu: \"much\" is no amount"),
        ("job_name: a\nimage: b\nrequirements: {memory: -1}", "file: requirements.memory: must be above 0"),
        ("job_name: a\nimage: b\nrequirements: 3", "file: requirements: a mapping"),
        ("job_name: a\nimage: b\nport: 80:99999", "file: port: HOST:CONTAINER is expected"),
        ("job_name: a\nimage: b\nports: [80, 1:2/icmp]", "file: ports[1]: HOST:CONTAINER is expected"),
        ("job_name: a\nimage: b\nreplicas: 1.5", "file: replicas: a whole number"),
        ("job_name: a\nimage: b\nimage_runtime: qemu", "file: image_runtime: \"qemu\" is unknown"),
        ("job_name: '---'\nimage: b", "file: job_name: \"---\" cannot be made a name"),
        ("job_name: a\nimage: b\ncluster_location: a/b", "file: cluster_location:"),
        ("job_name: a\nimage: b\nenvironment: [x]", "file: environment[0]: NAME=text"),
        ("job_name: a\nimage: b\n---\njob_name: c", "file, document 2: image: is missing"),
        (r#"{"imageName": "a", "port_host": 80}"#, "file: port_container: is missing"),
        (r#"[{"imageName": "a"}, {"imageName": "b", "qos": {}}]"#, "file: [1]: qos: is unknown"),
        ("apiVersion: v1\nkind: Pod\nspec: {}", "file: metadata.name: is missing"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, finalizers: [x]}\nspec: {}",
            "file: metadata.finalizers",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: 3}\nspec: {}",
            "file: metadata.labels: a mapping",
        ),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}", "file: spec.template: is missing"),
        ("kind: Pod\nmetadata: {name: a}", "file: apiVersion: is missing"),
    ] {
        let said = complaint(text);
        assert!(said.starts_with(wanted), "{text:?}: {said:?}");
    }
    let many = "---\njob_name: a\nimage: b\n".repeat(MOST + 1);
    assert!(complaint(&many).contains("at most 200"));
    assert!(complaint(&"[".repeat(100_000)).contains("neither YAML nor JSON"), "depth is bounded");
    let laughs = (1..30).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1)).collect::<String>();
    assert!(
        complaint(&format!("a0: &a0 [x]\n{laughs}")).contains("neither YAML nor JSON"),
        "aliases are bounded"
    );
}

#[test]
fn the_examples_are_right() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let kinds = |file: &str| {
        let path = folder.join(file);
        let text = std::fs::read_to_string(&path).expect("the example is there");
        let all = objects(&text);
        all.iter().map(|o| o["kind"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds("edgeio.yaml"), ["Deployment", "Service"]);
    assert_eq!(kinds("picasso.json"), ["Deployment", "Service"]);
    assert_eq!(kinds("kubernetes.yaml"), ["Deployment", "Deployment"]);
}

//! WebAssembly as pods, beside containers.

use anyhow::{Context, Result, ensure};
use dunlin_testkit::cluster::PATIENCE;
use dunlin_testkit::image::ImageBuilder;
use dunlin_testkit::wait;

use crate::support::{Server, World, classes, has};

fn deployment(name: &str, class: &str, image: &str) -> String {
    let server = Server {
        more: "resources: {limits: {memory: 96Mi}}
        volumeMounts: [{name: data, mountPath: /data}]",
        pod_more: &format!(
            "terminationGracePeriodSeconds: 5
      volumes: [{{name: data, configMap: {{name: {name}}}}}]"
        ),
        ..Server::new(name, class, image)
    };
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{greeting: from the volume}}\n---{}",
        server.manifest()
    )
}

fn world() -> Result<World> {
    let world = World::new()?;
    world.server.import(&ImageBuilder::hello_component()?, "hello-wasm:test")?;
    world.server.import(&ImageBuilder::http_component()?, "http-wasm:test")?;
    world.kubectl.apply(&classes(&[("container", "oci"), ("wasm", "wasm")]))?;
    Ok(world)
}

#[test]
fn one_manifest_as_container_and_as_component() -> Result<()> {
    let mut world = world()?;
    let kubectl = world.kubectl.clone();
    let run = |line: &str| kubectl.run(&line.split(' ').collect::<Vec<_>>());
    let all = [("in-a-box", "container", "hello:test"), ("guest", "wasm", "hello-wasm:test")];
    for (name, class, image) in all {
        kubectl.apply(&deployment(name, class, image))?;
    }
    for (name, _, image) in all {
        run(&format!("rollout status deployment/{name} --timeout=90s"))?;
        let pods = kubectl.json(&["pods", "-l", &format!("app={name}")])?;
        let program = if image == "hello:test" { "/hello" } else { "/hello.wasm" };
        for pod in pods["items"].as_array().context("pods")? {
            let pod_name = pod["metadata"]["name"].as_str().context("a name")?;
            let ip = pod["status"]["podIP"].as_str().context("an address")?;
            let said = world.server.http(ip, 8080, "/")?;
            ensure!(said.contains(&format!("hello from {pod_name}")), "{said}");
            has(&run(&format!("logs {pod_name}"))?, &["listening on port 8080", "GET / HTTP/1.1"])?;
            let said = run(&format!("exec {pod_name} -- {program} env"))?;
            has(&said, &["GREETING=good morning"])?;
            let said = run(&format!("exec {pod_name} -- {program} read /data/greeting"))?;
            ensure!(said == "from the volume", "{said}");
        }
    }
    ensure!(kubectl.json(&["node", "one"])?["metadata"]["labels"]["runtime.dunlin.io/wasm"] == "true");

    let list = || {
        kubectl.run(&["get", "pods", "-o", "jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {end}"])
    };
    let before = list()?;
    world.server.kill();
    world.server.start()?;
    world.server.wait_for_node("")?;
    ensure!(list()? == before, "{before} became {}", list()?);

    run("delete deployment in-a-box guest --timeout=60s")?;
    wait::until("the pods gone", PATIENCE, || {
        let left = run("get pods -o name")?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}

/// A component that serves `wasi:http` needs no program that listens.
#[test]
fn a_component_serves_http() -> Result<()> {
    let world = world()?;
    let kubectl = world.kubectl.clone();
    let run = |line: &str| kubectl.run(&line.split(' ').collect::<Vec<_>>());
    kubectl.apply(&deployment("server", "wasm", "http-wasm:test"))?;
    kubectl.apply(&deployment("other", "wasm", "http-wasm:test"))?;
    for name in ["server", "other"] {
        run(&format!("rollout status deployment/{name} --timeout=90s"))?;
    }
    let address = |name: &str| -> Result<(String, String)> {
        let pods = kubectl.json(&["pods", "-l", &format!("app={name}")])?;
        let pod = &pods["items"][0];
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned).context("a text");
        Ok((text(&pod["metadata"]["name"])?, text(&pod["status"]["podIP"])?))
    };
    let ((name, ip), (_, other)) = (address("server")?, address("other")?);
    let get = |path: &str| world.server.http(&ip, 8080, path);
    // Each request has an instance of its own: none sees what another has counted.
    for _ in 0..3 {
        ensure!(get("/")? == "good morning (1)\n");
    }
    ensure!(get("/env/GREETING")? == "good morning");
    ensure!(get("/file/data/greeting")? == "from the volume");
    let said = get(&format!("/fetch/{other}:8080"))?;
    ensure!(said == "good morning (1)\n", "{said}");
    has(&run(&format!("logs {name}"))?, &["GET /"])?;

    // One that takes all memory is refused more, one that aborts fails alone, and one that never ends stops no other.
    let said = get("/hog")?;
    let held: u64 = said.trim_end_matches(" MiB\n").parse().context(said.clone())?;
    ensure!((20..96).contains(&held), "{said}");
    ensure!(get("/trap").is_err(), "an aborted request was answered");
    has(&run(&format!("logs {name}"))?, &["a request failed"])?;
    let spinning = std::thread::scope(|scope| -> Result<()> {
        let spinning = scope.spawn(|| get("/spin"));
        for _ in 0..5 {
            ensure!(get("/")? == "good morning (1)\n");
        }
        ensure!(spinning.join().is_ok_and(|result| result.is_err()), "what never ends was answered");
        Ok(())
    });
    spinning?;
    let pods = kubectl.json(&["pods", "-l", "app=server"])?;
    for pod in pods["items"].as_array().context("pods")? {
        ensure!(pod["status"]["containerStatuses"][0]["restartCount"] == 0, "{}", pod["status"]);
    }
    // Both run in one process, which their status says; when that ends, both are started again.
    let hosts = || -> Result<Vec<_>> {
        let all = world.server.processes()?;
        Ok(all.into_iter().filter(|process| process.command == "wasm host").collect())
    };
    let [host] = &hosts()?[..] else { anyhow::bail!("{:?}", hosts()?) };
    for name in ["server", "other"] {
        let path =
            r#"jsonpath={.items[*].status.conditions[?(@.type=="runtime.dunlin.io/SharedProcess")].message}"#;
        let said = kubectl.run(&["get", "pods", "-l", &format!("app={name}"), "-o", path])?;
        has(&said, &["shares a process with other wasi:http containers"])?;
    }
    host.kill();
    for name in ["server", "other"] {
        wait::until("the pod is served for again", PATIENCE, || {
            let pods = kubectl.json(&["pods", "-l", &format!("app={name}")])?;
            let status = &pods["items"][0]["status"];
            ensure!(status["containerStatuses"][0]["restartCount"] == 1, "{status}");
            let ip = status["podIP"].as_str().context("an address")?;
            ensure!(world.server.http(ip, 8080, "/")? == "good morning (1)\n");
            Ok(())
        })?;
    }
    run("delete deployment server other --timeout=60s")?;
    wait::until("the shared process has ended", PATIENCE, || {
        let left = hosts()?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
}

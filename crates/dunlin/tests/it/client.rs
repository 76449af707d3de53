//! A client library of others: kube-rs over HTTPS, as a controller's author uses it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dunlin_testkit::cluster::{Dunlin, PATIENCE};
use dunlin_testkit::host::Lan;
use futures_util::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, AttachParams, DeleteParams, DynamicObject, EvictParams, ListParams, LogParams, Patch,
    PatchParams, PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::discovery::Discovery;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::World;

/// Runs the work of a client on the server's machine: on a thread of its own, which it puts there.
fn on_machine<T: Send + 'static, F: Future<Output = Result<()>>>(
    subject: T,
    server: fn(&T) -> &Dunlin,
    work: impl FnOnce(T, Client) -> F + Send + 'static,
) -> Result<()> {
    let thread = std::thread::spawn(move || {
        let _ = rustls::crypto::ring::default_provider().install_default();
        server(&subject).host.namespace().enter()?;
        let kubeconfig = Kubeconfig::read_from(server(&subject).data.path().join("kubeconfig.yaml"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let options = KubeConfigOptions::default();
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
            tokio::time::timeout(PATIENCE * 3, work(subject, Client::try_from(config)?)).await?
        })
    });
    thread.join().expect("it does not panic")
}

fn server() -> Result<(Lan, Dunlin)> {
    let lan = Lan::new()?;
    let server = Dunlin::server(&lan, &["--no-agent"])?;
    Ok((lan, server))
}

fn map(name: &str, data: &str) -> Result<ConfigMap> {
    let made = json!({"metadata": {"name": name, "labels": {"of": "test"}}, "data": {"value": data}});
    Ok(serde_json::from_value(made)?)
}

/// Code and reason of a refusal.
fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> Result<(u16, String)> {
    match result {
        Err(kube::Error::Api(status)) => Ok((status.code, status.reason.clone())),
        other => bail!("it is no refusal of the API: {other:?}"),
    }
}

/// Waits until `check` is content.
async fn until(what: &str, check: impl Fn() -> bool) -> Result<()> {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !check() {
        ensure!(tokio::time::Instant::now() < end, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[test]
fn objects_are_made_changed_found_and_refused() -> Result<()> {
    on_machine(
        server()?,
        |(_, server)| server,
        async |_world, client| {
            let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
            let post = PostParams::default();
            let made = maps.create(&post, &map("a", "1")?).await?;
            ensure!(made.uid().is_some() && made.creation_timestamp().is_some());
            ensure!(refusal(maps.get("none").await)? == (404, "NotFound".to_owned()));
            ensure!(maps.get_opt("none").await?.is_none());
            ensure!(refusal(maps.create(&post, &map("a", "1")?).await)? == (409, "AlreadyExists".to_owned()));
            ensure!(refusal(maps.create(&post, &map("A", "1")?).await)? == (422, "Invalid".to_owned()));

            let merge = Patch::Merge(json!({"data": {"value": "2"}}));
            maps.patch("a", &PatchParams::default(), &merge).await?;
            ensure!(
                refusal(maps.replace("a", &post, &made).await)? == (409, "Conflict".to_owned()),
                "it is stale"
            );
            let mut now = maps.get("a").await?;
            now.data = Some(BTreeMap::from([("value".to_owned(), "3".to_owned())]));
            maps.replace("a", &post, &now).await?;

            let config = |value: &str| {
                Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": value}}))
            };
            let (mine, yours) = (PatchParams::apply("mine"), PatchParams::apply("yours"));
            ensure!(
                refusal(maps.patch("a", &mine, &config("4")).await)? == (409, "Conflict".to_owned()),
                "owned by others"
            );
            maps.patch("a", &mine.clone().force(), &config("4")).await?;
            maps.patch("a", &mine, &config("5")).await?;
            ensure!(refusal(maps.patch("a", &yours, &config("6")).await)? == (409, "Conflict".to_owned()));
            let kept = maps.get("a").await?;
            ensure!(kept.data.as_ref().is_some_and(|data| data["value"] == "5"), "{kept:?}");

            for number in 0..25 {
                maps.create(&post, &map(&format!("many-{number}"), "x")?).await?;
            }
            let (mut names, mut token) = (Vec::new(), None);
            loop {
                let mut params = ListParams::default().labels("of=test").limit(10);
                params.continue_token = token;
                let page = maps.list(&params).await?;
                names.extend(page.items.iter().map(ResourceExt::name_any));
                token = page.metadata.continue_.filter(|token| !token.is_empty());
                if token.is_none() {
                    break;
                }
            }
            ensure!(names.len() == 26, "{names:?}");
            ensure!(maps.list_metadata(&ListParams::default().labels("of=test")).await?.items.len() == 26);
            maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("of=test"))
                .await?;
            ensure!(maps.list(&ListParams::default().labels("of=test")).await?.items.is_empty());
            Ok(())
        },
    )
}

#[test]
fn what_is_defined_is_discovered_and_used_without_a_type() -> Result<()> {
    on_machine(
        server()?,
        |(_, server)| server,
        async |_world, client| {
            let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
            "properties": {"size": {"type": "integer", "default": 3, "minimum": 1}}}}});
            let definition = json!({"metadata": {"name": "ships.example.com"}, "spec": {"group": "example.com",
            "scope": "Namespaced", "names": {"plural": "ships", "kind": "Ship", "singular": "ship"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}}}]}});
            let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
            definitions.create(&PostParams::default(), &serde_json::from_value(definition)?).await?;
            await_condition(definitions, "ships.example.com", conditions::is_crd_established()).await?;

            let discovery = Discovery::new(client.clone()).run().await?;
            ensure!(discovery.groups().any(|group| group.name() == "apps"));
            let kind = GroupVersionKind::gvk("example.com", "v1", "Ship");
            let (resource, capabilities) = discovery.resolve_gvk(&kind).context("it is not discovered")?;
            ensure!(
                resource.plural == "ships" && capabilities.subresources.iter().any(|(r, _)| r.kind == "Ship")
            );
            let ships: Api<DynamicObject> = Api::default_namespaced_with(client, &resource);
            let ship = DynamicObject::new("one", &resource).data(json!({"spec": {}}));
            let made = ships.create(&PostParams::default(), &ship).await?;
            ensure!(made.data["spec"]["size"] == 3, "{:?}", made.data);
            let status = Patch::Merge(json!({"status": {"at": "sea"}, "spec": {"size": 9}}));
            let known = ships.patch_status("one", &PatchParams::default(), &status).await?;
            ensure!(known.data["spec"]["size"] == 3, "only the status is changed: {:?}", known.data);
            let wrong = Patch::Merge(json!({"spec": {"size": 0}}));
            ensure!(
                refusal(ships.patch("one", &PatchParams::default(), &wrong).await)?
                    == (422, "Invalid".to_owned())
            );
            let by_hand = ApiResource::from_gvk(&kind);
            ensure!(by_hand.plural == resource.plural);
            Ok(())
        },
    )
}

#[test]
fn a_reflector_and_a_controller_live_through_a_restart() -> Result<()> {
    on_machine(
        server()?,
        |(_, server)| server,
        async |mut world, client| {
            let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
            let chosen = watcher::Config::default().labels("of=test");
            let (store, writer) = reflector::store();
            let seen =
                reflector(writer, watcher(maps.clone(), chosen.clone())).default_backoff().touched_objects();
            let reflecting = tokio::spawn(seen.for_each(|_| std::future::ready(())));
            let reconcile = async |map: Arc<ConfigMap>, client: Arc<Client>| {
                let maps: Api<ConfigMap> = Api::default_namespaced((*client).clone());
                let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"done": "yes"}});
                let params = PatchParams::apply("controller");
                maps.patch(&map.name_any(), &params, &Patch::Apply(config)).await?;
                Ok::<_, kube::Error>(Action::await_change())
            };
            let again = |_, _: &kube::Error, _| Action::requeue(Duration::from_millis(100));
            let running = Controller::new(maps.clone(), chosen).run(
                move |m, c| Box::pin(reconcile(m, c)),
                again,
                Arc::new(client),
            );
            let controlling = tokio::spawn(running.for_each(|_| std::future::ready(())));
            store.wait_until_ready().await?;
            let is_done = |name: &str| {
                let found = store.state().into_iter().find(|map| map.name_any() == name);
                found.is_some_and(|map| map.data.as_ref().is_some_and(|data| data.get("done").is_some()))
            };

            maps.create(&PostParams::default(), &map("before", "1")?).await?;
            until("the first object", || is_done("before")).await?;
            world.1.kill();
            let away = maps.get("before").await;
            ensure!(
                matches!(away, Err(ref e) if !matches!(e, kube::Error::Api(_))),
                "nobody answers: {away:?}"
            );
            world.1.start()?;
            let end = tokio::time::Instant::now() + PATIENCE;
            while let Err(error) = maps.create(&PostParams::default(), &map("after", "2")?).await {
                ensure!(tokio::time::Instant::now() < end, "{error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            until("an object that was made after the restart", || is_done("after") && is_done("before"))
                .await?;
            maps.delete("before", &DeleteParams::default()).await?;
            until("its end", || store.state().len() == 1).await?;
            reflecting.abort();
            controlling.abort();
            Ok(())
        },
    )
}

#[test]
fn sessions_with_pods_go_over_web_sockets() -> Result<()> {
    on_machine(
        World::new()?,
        |world| &world.server,
        async |_world, client| {
            let pods: Api<Pod> = Api::default_namespaced(client);
            let script = "echo ready; while read line; do echo got $line; done; echo end";
            let pod = json!({"metadata": {"name": "p"}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [
                {"name": "sh", "image": "busybox:test", "stdin": true, "stdinOnce": true, "command": ["sh", "-c", script]},
                {"name": "echo", "image": "hello:test", "args": ["echo", "9000"],
                    "readinessProbe": {"tcpSocket": {"port": 9000}, "periodSeconds": 1}},
            ]}});
            pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
            let ready = |pod: Option<&Pod>| {
                let status = pod.and_then(|pod| serde_json::to_value(&pod.status).ok()).unwrap_or_default();
                let all = status["containerStatuses"].as_array().cloned().unwrap_or_default();
                all.len() == 2 && all.iter().all(|c| c["ready"] == Value::Bool(true))
            };
            await_condition(pods.clone(), "p", ready).await?;

            let of = |container: &str| AttachParams::default().container(container);
            let mut run =
                pods.exec("p", ["sh", "-c", "cat; echo err >&2; exit 3"], &of("sh").stdin(true)).await?;
            let mut input = run.stdin().context("no stdin")?;
            input.write_all(b"through\n").await?;
            input.shutdown().await?;
            drop(input);
            let (mut out, mut err) = (String::new(), String::new());
            run.stdout().context("no stdout")?.read_to_string(&mut out).await?;
            run.stderr().context("no stderr")?.read_to_string(&mut err).await?;
            let status = run.take_status().context("no status")?.await.context("no status came")?;
            ensure!((out.as_str(), err.as_str()) == ("through\n", "err\n"), "{out:?} {err:?}");
            let code =
                status.details.and_then(|d| d.causes).and_then(|mut c| c.pop()).and_then(|c| c.message);
            ensure!(code.as_deref() == Some("3"), "{code:?}");

            let mut ports = pods.portforward("p", &[9000]).await?;
            let mut stream = ports.take_stream(9000).context("no stream")?;
            stream.write_all(b"hello").await?;
            let mut back = [0; 5];
            stream.read_exact(&mut back).await?;
            ensure!(&back == b"hello");
            drop(stream);

            let following = LogParams { container: Some("sh".into()), follow: true, ..LogParams::default() };
            let mut lines = pods.log_stream("p", &following).await?.lines();
            ensure!(lines.try_next().await?.as_deref() == Some("ready"));
            let mut attached = pods.attach("p", &of("sh").stdin(true).stderr(false)).await?;
            let mut input = attached.stdin().context("no stdin")?;
            input.write_all(b"word\n").await?;
            ensure!(lines.try_next().await?.as_deref() == Some("got word"), "the log goes on");
            drop(input);
            drop(attached);

            ensure!(refusal(pods.logs("none", &LogParams::default()).await)? == (404, "NotFound".to_owned()));
            pods.evict("p", &EvictParams::default()).await?;
            await_condition(pods.clone(), "p", |pod: Option<&Pod>| pod.is_none()).await?;
            Ok(())
        },
    )
}

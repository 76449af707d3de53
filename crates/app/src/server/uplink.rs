//! A server below another: it joins its parent as one node and keeps the tunnel on which the parent calls.

use std::path::PathBuf;
use std::sync::Arc;

use dunlin_apiserver::NodeDialer;
use dunlin_base::error::chain;
use dunlin_base::task::Task;
use dunlin_driver::SchedulerHandle;
use dunlin_tunnel::dial;
use dunlin_uplink::{Config, Contact, Dial, Expose, Level, Uplink, UplinkHandle};
use http_body_util::BodyExt;

use crate::error::{Doing, Error};
use crate::join;
use crate::join::member::Member;
use crate::options::times::Times;

/// A running uplink with its tunnel.
pub struct Running {
    pub handle: Arc<UplinkHandle>,
    /// The way to the pods' home APIs.
    pub above: dial::Target,
    _tasks: [Task; 2],
}

/// What is known of the parent.
pub struct Parent {
    pub member: Arc<Member>,
    pub expose: Expose,
    pub area: Option<String>,
    pub times: Times,
    /// What a start of the machine forgets.
    pub run_dir: PathBuf,
}

/// Starts the uplink and dials the parent. The parent being away keeps nothing here from working.
pub fn start(
    parent: Parent,
    child: kube::Client,
    scheduler: SchedulerHandle,
    dialer: Arc<dyn NodeDialer>,
) -> Result<Running, Error> {
    let Parent { member, expose, area, times, run_dir } = parent;
    let membership = member.membership();
    let (host, port) = join::endpoint(&membership.server)?;
    let level =
        Level { parent: name_of(&membership.ca_pem)?, node: membership.node_name.clone(), area, expose };
    let client = member.client()?;
    let config = Config {
        settle: times.uplink_settle(),
        unplaced: times.uplink_unplaced(),
        successor: times.uplink_successor(),
        contact: Some(Contact { file: run_dir.join("uplink-contact"), interval: times.contact() }),
        ..Config::new(level)
    };
    let (handle, service) = Uplink::start(config, client, child, scheduler, through(dialer));
    let handle = Arc::new(handle);

    let target =
        dial::Target { host: host.clone(), port, tls: Arc::new(member.tls(&[dunlin_tunnel::ALPN])?) };
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let service = service.clone();
        async move {
            let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            Ok::<_, std::convert::Infallible>(service.handle(request).await)
        }
    });
    let watched = handle.clone();
    let options = dial::Options {
        alive: Some(Arc::new(move || watched.alive())),
        ..crate::agent::dial_options(&times)
    };
    let tunnel = Task::spawn("uplink-tunnel", dial::run_with(target, service, options));
    let above = dial::Target { host, port, tls: Arc::new(member.tls(&[dunlin_apiserver::HOME_ALPN])?) };
    let rotation = Task::spawn("uplink-certificate", async move { member.rotate().await });
    Ok(Running { handle, above, _tasks: [tunnel, rotation] })
}

/// The parent's name, as its CA has it.
fn name_of(ca_pem: &str) -> Result<String, Error> {
    let chain = dunlin_pki::tls::certificates(ca_pem).doing("reading the parent's CA")?;
    let subject = chain
        .first()
        .map(|der| dunlin_pki::peer_subject(der))
        .transpose()
        .doing("reading the parent's CA")?;
    let name = subject.map(|subject| subject.user).unwrap_or_default();
    // It marks everything that is made for the parent, so it has to be a label's value.
    let name: String = name
        .trim_end_matches(" CA")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c.to_ascii_lowercase() } else { '-' })
        .take(40)
        .collect();
    let name = name.trim_matches('-');
    Ok(if name.is_empty() { "parent".to_owned() } else { name.to_owned() })
}

/// The way to this cluster's own nodes.
fn through(dialer: Arc<dyn NodeDialer>) -> Dial {
    Arc::new(move |node, request| {
        let call = dialer.call(node, request);
        Box::pin(async move { call.await.map_err(|error| chain(&error).to_string()) })
    })
}

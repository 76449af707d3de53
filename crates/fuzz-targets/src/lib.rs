//! Every parser of bytes that somebody else made, as a function that takes any bytes and panics on a broken promise.
//!
//! They stand here once and are run twice: by libFuzzer (`cargo xtask fuzz`, whose binaries in `fuzz/` are one line),
//! and by this crate's test, which replays the committed inputs of `fuzz/seeds/`. What a fuzzer finds becomes a file
//! there. Besides panics, overflows and endless loops, each target checks what its parser promises: what was read can be
//! written and read again, a request never ends in an internal error, a layer never leaves its folder.

mod api;
mod cri;
mod identity;
mod image;
mod node;
mod request;
mod store;
mod wire;
mod world;

/// A target: takes any bytes, panics when something is wrong.
pub type Target = fn(&[u8]);

/// All targets by name. The name is that of the binary in `fuzz/Cargo.toml` and of the folder in `fuzz/seeds/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("api_decode", api::decode),
    ("api_patch", api::patch),
    ("api_selector", api::selector),
    ("api_quantity", api::quantity),
    ("api_cel", api::cel),
    ("api_structural", api::structural),
    ("api_review", api::review),
    ("api_request", request::api),
    ("node_request", request::node),
    ("node_log", node::log),
    ("stream_frames", wire::stream),
    ("spdy_frames", wire::spdy),
    ("shim_wire", wire::shim),
    ("tokens", identity::tokens),
    ("key_sets", identity::key_sets),
    ("certificates", identity::certificates),
    ("store_etcd", store::etcd),
    ("cri_messages", cri::messages),
    ("image_layer", image::layer),
    ("image_archive", image::archive),
    ("simulate_world", world::file),
];

/// Runs the target of this name.
///
/// # Panics
/// When there is none, and when the target finds something wrong.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(n, _)| *n == name).expect("the target is in the table");
    target(data);
}

/// Runs a future to its end on this thread's own small runtime.
fn wait_for<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}

//! WebAssembly guests: the life of the contract, and what is particular to them. The payload program is the guest, as a
//! module and as a component.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use dunlin_runtime::contract::{self, Bench as Contract, Factory, listen, logs, until};
use dunlin_runtime::{
    ContainerId, ContainerSpec, ContainerState, Error, ExecSpec, Mount, Runtime, SandboxId, SandboxSpec,
};
use dunlin_runtime_oci::Kind;
use dunlin_testkit::program;
use futures_util::future::BoxFuture;
use std::sync::Arc;

use crate::bench::Bench;

mod contract_of_guests {
    use super::*;

    dunlin_runtime::contract_tests!(Guests::new(); life);
}

/// A bench whose images hold modules.
struct Guests(Bench);

impl Guests {
    fn new() -> Self {
        Self(Bench::new(Kind::Wasm))
    }
}

impl Factory for Guests {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Runtime>> {
        self.0.open()
    }

    fn layers(&self) -> Vec<PathBuf> {
        vec![rootfs()]
    }

    fn logs(&self) -> PathBuf {
        self.0.logs()
    }

    fn assert_clean(&self) {
        self.0.assert_clean();
    }
}

/// `/module.wasm`, `/component.wasm`, and the module once more as `/sleep`.
fn rootfs() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("guests-{}", std::process::id()));
        fs::create_dir_all(root.join("etc")).unwrap();
        let module = program::hello_module().unwrap();
        fs::copy(&module, root.join("hello.wasm")).unwrap();
        fs::copy(&module, root.join("sleep")).unwrap();
        fs::copy(program::hello_component().unwrap(), root.join("hello-component.wasm")).unwrap();
        fs::copy(program::http_component().unwrap(), root.join("http.wasm")).unwrap();
        // It says that it serves, and needs what nobody has.
        let needy = r#"(component (import "needed" (func)) (component $c) (instance $i (instantiate $c))
            (export "wasi:http/incoming-handler@0.2.0" (instance $i)))"#;
        fs::write(root.join("needy.wasm"), wat::parse_str(needy).unwrap()).unwrap();
        fs::write(root.join("etc/text"), "no module\n").unwrap();
        fs::write(root.join("broken.wasm"), b"\0asm\x01\0\0\0\xff\xff").unwrap();
        root
    })
    .clone()
}

const BOTH: [&str; 2] = ["/hello.wasm", "/hello-component.wasm"];

async fn run(case: impl AsyncFnOnce(&mut Contract<'_>)) {
    contract::run(&Guests::new(), case).await;
}

fn guest(bench: &Contract<'_>, name: &str, args: &[&str]) -> ContainerSpec {
    let mut spec = bench.spec(name, args);
    spec.env.push(("GREETING".into(), "good morning".into()));
    spec
}

#[tokio::test]
async fn codes_environment_and_streams() {
    run(async |bench| {
        let sandbox = bench.sandbox().await;
        for (n, program) in BOTH.into_iter().enumerate() {
            let run = async |name: &str, args: &[&str]| {
                let spec = guest(bench, &format!("{name}-{n}"), &[&[program], args].concat());
                bench.script_output(&sandbox, spec).await
            };
            let (status, text) = run("exit", &["exit", "7"]).await;
            // A component can say only that it failed.
            assert_eq!((status.code, text.as_str()), ([7, 1][n], "exiting with 7\n"));
            let (status, text) = run("env", &["env"]).await;
            assert_eq!(status.code, 0, "{text}");
            assert!(text.contains("GREETING=good morning\n"), "{text}");
            let (status, text) = run("abort", &["abort"]).await;
            assert_eq!(status.code, 134, "{text}");
            assert!(text.contains("unreachable"), "{text}");
            let (_, text) = run("print", &["print", "3"]).await;
            assert_eq!(text, "line 0\nline 1\nline 2\n");
        }
        let whole = fs::read_to_string(bench.log("exit-0")).unwrap();
        assert!(whole.contains(" stderr F exiting with 7"), "{whole}");
    })
    .await;
}

/// A guest sees its image and its volumes, and nothing by which it could leave its sandbox.
#[tokio::test]
async fn files() {
    run(async |bench| {
        let sandbox = bench.sandbox().await;
        let volume = bench.factory.logs().join("volume");
        fs::create_dir_all(&volume).unwrap();
        fs::write(volume.join("of-the-volume"), "read me\n").unwrap();
        for (n, program) in BOTH.into_iter().enumerate() {
            let mounted = |target: &str, read_only| Mount {
                source: volume.display().to_string(),
                target: target.into(),
                read_only,
                propagation: None,
            };
            let run = async |name: &str, args: &[&str]| {
                let mut spec = guest(bench, &format!("{name}-{n}"), &[&[program], args].concat());
                spec.mounts = vec![mounted("/data", false), mounted("/locked", true)];
                bench.script_output(&sandbox, spec).await
            };
            assert_eq!(run("image", &["read", "/etc/text"]).await.1, "no module\n");
            assert_eq!(run("volume", &["read", "/data/of-the-volume"]).await.1, "read me\n");
            assert_eq!(run("own", &["write", "/new", "text"]).await.1, "written\n");
            assert_eq!(run("written", &["write", &format!("/data/by-{n}"), "text"]).await.1, "written\n");
            assert_eq!(fs::read_to_string(volume.join(format!("by-{n}"))).unwrap(), "text");
            assert_eq!(run("locked", &["write", "/locked/by", "text"]).await.0.code, 1);
            for (m, path) in
                ["/proc/self/mem", "/proc/self/status", "/sys/kernel/notes", "/../../../etc/hostname"]
                    .into_iter()
                    .enumerate()
            {
                let (status, text) = run(&format!("secret-{m}"), &["read", path]).await;
                assert_eq!(status.code, 1, "{path}: {text}");
            }
        }
        assert!(!rootfs().join("new").exists(), "the image was written to");
    })
    .await;
}

/// Signals end a guest, even one that never listens.
#[tokio::test]
async fn signals() {
    run(async |bench| {
        let sandbox = bench.sandbox().await;
        for (n, program) in BOTH.into_iter().enumerate() {
            for (what, signal, code) in
                [("sleep", 15, 143), ("spin", 15, 143), ("spin", 2, 130), ("sleep", 9, 137)]
            {
                let name = format!("{what}-{signal}-{n}");
                let id = bench.start(&sandbox, guest(bench, &name, &[program, what])).await;
                bench.runtime().signal(&sandbox, &id, signal).await.unwrap();
                assert_eq!(bench.exited(&sandbox, &id).await.code, code, "{name}");
            }
        }
    })
    .await;
}

/// Memory that is not granted is a failed allocation inside the guest, and no kill from outside.
#[tokio::test]
async fn memory_and_processor_are_limited() {
    run(async |bench| {
        let sandbox = bench.sandbox().await;
        for (n, program) in BOTH.into_iter().enumerate() {
            let mut spec = guest(bench, &format!("hog-{n}"), &[program, "hog", "1000"]);
            spec.resources.memory_limit = Some(64 << 20);
            let (status, text) = bench.script_output(&sandbox, spec).await;
            assert!(!status.oom_killed && status.code == 134, "{status:?} {text}");
            assert!(text.contains("memory allocation"), "{text}");
            let mut spec = guest(bench, &format!("fits-{n}"), &[program, "hog", "30"]);
            spec.resources.memory_limit = Some(64 << 20);
            let id = bench.start(&sandbox, spec).await;
            until("the memory being held", async || {
                logs::content(&bench.log(&format!("fits-{n}"))) == "held 30 MiB\n"
            })
            .await;
            let stats = bench.runtime().stats(&sandbox, &id).await.unwrap();
            assert!(stats.memory_working_set > 30 << 20, "{stats:?}");
        }
        let mut spec = guest(bench, "spin", &["/hello.wasm", "spin"]);
        spec.resources.cpu_limit_milli = Some(100);
        let id = bench.start(&sandbox, spec).await;
        let used = async || bench.runtime().stats(&sandbox, &id).await.unwrap().cpu_nanoseconds;
        let (before, begun) = (used().await, std::time::Instant::now());
        tokio::time::sleep(Duration::from_secs(2)).await;
        let share = (used().await - before) as f64 / begun.elapsed().as_nanos() as f64;
        assert!((0.01..0.3).contains(&share), "{share}");
    })
    .await;
}

#[tokio::test]
async fn exec_runs_modules_of_the_image() {
    run(async |bench| {
        let sandbox = bench.sandbox().await;
        let id = bench.start(&sandbox, guest(bench, "app", &["/hello.wasm", "sleep"])).await;
        let begin = async |args: &[&str], stdin| {
            let args = args.iter().map(|a| (*a).to_owned()).collect();
            bench.runtime().exec(&sandbox, &id, ExecSpec { args, tty: false, stdin }).await
        };
        for (program, code) in BOTH.into_iter().zip([4, 1]) {
            let heard = listen(&mut begin(&[program, "exit", "4"], false).await.unwrap()).await;
            assert_eq!((heard.status.unwrap().code, heard.err.as_str()), (code, "exiting with 4\n"));
            let heard = listen(&mut begin(&[program, "env"], false).await.unwrap()).await;
            assert!(heard.out.contains("GREETING=good morning\n"), "{heard:?}");
            let mut session = begin(&[program, "cat"], true).await.unwrap();
            use dunlin_runtime::SessionInput;
            session.input.send(SessionInput::Stdin("typed".into())).await.unwrap();
            session.input.send(SessionInput::CloseStdin).await.unwrap();
            assert_eq!(listen(&mut session).await.out, "typed");
        }
        for (program, reason) in
            [("/etc/text", "no WebAssembly"), ("/missing", "no such file"), ("sh", "no such file")]
        {
            match begin(&[program], false).await {
                Err(Error::Command { command, reason: said }) => {
                    assert!(command == program && said.contains(reason), "{said}");
                }
                other => panic!("{program}: {other:?}"),
            }
        }
    })
    .await;
}

/// Each module is compiled once, and again when its code is damaged.
#[tokio::test]
async fn code_is_kept_and_checked() {
    let guests = Guests::new();
    let compiled = || {
        let versions = fs::read_dir(guests.0.path().join("data/compiled")).unwrap();
        let files = versions.flat_map(|version| fs::read_dir(version.unwrap().path()).unwrap());
        let code = files.map(|file| file.unwrap().path()).filter(|path| !path.ends_with("lock"));
        code.collect::<Vec<_>>()
    };
    contract::run(&guests, async |bench: &mut Contract<'_>| {
        let sandbox = bench.sandbox().await;
        let run = async |name: &str| {
            let (status, text) =
                bench.script_output(&sandbox, guest(bench, name, &["hello.wasm", "print", "1"])).await;
            assert_eq!((status.code, text.as_str()), (0, "line 0\n"), "{name}");
        };
        run("a").await;
        let files = compiled();
        let [file] = &files[..] else { panic!("{files:?}") };
        let whole = fs::read(file).unwrap();
        let modified = || fs::metadata(file).unwrap().modified().unwrap();
        let compiled_at = modified();
        run("b").await;
        assert!(modified() > compiled_at, "the code was not used again");
        assert_eq!(compiled(), files);
        let mut bytes = whole.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::write(file, bytes).unwrap();
        run("c").await;
        assert!(compiled() == files && fs::read(file).unwrap() == whole, "the damaged code is still there");
    })
    .await;
}

/// Pods of one tenant with a server each.
struct Servers<'a, 'b> {
    bench: &'a mut Contract<'b>,
    guests: &'a Guests,
}

impl Servers<'_, '_> {
    async fn sandbox(&self, tenant: &str) -> SandboxId {
        let spec = SandboxSpec { tenant: tenant.into(), privileged: false, ..self.bench.sandbox_spec() };
        self.bench.runtime().create_sandbox(spec).await.unwrap().id
    }

    async fn start(
        &self,
        sandbox: &SandboxId,
        change: impl FnOnce(&mut ContainerSpec),
    ) -> (ContainerId, u32) {
        let mut spec = guest(self.bench, "server", &["/http.wasm"]);
        spec.log_path = self.log(sandbox);
        change(&mut spec);
        let status = self.bench.runtime().start_container(sandbox, spec).await.unwrap();
        let ContainerState::Running { pid, .. } = status.state else { panic!("{status:?}") };
        (status.id, pid)
    }

    fn log(&self, sandbox: &SandboxId) -> PathBuf {
        self.bench.factory.logs().join(&sandbox.0)
    }

    /// The processes that run guests, and nothing else.
    fn hosts(&self) -> Vec<i32> {
        let groups = self.guests.0.cgroups().into_iter().filter(|group| group.ends_with("wasm-hosts"));
        let texts = groups.filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok());
        // Each hierarchy has them.
        let all: BTreeSet<i32> = texts
            .flat_map(|text| text.lines().map(|line| line.parse().unwrap()).collect::<Vec<_>>())
            .collect();
        all.into_iter().collect()
    }
}

/// What a server in the network of a process answers.
fn get(pid: u32, path: &str) -> String {
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET {path} HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n' >&3; cat <&3"
    );
    let output = std::process::Command::new("nsenter")
        .args(["-n", "-t", &pid.to_string(), "timeout", "20", "bash", "-c", &script])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
}

async fn servers(case: impl AsyncFnOnce(&mut Servers<'_, '_>)) {
    let guests = Guests::new();
    contract::run(&guests, async |bench: &mut Contract<'_>| {
        case(&mut Servers { bench, guests: &guests }).await;
    })
    .await;
}

#[tokio::test]
async fn servers_of_a_tenant_share_a_process() {
    servers(async |servers| {
        let (a, b, c) = (
            servers.sandbox("default/web").await,
            servers.sandbox("default/web").await,
            servers.sandbox("default/other").await,
        );
        let (one, first) = servers.start(&a, |spec| spec.uid = 1000).await;
        let (two, second) = servers.start(&b, |_| ()).await;
        let [host] = servers.hosts()[..] else { panic!("{:?}", servers.hosts()) };
        let (_, third) = servers.start(&c, |_| ()).await;
        assert_eq!(servers.hosts().len(), 2, "tenants share a process");

        // Each has its own network, files, user, environment and log.
        for pid in [first, second, third] {
            assert_eq!(get(pid, "/"), "good morning (1)\n");
            assert_eq!(get(pid, "/file/etc/text"), "no module\n");
            assert_eq!(get(pid, "/env/GREETING"), "good morning");
        }
        for path in ["/file/proc/self/status", "/file/../../proc/self/status"] {
            assert!(!get(first, path).contains("Pid:"), "{path}");
        }
        assert_eq!(logs::content(&servers.log(&a)).matches("GET /\n").count(), 1);
        let used = servers.bench.runtime().stats(&a, &one).await.unwrap();
        assert!(used.cpu_nanoseconds > 0 && used.memory_working_set < 8 << 20, "{used:?}");
        let thread = thread_of(host, "http.wasm");
        assert!(
            thread.contains("Uid:\t1000\t1000") && thread.contains("CapEff:\t0000000000000000"),
            "{thread}"
        );
        assert!(thread.contains("Seccomp:\t2"), "{thread}");
        let remark = servers.bench.runtime().remark(&a, &one).unwrap();
        assert!(remark.contains("shares a process"), "{remark}");

        // One ends with an answer, and by force; the others go on.
        servers.bench.runtime().signal(&a, &one, 15).await.unwrap();
        assert_eq!(servers.bench.exited(&a, &one).await.code, 0);
        assert_eq!(get(second, "/"), "good morning (1)\n");
        let (three, _) = servers.start(&a, |spec| spec.id = ContainerId("again".into())).await;
        assert!(servers.hosts().contains(&host));
        servers.bench.runtime().signal(&a, &three, 9).await.unwrap();
        assert_eq!(servers.bench.exited(&a, &three).await.code, 137);
        assert_eq!(get(second, "/"), "good morning (1)\n");

        // With the process all of its guests end, and nobody else.
        let process = rustix::process::Pid::from_raw(host).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
        assert_eq!(servers.bench.exited(&b, &two).await.code, 137);
        assert!(logs::content(&servers.log(&b)).contains("the process that served for this pod has ended"));
        assert_eq!(get(third, "/"), "good morning (1)\n");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_served_for_says_why() {
    servers(async |servers| {
        let sandbox = servers.sandbox("default/web").await;
        let refused = async |name: &str, change: &dyn Fn(&mut ContainerSpec)| {
            let mut spec = guest(servers.bench, name, &["/needy.wasm"]);
            change(&mut spec);
            match servers.bench.runtime().start_container(&sandbox, spec).await {
                Err(Error::Command { reason, .. }) => reason,
                other => panic!("{name}: {other:?}"),
            }
        };
        let reason = refused("needy", &|_| ()).await;
        assert!(reason.contains("`needed`"), "{reason}");
        let (_, pid) = servers.start(&sandbox, |_| ()).await;
        let reason = refused("second", &|spec| spec.args = vec!["/http.wasm".into()]).await;
        assert!(reason.starts_with("listening on port 8080: "), "{reason}");
        let reason = refused("many", &|spec| {
            spec.args = vec!["/http.wasm".into()];
            spec.ports = (9000..9065).collect();
        })
        .await;
        assert_eq!(reason, "it has more than 64 ports");
        assert_eq!(get(pid, "/"), "good morning (1)\n");
    })
    .await;
}

/// The status of the thread of a name.
fn thread_of(pid: i32, name: &str) -> String {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut all = threads.flatten().map(|thread| fs::read_to_string(thread.path().join("status")).unwrap());
    all.find(|status| status.starts_with(&format!("Name:\t{name}\n"))).expect("a thread of this name")
}

#[tokio::test]
async fn guests_of_a_shared_process_are_held_to_their_limits() {
    servers(async |servers| {
        let (greedy, modest) = (servers.sandbox("default/web").await, servers.sandbox("default/web").await);
        let (id, pid) = servers
            .start(&greedy, |spec| {
                spec.resources.memory_limit = Some(64 << 20);
                spec.resources.cpu_limit_milli = Some(100);
            })
            .await;
        let (_, other) = servers.start(&modest, |_| ()).await;
        let held = get(pid, "/hog");
        let held: u64 = held.trim_end_matches(" MiB\n").parse().unwrap_or_else(|_| panic!("{held}"));
        assert!((20..64).contains(&held), "{held} MiB of 64");
        // What a request has had is free again after it.
        until("the memory being given back", async || {
            servers.bench.runtime().stats(&greedy, &id).await.unwrap().memory_working_set < 20 << 20
        })
        .await;

        let spinning = std::thread::spawn(move || get(pid, "/spin"));
        let used = async || servers.bench.runtime().stats(&greedy, &id).await.unwrap().cpu_nanoseconds;
        let (before, begun) = (used().await, std::time::Instant::now());
        tokio::time::sleep(Duration::from_secs(2)).await;
        let share = (used().await - before) as f64 / begun.elapsed().as_nanos() as f64;
        assert!((0.01..0.3).contains(&share), "{share}");
        assert_eq!(get(other, "/"), "good morning (1)\n");
        // Even one that never ends ends with its container.
        servers.bench.runtime().signal(&greedy, &id, 9).await.unwrap();
        assert_eq!(servers.bench.exited(&greedy, &id).await.code, 137);
        spinning.join().unwrap();
        assert_eq!(get(other, "/"), "good morning (1)\n");
    })
    .await;
}

#[tokio::test]
async fn what_is_no_module_says_so() {
    run(async |bench| {
        let sandbox = bench.sandbox().await;
        for (program, reason) in [
            ("/etc/text", "it is no WebAssembly module or component"),
            ("/missing.wasm", "no such file in the image"),
            ("/etc", "it is no file"),
            ("/broken.wasm", "compiling it failed: "),
        ] {
            match bench.runtime().start_container(&sandbox, bench.spec("app-0", &[program])).await {
                Err(Error::Command { reason: said, .. }) => {
                    assert!(said.starts_with(reason), "{program}: {said}")
                }
                other => panic!("{program}: {other:?}"),
            }
        }
        let mut spec = bench.spec("app-0", &["/hello.wasm"]);
        spec.privileged = true;
        match bench.runtime().start_container(&sandbox, spec).await {
            Err(Error::Spec { field, .. }) => assert_eq!(field, "privileged"),
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_machine_is_tried_once() {
    use dunlin_runtime_oci::probe;
    let bench = Bench::new(Kind::Wasm);
    let wrong = dunlin_runtime_oci::Config { executable: "/bin/false".into(), ..bench.config() };
    assert_eq!(probe::wasm(&wrong).await.unwrap_err(), "exit status: 1");
    probe::wasm(&bench.config()).await.unwrap();
    // It is known now.
    probe::wasm(&wrong).await.unwrap();
}

//! A network plugin (CNI) that does nothing, because Dunlin connects pods itself once their sandbox is there.
//!
//! A daemon makes no sandbox before a plugin has answered for it. This program answers when it is called by one of
//! `NAMES`: with an address that nobody has, and for `loopback` by switching the loopback device on. [`install`] puts
//! links of these names and a configuration where the daemon's own can point.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

/// The names by which the program is called as a plugin: ours, and the one that containerd calls for every sandbox.
const NAMES: [&str; 2] = ["dunlin-cni", LOOPBACK];
const LOOPBACK: &str = "loopback";
/// The versions of the protocol whose answers have this shape.
const VERSIONS: [&str; 4] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0"];
/// The longest configuration that is read, bytes.
const LONGEST: u64 = 1 << 20;
/// An address of the range for links, which is routed nowhere: the daemon wants one to be told.
const NO_ADDRESS: &str = "169.254.0.1/32";

/// Where a daemon's configuration points, below `folder`: plugins (`bin_dir`), and the list of them (`conf_dir`).
///
/// # Errors
/// When they cannot be written.
pub fn install(folder: &Path, program: &Path) -> io::Result<()> {
    let (plugins, lists) = (folder.join("bin"), folder.join("net.d"));
    fs::create_dir_all(&plugins)?;
    fs::create_dir_all(&lists)?;
    for name in NAMES {
        let link = plugins.join(name);
        if fs::read_link(&link).is_ok_and(|target| target == program) {
            continue;
        }
        let part = plugins.join(format!("{name}.new"));
        let _ = fs::remove_file(&part);
        symlink(program, &part)?;
        fs::rename(part, link)?;
    }
    let list = json!({"cniVersion": "0.4.0", "name": "dunlin", "plugins": [{"type": NAMES[0]}]});
    let (file, text) = (lists.join("10-dunlin.conflist"), format!("{list:#}\n"));
    // Daemons watch it, and look again whenever it is written.
    if fs::read_to_string(&file).is_ok_and(|there| there == text) { Ok(()) } else { fs::write(file, text) }
}

/// Answers and ends the process if it was called as a plugin. To be called before there is a second thread.
pub fn main_if_asked() {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (Ok(command), true) = (std::env::var("CNI_COMMAND"), NAMES.contains(&name.as_str())) else { return };
    let mut text = String::new();
    let read = io::stdin().take(LONGEST).read_to_string(&mut text);
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let (device, namespace) = (variable("CNI_IFNAME"), variable("CNI_NETNS"));
    let answered = read.map_err(|e| e.to_string()).and_then(|_| {
        if command == "ADD" && name == LOOPBACK {
            loopback_up(&namespace).map_err(|e| format!("switching on {LOOPBACK} of {namespace}: {e}"))?;
        }
        answer(&command, &text, &device, &namespace, name == LOOPBACK)
    });
    let code = match answered {
        Ok(answer) => {
            print!("{answer}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            print!("{}", json!({"cniVersion": "0.4.0", "code": 100, "msg": why}));
            ExitCode::FAILURE
        }
    };
    // Nothing is left to be dropped.
    std::process::exit(i32::from(code != ExitCode::SUCCESS));
}

/// What is printed for a command.
fn answer(
    command: &str,
    text: &str,
    device: &str,
    namespace: &str,
    loopback: bool,
) -> Result<String, String> {
    if command == "VERSION" {
        return Ok(json!({"cniVersion": "1.0.0", "supportedVersions": VERSIONS}).to_string());
    }
    let config: Value =
        serde_json::from_str(text).map_err(|e| format!("the configuration is no JSON: {e}"))?;
    let version = config["cniVersion"].as_str().unwrap_or_default();
    if !VERSIONS.contains(&version) {
        return Err(format!("version {version:?} of the configuration is not one of {VERSIONS:?}"));
    }
    match command {
        "ADD" => {
            let address = if loopback { "127.0.0.1/8" } else { NO_ADDRESS };
            let mut ip = json!({"address": address, "interface": 0});
            if version != "1.0.0" {
                ip["version"] = json!("4");
            }
            let interface = json!({"name": device, "sandbox": namespace});
            Ok(json!({"cniVersion": version, "interfaces": [interface], "ips": [ip]}).to_string())
        }
        "CHECK" | "DEL" => Ok(String::new()),
        other => Err(format!("the command {other:?} is not known")),
    }
}

/// Switches the loopback device of a network namespace on.
fn loopback_up(namespace: &str) -> io::Result<()> {
    let file = fs::File::open(namespace)?;
    rustix::thread::move_into_link_name_space(
        std::os::fd::AsFd::as_fd(&file),
        Some(rustix::thread::LinkNameSpaceType::Network),
    )?;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: an ifreq is plain bytes, for which zero is a value; name and flags are then set.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: the socket is open, and the request outlives the call, which reads it.
    let code = unsafe { libc::ioctl(descriptor, libc::SIOCSIFFLAGS as _, &raw const request) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_the_version_that_was_asked() {
        let ask = |command: &str, text: &str| answer(command, text, "eth0", "/n", false);
        let old: Value = serde_json::from_str(&ask("ADD", r#"{"cniVersion":"0.4.0"}"#).unwrap()).unwrap();
        assert_eq!((&old["ips"][0]["version"], &old["interfaces"][0]["name"]), (&json!("4"), &json!("eth0")));
        let new: Value = serde_json::from_str(&ask("ADD", r#"{"cniVersion":"1.0.0"}"#).unwrap()).unwrap();
        assert_eq!(new["ips"][0]["version"], Value::Null);
        assert_eq!(ask("DEL", r#"{"cniVersion":"0.3.1"}"#).unwrap(), "");
        assert!(ask("VERSION", "").unwrap().contains("0.3.1"));
        for (command, text, why) in [
            ("ADD", "{", "no JSON"),
            ("ADD", r#"{"cniVersion":"9"}"#, "\"9\""),
            ("GO", r#"{"cniVersion":"1.0.0"}"#, "GO"),
        ] {
            assert!(ask(command, text).unwrap_err().contains(why), "{command} {text}");
        }
    }

    #[test]
    fn installing_again_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for program in ["/bin/a", "/bin/b", "/bin/b"] {
            install(folder.path(), Path::new(program)).unwrap();
            assert_eq!(fs::read_link(folder.path().join("bin/loopback")).unwrap(), Path::new(program));
        }
        assert!(
            fs::read_to_string(folder.path().join("net.d/10-dunlin.conflist"))
                .unwrap()
                .contains("dunlin-cni")
        );
    }
}

//! The container's root file system: an overlay over the image's layers, in a mount namespace of this process only.
//!
//! The host never sees the mount, so a crash at any point leaks nothing: with the last process it is gone.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount, move_mount,
};

use super::Failed;
use crate::bundle::Bundle;

/// Leaves the mount namespace and mounts the overlay on `target`.
pub fn mount_root(bundle: &Bundle, directory: &Path, target: &Path) -> Result<(), Failed> {
    // SAFETY: this process has one thread, and it has shared nothing that the new namespace would pull away.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
        .map_err(|e| Failed::create("making a mount namespace", e))?;
    for layer in &bundle.layers {
        if !layer.is_dir() {
            return Err(Failed::create(
                "mounting the root file system",
                format!("no layer {}", layer.display()),
            ));
        }
    }
    match modern(bundle, target) {
        Ok(()) => Ok(()),
        // Before Linux 6.5 layers cannot be given one by one.
        Err(_) => {
            legacy(bundle, directory, target).map_err(|e| Failed::create("mounting the root file system", e))
        }
    }
}

/// By the new mount API, which takes layers one by one and so any number of any length.
fn modern(bundle: &Bundle, target: &Path) -> rustix::io::Result<()> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for layer in bundle.layers.iter().rev() {
        fsconfig_set_string(fs.as_fd(), "lowerdir+", layer)?;
    }
    fsconfig_set_string(fs.as_fd(), "upperdir", &bundle.upper)?;
    fsconfig_set_string(fs.as_fd(), "workdir", &bundle.work)?;
    // What a container writes is worthless after a crash of the machine, so nothing has to be synced.
    fsconfig_set_flag(fs.as_fd(), "volatile")?;
    fsconfig_create(fs.as_fd())?;
    let mounted = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    move_mount(mounted.as_fd(), "", rustix::fs::CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// By mount(2), whose options must fit into a page: layers go by short names in the bundle.
fn legacy(bundle: &Bundle, directory: &Path, target: &Path) -> io::Result<()> {
    std::env::set_current_dir(directory)?;
    let mut names = Vec::new();
    for (n, layer) in bundle.layers.iter().enumerate().rev() {
        let name = format!("l{n}");
        link(layer, &name)?;
        names.push(name);
    }
    link(&bundle.upper, "u")?;
    link(&bundle.work, "w")?;
    let options = format!("lowerdir={},upperdir=u,workdir=w", names.join(":"));
    let volatile = format!("{options},volatile");
    let flags = rustix::mount::MountFlags::empty();
    let text = |s: &str| std::ffi::CString::new(s).map_err(io::Error::from);
    let (volatile, options) = (text(&volatile)?, text(&options)?);
    // `volatile` came with Linux 5.10.
    mount("overlay", target, "overlay", flags, volatile.as_c_str())
        .or_else(|_| mount("overlay", target, "overlay", flags, options.as_c_str()))?;
    std::env::set_current_dir("/")
}

fn link(to: &Path, name: &str) -> io::Result<()> {
    match symlink(to, name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Makes a directory with its parents inside a root, never leaving it by a symbolic link of the image.
pub fn make_directory(root: &Path, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    use rustix::fs::{Gid, Mode, OFlags, ResolveFlags, Uid, fchown, mkdirat, open, openat2};
    let open_flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    let root = open(root, open_flags, Mode::empty())?;
    let at = |path: &Path| openat2(&root, path, open_flags, Mode::empty(), ResolveFlags::IN_ROOT);
    if at(path).is_ok() {
        return Ok(());
    }
    let mut done = std::path::PathBuf::from("/");
    for part in path.components().skip(1) {
        let std::path::Component::Normal(name) = part else { continue };
        let parent = at(&done)?;
        done.push(name);
        if at(&done).is_err() {
            mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
            fchown(at(&done)?, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_stay_in_their_root() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        symlink(outside.path(), root.path().join("out")).unwrap();
        symlink("/real", root.path().join("in")).unwrap();
        std::fs::create_dir(root.path().join("real")).unwrap();
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        make_directory(root.path(), Path::new("/in/a/b"), uid, gid).unwrap();
        assert!(root.path().join("real/a/b").is_dir());
        // The link's target does not exist inside the root.
        assert!(make_directory(root.path(), Path::new("/out/x"), uid, gid).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}

//! Layers as builders make them, and as an enemy would.

use std::ffi::OsStr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use super::*;

struct Layer(Vec<u8>);

struct Item<'a> {
    path: &'a str,
    kind: u8,
    link: &'a str,
    data: &'a [u8],
    mode: u32,
    pax: &'a [(&'a str, &'a [u8])],
}

fn item(path: &str, kind: u8) -> Item<'_> {
    Item { path, kind, link: "", data: b"", mode: 0o644, pax: &[] }
}

fn file<'a>(path: &'a str, data: &'a str) -> Item<'a> {
    Item { data: data.as_bytes(), ..item(path, b'0') }
}

fn link<'a>(path: &'a str, kind: u8, link: &'a str) -> Item<'a> {
    Item { link, ..item(path, kind) }
}

fn dir(path: &str) -> Item<'_> {
    Item { mode: 0o750, ..item(path, b'5') }
}

impl Layer {
    fn of(items: &[Item<'_>]) -> Self {
        let mut layer = Self(Vec::new());
        for item in items {
            let mut records = Vec::new();
            for (key, value) in item.pax {
                let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
                let mut length = rest.len() + 1;
                while length.to_string().len() + rest.len() != length {
                    length += 1;
                }
                records.extend_from_slice(length.to_string().as_bytes());
                records.extend_from_slice(&rest);
            }
            if !records.is_empty() {
                layer.raw("pax", b'x', "", &records, 0o644);
            }
            layer.raw(item.path, item.kind, item.link, item.data, item.mode);
        }
        layer.0.resize(layer.0.len() + 1024, 0);
        layer
    }

    fn raw(&mut self, path: &str, kind: u8, link: &str, data: &[u8], mode: u32) {
        let mut header = tar::Header::new_ustar();
        // Written past the library's own checks: an enemy has none.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(data.len() as u64);
        header.set_mode(mode);
        header.set_uid(1234);
        header.set_gid(4321);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }
}

struct Place {
    dir: tempfile::TempDir,
    disk: Disk,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let disk = Disk::open(dir.path().join("images")).expect("open");
        Self { dir, disk }
    }

    fn unpack_limited(&self, bytes: &[u8], limits: Limits) -> Result<PathBuf, Error> {
        let blob = self.dir.path().join("blob");
        fs::write(&blob, bytes).expect("blob");
        let work = self.disk.work().expect("work");
        unpack(&self.disk, &work, &blob, &disk::digest_of(bytes), limits)
    }

    fn unpack(&self, items: &[Item<'_>]) -> Result<PathBuf, Error> {
        self.unpack_limited(&Layer::of(items).0, Limits::default())
    }
}

#[test]
fn keeps_what_files_are() {
    let place = Place::new();
    let capability: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let pax: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.security.capability", capability),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
    ];
    let fs_root = place
        .unpack(&[
            dir("./"),
            dir("bin/"),
            Item { mode: 0o4755, ..file("bin/tool", "x") },
            Item { pax, ..file("bin/ping", "y") },
            link("bin/hard", b'1', "bin/tool"),
            link("bin/soft", b'2', "/etc/target"),
            item("fifo", b'6'),
            item("null", b'3'),
            file("deep/er/file", "made parents"),
        ])
        .expect("unpack");
    let meta = |name: &str| fs::symlink_metadata(fs_root.join(name)).expect(name);
    let tool = meta("bin/tool");
    assert_eq!(
        (tool.mode() & 0o7777, tool.uid(), tool.gid(), tool.mtime()),
        (0o4755, 1234, 4321, 1_000_000_000)
    );
    assert_eq!(tool.ino(), meta("bin/hard").ino());
    assert_eq!(fs::read_link(fs_root.join("bin/soft")).expect("link"), Path::new("/etc/target"));
    assert_eq!((meta("bin").mode() & 0o7777, meta("bin").mtime()), (0o750, 1_000_000_000));
    assert_eq!((meta(".").permissions().mode() & 0o7777, meta(".").mtime()), (0o750, 1_000_000_000));
    assert!(meta("fifo").file_type().is_fifo());
    assert!(meta("deep/er").is_dir());
    let mut value = [0; 64];
    let n = rustix::fs::getxattr(fs_root.join("bin/ping"), "security.capability", &mut value)
        .expect("capability");
    assert_eq!(&value[..n], capability);
    assert!(rustix::fs::getxattr(fs_root.join("bin/ping"), "trusted.overlay.redirect", &mut value).is_err());
    assert_eq!(unpacked_size(fs_root.parent().expect("layer")), 14);
}

#[test]
fn deletions_become_overlay_marks() {
    let place = Place::new();
    let fs_root = place
        .unpack(&[
            dir("etc/"),
            item("etc/.wh.gone", b'0'),
            item("etc/.wh.back", b'0'),
            dir("etc/back"),
            file("etc/kept", "k"),
            item("etc/.wh.kept", b'0'),
            dir("opq"),
            item("opq/.wh..wh..opq", b'0'),
            item(".wh..wh.plnk", b'5'),
        ])
        .expect("unpack");
    let gone = fs::symlink_metadata(fs_root.join("etc/gone")).expect("whiteout");
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let opaque = |name: &str| {
        let mut value = [0; 8];
        rustix::fs::getxattr(fs_root.join(name), "trusted.overlay.opaque", &mut value)
            .map(|n| value[..n] == *b"y")
    };
    assert_eq!(opaque("opq"), Ok(true));
    assert_eq!(
        opaque("etc/back"),
        Ok(true),
        "a directory in the place of a deleted one hides what was below"
    );
    assert!(opaque("etc").is_err());
    assert_eq!(fs::read(fs_root.join("etc/kept")).expect("kept"), b"k");
    assert!(!fs_root.join(".wh..wh.plnk").exists());
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    let place = Place::new();
    let fs_root = place
        .unpack(&[
            dir("a"),
            file("a/x", "1"),
            file("a", "now a file"),
            link("b", b'2', "a"),
            file("b", "no longer a link"),
            file("c", "1"),
            dir("c"),
            file("c/y", "2"),
        ])
        .expect("unpack");
    assert_eq!(fs::read(fs_root.join("a")).expect("a"), b"now a file");
    assert_eq!(fs::read(fs_root.join("b")).expect("b"), b"no longer a link");
    assert_eq!(fs::read(fs_root.join("c/y")).expect("y"), b"2");
}

/// Unpacks something hostile beside a file that must not change; returns the error, if any.
fn attack(items: &[Item<'_>]) -> Result<PathBuf, Error> {
    let place = Place::new();
    let victim = place.dir.path().join("victim");
    fs::create_dir(&victim).expect("victim");
    fs::write(victim.join("passwd"), "safe").expect("victim");
    let result = place.unpack(items);
    assert_eq!(fs::read(victim.join("passwd")).expect("victim"), b"safe");
    assert_eq!(fs::read_dir(&victim).expect("victim").count(), 1, "nothing may appear outside of the layer");
    assert!(!Path::new("/dunlin-escaped").exists());
    if result.is_err() {
        let left = fs::read_dir(place.disk.layers()).expect("layers").count();
        assert_eq!(left, 0, "a refused layer must leave nothing");
    }
    result
}

#[test]
fn paths_cannot_climb_out() {
    for path in ["../../../victim/passwd", "a/../../../../victim/new", "../x"] {
        assert!(matches!(attack(&[file(path, "evil")]), Err(Error::HostileLayer { .. })), "{path}");
        assert!(matches!(attack(&[link("l", b'1', path)]), Err(Error::HostileLayer { .. })), "{path}");
    }
    // An absolute path is one inside the layer.
    attack(&[file("/dunlin-escaped", "x")]).expect("absolute");
}

#[test]
fn symlinks_lead_nowhere_outside() {
    let nowhere = attack(&[link("out", b'2', "../../../../victim"), file("out/new", "evil")]);
    assert!(matches!(nowhere, Err(Error::HostileLayer { .. })), "{nowhere:?}");
    attack(&[link("out", b'2', "/"), file("out/dunlin-escaped", "evil")]).expect("resolved inside");
    attack(&[link("passwd", b'2', "../../../../victim/passwd"), file("passwd", "evil")]).expect("replaced");
    attack(&[link("p", b'2', "../../../../victim/passwd"), link("h", b'1', "p")])
        .expect("a link to the link");
    let planted = attack(&[link("d", b'2', "../../../../victim"), item("d/.wh.passwd", b'0')]);
    assert!(matches!(planted, Err(Error::HostileLayer { .. })), "{planted:?}");
    let looped = attack(&[link("a", b'2', "b"), link("b", b'2', "a"), file("a/x", "evil")]);
    assert!(matches!(looped, Err(Error::HostileLayer { .. })));
    let through_file = attack(&[file("f", ""), file("f/x", "evil")]);
    assert!(matches!(through_file, Err(Error::HostileLayer { .. })));
}

#[test]
fn limits_hold() {
    let place = Place::new();
    let items = [file("a", "12345"), file("b", "12345")];
    let bytes = Layer::of(&items).0;
    let with = |bytes: &[u8], limits| match place.unpack_limited(bytes, limits) {
        Err(Error::Limit { unit, .. }) => unit,
        other => panic!("{other:?}"),
    };
    assert_eq!(with(&bytes, Limits { bytes: 9, ..Limits::default() }), "bytes");
    assert_eq!(with(&bytes, Limits { entries: 1, ..Limits::default() }), "entries");
    let deep = format!("{}x", "d/".repeat(40));
    assert_eq!(
        with(&Layer::of(&[file(&deep, "")]).0, Limits { depth: 20, ..Limits::default() }),
        "path components"
    );
    // A header that promises more than the archive holds.
    let mut promised = Layer::of(&[file("a", "x")]).0;
    let mut header = tar::Header::new_ustar();
    header.set_path("a").expect("path");
    header.set_size(1 << 40);
    header.set_cksum();
    promised[..512].copy_from_slice(header.as_bytes());
    assert_eq!(with(&promised, Limits::default()), "bytes");
}

#[test]
fn a_wrong_digest_leaves_nothing() {
    let place = Place::new();
    let bytes = Layer::of(&[file("a", "x")]).0;
    let blob = place.dir.path().join("blob");
    fs::write(&blob, &bytes).expect("blob");
    let work = place.disk.work().expect("work");
    let wrong = disk::digest_of(b"something else");
    let result = unpack(&place.disk, &work, &blob, &wrong, Limits::default());
    assert!(matches!(result, Err(Error::Digest { .. })), "{result:?}");
    assert!(unpacked(&place.disk, &wrong).is_none());
    assert_eq!(fs::read_dir(place.disk.layers()).expect("layers").count(), 0);
}

#[test]
fn is_unpacked_once() {
    let place = Place::new();
    let first = place.unpack(&[file("a", "x")]).expect("unpack");
    fs::write(first.join("mark"), "").expect("mark");
    let second = place.unpack(&[file("a", "x")]).expect("again");
    assert_eq!(first, second);
    assert!(second.join("mark").exists());
    assert_eq!(first.file_name(), Some(OsStr::new("fs")));
}

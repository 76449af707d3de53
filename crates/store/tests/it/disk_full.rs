//! A full disk: writes fail and say so, reads and ephemeral writes go on, and writes succeed again when there is space.
//!
//! The disk is a small tmpfs in a mount namespace that only this test's threads are in, so nothing has to be cleaned
//! up. Without the right to mount, a limit on the database's size would not show how the log behaves, so the test
//! says that it exercised nothing.

use std::ffi::CString;
use std::path::Path;

use dunlin_store::sqlite::{Options, SqliteStore};
use dunlin_store::{Class, Error, Key, Scope, Store};

use crate::file::put;

fn mount_small(folder: &Path) -> std::io::Result<()> {
    let check = |result: i32| if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
    let target = CString::new(folder.as_os_str().as_encoded_bytes())?;
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: plain system calls on strings that live until they return.
    unsafe {
        check(libc::unshare(libc::CLONE_FS | libc::CLONE_NEWNS))?;
        check(libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()))?;
        let data = c"size=2m".as_ptr().cast();
        check(libc::mount(c"tmpfs".as_ptr(), target.as_ptr(), c"tmpfs".as_ptr(), 0, data))
    }
}

async fn scenario(folder: &Path) {
    let path = folder.join("store.db");
    let store = SqliteStore::open(&path, Options { checkpoint_pages: 64, ..Options::default() }).unwrap();
    let lease = || dunlin_store::Write { class: Class::Ephemeral, ..put("lease", b"beat".to_vec()) };
    store.write(lease()).await.unwrap();
    // Something else takes most of the disk.
    std::fs::write(folder.join("ballast"), vec![0u8; 512 * 1024]).unwrap();
    let mut written = Vec::new();
    let error = loop {
        let name = format!("{:04}", written.len());
        match store.write(put(&name, vec![b'v'; 3000])).await {
            Ok(_) => written.push(name),
            Err(error) => break error,
        }
        assert!(written.len() < 2000, "the disk must fill up");
    };
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    assert!(error.to_string().contains("free some space"), "{error}");
    let at = store.revision();

    for _ in 0..20 {
        assert!(store.write(put("more", vec![b'v'; 3000])).await.is_err());
    }
    assert_eq!(store.get(&Key::new("pods", "n", "more")).await.unwrap(), None);
    assert_eq!(store.revision(), at, "nothing was published");
    let listed = store.list(&Scope::resource("pods"), None, 0, None).await.unwrap();
    assert_eq!(listed.items.len(), written.len() + 1, "reads go on");
    assert!(store.write(lease()).await.unwrap().revision > at, "and so do heartbeats");

    std::fs::remove_file(folder.join("ballast")).unwrap();
    let entry = store.write(put("more", vec![b'v'; 3000])).await.expect("there is space again");
    assert!(entry.revision > at);
    written.push("more".to_owned());
    drop(store);

    let store = SqliteStore::open(&path, Options::default()).unwrap();
    let listed = store.list(&Scope::resource("pods"), None, 0, None).await.unwrap();
    let names: Vec<_> = listed.items.iter().map(|e| e.key.name.to_string()).collect();
    assert_eq!(names, written, "everything that was acknowledged, and nothing that was refused");
}

#[test]
fn a_full_disk_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let thread = std::thread::spawn(move || match mount_small(&path) {
        Ok(()) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(scenario(&path));
        }
        Err(error) => eprintln!("NOT EXERCISED: a small disk cannot be mounted here: {error}"),
    });
    thread.join().unwrap();
    // Not in the thread: where the disk is mounted, its folder cannot be removed.
    folder.close().unwrap();
}

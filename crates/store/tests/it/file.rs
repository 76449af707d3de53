//! The file itself: foreign, damaged, of another version, in use.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use dunlin_store::sqlite::{Options, SqliteStore};
use dunlin_store::{Change, Class, Error, Expect, Key, Store, Write};

fn open(path: &Path) -> Result<SqliteStore, Error> {
    SqliteStore::open(path, Options::default())
}

pub fn put(name: &str, value: Vec<u8>) -> Write {
    let value = Bytes::from(value);
    Write {
        key: Key::new("pods", "n", name),
        expect: Expect::Any,
        class: Class::Durable,
        tag: None,
        change: Change::Put(Box::new(move |_| value)),
    }
}

async fn filled(path: &Path) {
    let store = open(path).unwrap();
    for n in 0..200 {
        store.write(put(&n.to_string(), vec![b'v'; 1000])).await.unwrap();
    }
}

fn refused(path: &Path) -> Error {
    match open(path) {
        Ok(_) => panic!("{} must be refused", path.display()),
        Err(error) => error,
    }
}

#[tokio::test]
async fn only_its_owner_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/store.db");
    let store = open(&path).unwrap();
    store.write(put("a", b"secret".to_vec())).await.unwrap();
    for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}

#[tokio::test]
async fn another_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    filled(&path).await;
    let sql = rusqlite::Connection::open(&path).unwrap();
    sql.execute("UPDATE meta SET value = 99 WHERE key = 'version'", []).unwrap();
    drop(sql);
    let before = std::fs::read(&path).unwrap();
    let error = refused(&path);
    assert!(matches!(error, Error::Version { found: 99, supported: 1, .. }), "{error:?}");
    assert!(error.to_string().contains("run the version that wrote it"), "{error}");
    assert!(std::fs::read(&path).unwrap() == before, "the file is as it was");
}

#[tokio::test]
async fn damage_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.db");
    std::fs::write(&text, "this is no database, it is a letter to somebody. ".repeat(100)).unwrap();
    assert!(matches!(refused(&text), Error::Corrupt { .. }));

    let foreign = folder.path().join("foreign.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    let error = refused(&foreign);
    assert!(error.to_string().contains("something else"), "{error}");

    let path = folder.path().join("store.db");
    filled(&path).await;
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..middle + 8192] {
        *byte ^= 0x5a;
    }
    std::fs::write(&path, bytes).unwrap();
    let error = refused(&path);
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("restore it from a backup"), "{error}");
}

#[tokio::test]
async fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).unwrap();
    assert!(matches!(refused(&path), Error::InUse { .. }));
    drop(store);
    open(&path).unwrap();
}

#[tokio::test]
async fn ephemeral_writes_never_touch_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store.db")).unwrap();
    let beat = || Write { class: Class::Ephemeral, ..put("lease", b"beat".to_vec()) };
    // The first one of a resource leaves a note that there were some.
    store.write(beat()).await.unwrap();
    let before = store.stats();
    for _ in 0..1000 {
        store.write(beat()).await.unwrap();
    }
    let after = store.stats();
    assert_eq!((after.writes - before.writes, after.batches - before.batches), (1000, 0));
}

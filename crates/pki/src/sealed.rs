//! The keys that several servers of one cluster share, sealed for a place that others may read.
//!
//! Whoever reads the store must not become the cluster's authority, so its keys lie there encrypted (AES-256-GCM) with a key
//! that only the servers have, in a file of each.

use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::{Error, files};

/// What is sealed is for this and nothing else.
const PURPOSE: &[u8] = b"dunlin cluster keys 1";
/// Longer things are none of ours.
const LIMIT: usize = 64 * 1024;
/// The files of a server's key folder that are shared.
const FILES: [&str; 5] =
    ["ca.crt", "ca.key", "service-account.p8", "front-proxy/ca.crt", "front-proxy/ca.key"];

/// The key that seals.
pub struct ClusterKey(LessSafeKey);

impl ClusterKey {
    /// The key in `file`; `None` if there is no such file.
    ///
    /// # Errors
    /// When it cannot be read, or is no key.
    pub fn open(file: &Path) -> Result<Option<Self>, Error> {
        let Some(text) = files::read(file)? else { return Ok(None) };
        let wrong = || {
            Error::malformed("cluster key", format!("{}: 64 hexadecimal digits are expected", file.display()))
        };
        let text = String::from_utf8(text).map_err(|_| wrong())?;
        let text = text.trim();
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let bytes: Option<Vec<u8>> =
            (0..32).map(|n| u8::from_str_radix(text.get(2 * n..2 * n + 2)?, 16).ok()).collect();
        Self::new(&bytes.ok_or_else(wrong)?).map(Some)
    }

    /// Makes one, and writes it to `file`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(file: &Path) -> Result<Self, Error> {
        let mut bytes = [0u8; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|e| Error::malformed("cluster key", e))?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        files::write(file, format!("{text}\n").as_bytes())?;
        Self::new(&bytes)
    }

    fn new(bytes: &[u8]) -> Result<Self, Error> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|e| Error::malformed("cluster key", e))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut nonce = [0u8; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|e| Error::malformed("cluster key", e))?;
        let mut sealed = plain.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(PURPOSE), &mut sealed)
            .map_err(|e| Error::malformed("cluster key", e))?;
        Ok([&nonce[..], &sealed].concat())
    }

    fn unseal(&self, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let wrong =
            || Error::malformed("cluster key", "it is not the one that the cluster's keys are sealed with");
        let (nonce, rest) =
            sealed.split_first_chunk::<NONCE_LEN>().filter(|_| sealed.len() <= LIMIT).ok_or_else(wrong)?;
        let mut rest = rest.to_vec();
        let plain = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(PURPOSE), &mut rest);
        Ok(plain.map_err(|_| wrong())?.to_vec())
    }
}

/// What is shared: the CA with its key, the key of service account tokens, and the CA that names users to extension servers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    files: Vec<Vec<u8>>,
}

impl Bundle {
    /// What is in a server's key folder.
    ///
    /// # Errors
    /// When a file is missing.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let read = |name: &str| {
            let path = folder.join(name);
            files::read(&path)?
                .ok_or_else(|| Error::malformed("key folder", format!("{} is missing", path.display())))
        };
        Ok(Self { files: FILES.into_iter().map(read).collect::<Result<_, _>>()? })
    }

    /// Writes it into a server's key folder, over what is there.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        for (name, bytes) in FILES.iter().zip(&self.files) {
            files::write(&folder.join(name), bytes)?;
        }
        Ok(())
    }

    /// Whether the folder holds the same CA, or none.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn belongs(&self, folder: &Path) -> Result<bool, Error> {
        let here = files::read(&folder.join(FILES[0]))?;
        Ok(here.is_none_or(|here| self.files.first() == Some(&here)))
    }

    /// Sealed with `key`.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn seal(&self, key: &ClusterKey) -> Result<Vec<u8>, Error> {
        key.seal(&serde_json::to_vec(self).map_err(|e| Error::malformed("cluster keys", e))?)
    }

    /// What [`Bundle::seal`] gave.
    ///
    /// # Errors
    /// When another key has sealed it, or it is damaged.
    pub fn unseal(sealed: &[u8], key: &ClusterKey) -> Result<Self, Error> {
        let bundle: Self =
            serde_json::from_slice(&key.unseal(sealed)?).map_err(|e| Error::malformed("cluster keys", e))?;
        if bundle.files.len() != FILES.len() {
            return Err(Error::malformed("cluster keys", "some are missing"));
        }
        Ok(bundle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_server_seals_another_opens_with_the_same_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        let authority = crate::Authority::open_or_create(&first, "c").unwrap();
        crate::jwt::Issuer::open_or_create(&first, "https://issuer").unwrap();
        let file = folder.path().join("cluster.key");
        assert!(ClusterKey::open(&file).unwrap().is_none());
        let made = ClusterKey::create(&file).unwrap();
        let mut sealed = Bundle::read(&first).unwrap().seal(&made).unwrap();
        assert!(!sealed.windows(11).any(|w| w == b"PRIVATE KEY"), "nothing readable");

        let key = ClusterKey::open(&file).unwrap().unwrap();
        let bundle = Bundle::unseal(&sealed, &key).unwrap();
        assert!(bundle.belongs(&second).unwrap());
        bundle.write(&second).unwrap();
        assert_eq!(crate::Authority::open_or_create(&second, "x").unwrap().ca_pem(), authority.ca_pem());
        crate::Authority::open_or_create(&folder.path().join("third"), "c").unwrap();
        assert!(!bundle.belongs(&folder.path().join("third")).unwrap());

        let other = ClusterKey::create(&folder.path().join("other.key")).unwrap();
        assert!(Bundle::unseal(&sealed, &other).is_err());
        *sealed.last_mut().unwrap() ^= 1;
        assert!(Bundle::unseal(&sealed, &key).is_err());
        assert!(Bundle::unseal(&sealed[..5], &key).is_err());
        std::fs::write(&file, "secret").unwrap();
        assert!(ClusterKey::open(&file).is_err());
    }
}

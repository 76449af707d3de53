//! Reading tar archives (ustar, GNU long names, PAX) from anyone, entry by entry, with every length bounded.
//!
//! Header fields are decoded by the `tar` crate; the extension records are read here, because the sizes that a stranger
//! writes into them must not decide how much memory we take. Sparse entries are refused: no image builder writes them.

use std::io::{self, Read};

/// The longest name, link target or PAX record set that is taken, bytes. Linux takes no longer path than 4 KiB; extended
/// attributes may be 64 KiB each.
const LONGEST_EXTENSION: u64 = 1 << 20;
const BLOCK: usize = 512;

/// An archive being read.
pub(crate) struct Tarball<R> {
    source: R,
    /// Bytes of the current entry's data that were not read yet, and of the padding after it.
    data: u64,
    padding: u64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink(Vec<u8>),
    Hardlink(Vec<u8>),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
}

/// One entry; its data is read through [`Tarball::data`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub path: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    pub size: u64,
    /// Extended attributes by full name (`security.capability`).
    pub xattrs: Vec<(String, Vec<u8>)>,
}

/// What the records before an entry say of it.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(String, Vec<u8>)>,
}

impl<R: Read> Tarball<R> {
    pub fn new(source: R) -> Self {
        Self { source, data: 0, padding: 0 }
    }

    /// The next entry, or `None` at the end of the archive. Data of the one before that was not read is skipped.
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_rest()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size()?;
            let kind = header.as_bytes()[156];
            self.expect(size);
            match kind {
                b'L' => extensions.path = Some(text(self.extension(size)?)),
                b'K' => extensions.link = Some(text(self.extension(size)?)),
                b'x' => pax(&self.extension(size)?, &mut extensions)?,
                // Global records speak of the archive (a commit id, say), not of files.
                b'g' => drop(self.extension(size)?),
                _ => return self.entry(&header, kind, size, extensions).map(Some),
            }
        }
    }

    /// The current entry's data.
    pub fn data(&mut self) -> Data<'_, R> {
        Data(self)
    }

    /// Reads what follows the archive's end, so that a digest of the whole stream can be taken.
    pub fn drain(&mut self) -> io::Result<()> {
        self.data = 0;
        self.padding = 0;
        io::copy(&mut self.source, &mut io::sink()).map(|_| ())
    }

    fn entry(
        &mut self,
        header: &tar::Header,
        kind: u8,
        size: u64,
        extensions: Extensions,
    ) -> io::Result<Entry> {
        let size = extensions.size.unwrap_or(size);
        let path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = || {
            extensions
                .link
                .clone()
                .or_else(|| header.link_name_bytes().map(|l| l.into_owned()))
                .ok_or_else(|| invalid("a link without a target"))
        };
        let device = || -> io::Result<(u32, u32)> {
            let major = field(header, 329..337, || Ok(header.device_major()?.unwrap_or(0)))?;
            Ok((major, field(header, 337..345, || Ok(header.device_minor()?.unwrap_or(0)))?))
        };
        let kind = match kind {
            0 | b'0' | b'7' if path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' => Kind::File,
            b'1' => Kind::Hardlink(link()?),
            b'2' => Kind::Symlink(link()?),
            b'3' => device().map(|(major, minor)| Kind::Char(major, minor))?,
            b'4' => device().map(|(major, minor)| Kind::Block(major, minor))?,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'S' => return Err(invalid("a sparse file; archive it without the sparse option")),
            other => return Err(invalid(&format!("an entry of the unknown type {:?}", char::from(other)))),
        };
        // Links carry the size of their target in some archives, and no data.
        let size = if kind == Kind::File { size } else { 0 };
        self.expect(size);
        let id = |id: u64| u32::try_from(id).map_err(|_| invalid("a user or group id beyond 32 bits"));
        Ok(Entry {
            path,
            kind,
            mode: field(header, 100..108, || header.mode())? & 0o7777,
            uid: extensions.uid.map_or_else(|| id(field(header, 108..116, || header.uid())?), Ok)?,
            gid: extensions.gid.map_or_else(|| id(field(header, 116..124, || header.gid())?), Ok)?,
            mtime: match extensions.mtime {
                Some(time) => time,
                None => (i64::try_from(field(header, 136..148, || header.mtime())?).unwrap_or(0), 0),
            },
            size,
            xattrs: extensions.xattrs,
        })
    }

    fn expect(&mut self, size: u64) {
        self.data = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > LONGEST_EXTENSION {
            return Err(invalid(&format!(
                "a name or header record of {size} bytes; at most {LONGEST_EXTENSION} are taken"
            )));
        }
        let mut bytes = Vec::new();
        self.data().read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn header(&mut self) -> io::Result<Option<tar::Header>> {
        let mut header = tar::Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(cut()),
                n => filled += n,
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum = block
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) });
        let sum: u32 = sum.sum();
        if header.cksum()? != sum {
            return Err(invalid("a header whose checksum is wrong"));
        }
        Ok(Some(header))
    }

    fn skip_rest(&mut self) -> io::Result<()> {
        let rest =
            self.data.checked_add(self.padding).ok_or_else(|| invalid("an entry of impossible size"))?;
        let skipped = io::copy(&mut (&mut self.source).take(rest), &mut io::sink())?;
        self.data = 0;
        self.padding = 0;
        if skipped == rest { Ok(()) } else { Err(cut()) }
    }
}

/// Reads the current entry's data; an archive that ends before is an error.
pub(crate) struct Data<'a, R>(&'a mut Tarball<R>);

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.0.data).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let n = self.0.source.read(&mut buffer[..most])?;
        if n == 0 {
            return Err(cut());
        }
        self.0.data -= n as u64;
        Ok(n)
    }
}

/// Reads `<length> <key>=<value>\n` records.
fn pax(mut bytes: &[u8], into: &mut Extensions) -> io::Result<()> {
    while !bytes.is_empty() {
        let broken = || invalid("a PAX record that is broken");
        let space = bytes.iter().position(|b| *b == b' ').ok_or_else(broken)?;
        let length: usize =
            std::str::from_utf8(&bytes[..space]).ok().and_then(|t| t.parse().ok()).ok_or_else(broken)?;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(broken());
        }
        let record = &bytes[space + 1..length - 1];
        bytes = &bytes[length..];
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(broken)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        let number = || std::str::from_utf8(value).ok().ok_or_else(broken);
        match key {
            b"path" => into.path = Some(value.to_vec()),
            b"linkpath" => into.link = Some(value.to_vec()),
            b"size" => into.size = Some(number()?.parse().map_err(|_| broken())?),
            b"uid" => into.uid = Some(number()?.parse().map_err(|_| broken())?),
            b"gid" => into.gid = Some(number()?.parse().map_err(|_| broken())?),
            b"mtime" => into.mtime = Some(time(number()?).ok_or_else(broken)?),
            key if key.starts_with(b"GNU.sparse.") => {
                return Err(invalid("a sparse file; archive it without the sparse option"));
            }
            key => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    let name = String::from_utf8(name.to_vec()).map_err(|_| broken())?;
                    into.xattrs.push((name, value.to_vec()));
                }
            }
        }
    }
    Ok(())
}

/// `seconds[.fraction]`; a time before 1970 is taken as 1970.
fn time(text: &str) -> Option<(i64, u32)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().ok()?;
    if seconds < 0 || text.starts_with('-') {
        return Some((0, 0));
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some((seconds, digits.parse().ok()?))
}

/// A numeric field; one that was left blank is zero.
fn field<T: Default>(
    header: &tar::Header,
    at: std::ops::Range<usize>,
    read: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let blank = header.as_bytes()[at].iter().all(|byte| matches!(byte, 0 | b' '));
    if blank { Ok(T::default()) } else { read() }
}

/// GNU names end with a zero byte.
fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the archive has {what}"))
}

fn cut() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the archive ends in the middle of an entry; fetch or copy it again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, kind: u8, size: u64) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).expect("path");
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        header
    }

    fn archive(parts: &[(&str, u8, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, kind, data) in parts {
            bytes.extend_from_slice(header(name, *kind, data.len() as u64).as_bytes());
            bytes.extend_from_slice(data);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        bytes
    }

    #[test]
    fn reads_long_names_and_pax() {
        let long = "d/".repeat(200) + "file";
        let pax = "28 path=by-pax/\u{e4}\u{f6}\u{fc}-name \n";
        let more = b"20 mtime=12345.5678\n";
        let bytes = archive(&[
            ("short", b'L', long.as_bytes()),
            ("short", b'0', b"one"),
            ("p", b'x', pax.as_bytes()),
            ("q", b'0', b"two"),
            ("p", b'x', more),
            ("dir/", b'0', b""),
        ]);
        let mut tarball = Tarball::new(&bytes[..]);
        let first = tarball.next().expect("read").expect("entry");
        assert_eq!(first.path, long.as_bytes());
        let mut text = String::new();
        tarball.data().read_to_string(&mut text).expect("data");
        assert_eq!(text, "one");
        let second = tarball.next().expect("read").expect("entry");
        assert_eq!(second.path, "by-pax/\u{e4}\u{f6}\u{fc}-name ".as_bytes());
        let third = tarball.next().expect("read").expect("entry");
        assert_eq!((third.kind, third.mtime), (Kind::Directory, (12345, 567_800_000)));
        assert!(tarball.next().expect("read").is_none());
    }

    #[test]
    fn refuses_what_would_cost_memory_or_is_damaged() {
        let check = |bytes: &[u8], reason: &str| {
            let mut tarball = Tarball::new(bytes);
            let error = loop {
                match tarball.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{reason}: must be refused"),
                    Err(error) => break error.to_string(),
                }
            };
            assert!(error.contains(reason), "{error}");
        };
        let huge = header("x", b'x', 8 << 30);
        check(huge.as_bytes(), "name or header record");
        let mut damaged = archive(&[("x", b'0', b"")]);
        damaged[0] = b'y';
        check(&damaged, "checksum");
        check(&archive(&[("x", b'0', b"hello")])[..600], "ends in the middle");
        check(&archive(&[("x", b'x', b"9999 path=x\n")]), "PAX record");
        check(&archive(&[("x", b'x', b"22 GNU.sparse.major=1\n"), ("x", b'0', b"")]), "sparse");
        check(&archive(&[("x", b'S', b"")]), "sparse");
        check(&archive(&[("x", b'Z', b"")]), "unknown type");
    }
}

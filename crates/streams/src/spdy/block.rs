//! Header blocks: name and value pairs, compressed with one zlib stream per direction that begins with the dictionary.
//!
//! Every block must pass through here in the order in which it was sent, wanted or not, or the next cannot be read.

use std::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::decode::Error;
use super::dictionary::dictionary;
use super::{MAX_BLOCK, MAX_CONTROL};

/// Names, in lower case, with their values, in the order in which they were sent. Several values of one name are one
/// text with NUL between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first value of `name`, if it is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(n, _)| n == name)?;
        value.split('\0').next().filter(|v| !v.is_empty())
    }
}

/// Reads blocks.
pub struct Inflater(Decompress);

impl Inflater {
    pub fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// The headers in one block.
    pub fn block(&mut self, compressed: &[u8]) -> Result<Headers, Error> {
        parse(&self.inflate(compressed)?)
    }

    fn inflate(&mut self, compressed: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        let mut piece = [0u8; 1024];
        let mut rest = compressed;
        loop {
            let (before_in, before_out) = (self.0.total_in(), self.0.total_out());
            let result = self.0.decompress(rest, &mut piece, FlushDecompress::Sync);
            let (read, made) = (self.0.total_in() - before_in, self.0.total_out() - before_out);
            rest = rest.get(read as usize..).unwrap_or_default();
            out.extend_from_slice(&piece[..made as usize]);
            if out.len() > MAX_BLOCK {
                return Err(Error::LongBlock);
            }
            match result {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary()).map_err(|_| Error::Compression)?;
                }
                Err(_) | Ok(Status::StreamEnd) => return Err(Error::Compression),
                // Room was left, so there is no more; or nothing at all can be done.
                Ok(_) if rest.is_empty() && (made as usize) < piece.len() => return Ok(out),
                Ok(_) if read == 0 && made == 0 => return Err(Error::Compression),
                Ok(_) => {}
            }
        }
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

/// Writes blocks.
pub struct Deflater(Compress);

impl Deflater {
    pub fn new() -> Self {
        let mut zlib = Compress::new(Compression::fast(), true);
        // It can fail only once the stream has begun.
        let _ = zlib.set_dictionary(&dictionary());
        Self(zlib)
    }

    /// Appends the block with `headers`.
    pub fn block(&mut self, headers: &Headers, out: &mut Vec<u8>) {
        let mut plain = Vec::new();
        plain.extend_from_slice(&(headers.0.len() as u32).to_be_bytes());
        for text in headers.0.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend_from_slice(&(text.len() as u32).to_be_bytes());
            plain.extend_from_slice(text.as_bytes());
        }
        let mut rest = &plain[..];
        loop {
            out.reserve(MAX_CONTROL);
            let before = self.0.total_in();
            let status = self.0.compress_vec(rest, out, FlushCompress::Sync);
            rest = rest.get((self.0.total_in() - before) as usize..).unwrap_or_default();
            // Room that is left says that everything was flushed.
            if status.is_err() || (rest.is_empty() && out.len() < out.capacity()) {
                return;
            }
        }
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").finish_non_exhaustive()
    }
}

fn parse(mut bytes: &[u8]) -> Result<Headers, Error> {
    let pairs = number(&mut bytes)?;
    let mut headers = Headers::default();
    for _ in 0..pairs {
        let name = text(&mut bytes)?;
        let value = text(&mut bytes)?;
        let plain = !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase());
        if !plain || headers.0.iter().any(|(n, _)| *n == name) {
            return Err(Error::Header);
        }
        headers.0.push((name, value));
    }
    if bytes.is_empty() { Ok(headers) } else { Err(Error::Header) }
}

fn number(bytes: &mut &[u8]) -> Result<u32, Error> {
    let (number, rest) = bytes.split_first_chunk().ok_or(Error::Header)?;
    *bytes = rest;
    Ok(u32::from_be_bytes(*number))
}

fn text(bytes: &mut &[u8]) -> Result<String, Error> {
    let length = number(bytes)? as usize;
    let (text, rest) = bytes.split_at_checked(length).ok_or(Error::Header)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).map_err(|_| Error::Header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(kind: &str) -> Headers {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Headers(vec![pair("streamtype", kind), pair("port", "80"), pair("requestid", "0")])
    }

    #[test]
    fn the_dictionary_is_the_one_of_the_specification() {
        // The Adler-32 sum with which every SPDY/3 header stream names its dictionary.
        let mut zlib = Compress::new(Compression::fast(), true);
        assert_eq!(zlib.set_dictionary(&dictionary()).unwrap(), 0xe3c6_a7c2);
    }

    /// Two blocks as another implementation of zlib compresses them; the second leans on the first.
    #[test]
    fn reads_what_others_compress() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
        };
        let mut inflater = Inflater::new();
        let first = hex(
            "78f9e3c6a7c202253a703a2b294a4dcc851625aca9a0808614cb45a024cc64610024398b209198094adc8c0600000000ffff",
        );
        assert_eq!(inflater.block(&first).unwrap(), headers("error"));
        assert_eq!(inflater.block(&hex("c2aa15540a2512d209000000ffff")).unwrap(), headers("data"));
    }

    #[test]
    fn a_block_that_unfolds_to_too_much_is_refused() {
        let mut block = Vec::new();
        let bomb = Headers(vec![("a".to_owned(), "x".repeat(MAX_BLOCK))]);
        Deflater::new().block(&bomb, &mut block);
        assert!(block.len() < 2000, "{} bytes", block.len());
        assert_eq!(Inflater::new().block(&block), Err(Error::LongBlock));
        let mut block = Vec::new();
        let fits = Headers(vec![("a".to_owned(), "x".repeat(MAX_BLOCK - 100))]);
        Deflater::new().block(&fits, &mut block);
        assert_eq!(Inflater::new().block(&block), Ok(fits));
    }

    #[test]
    fn pairs_that_are_none_are_refused() {
        for plain in [
            &b""[..],
            b"\0\0\0\x01",
            b"\xff\xff\xff\xff\0\0\0\x01a\0\0\0\0",
            b"\0\0\0\x01\xff\xff\xff\xffa",
            b"\0\0\0\x01\0\0\0\x01A\0\0\0\0",
            b"\0\0\0\x01\0\0\0\0\0\0\0\0",
            b"\0\0\0\x02\0\0\0\x01a\0\0\0\0\0\0\0\x01a\0\0\0\0",
            b"\0\0\0\x01\0\0\0\x01a\0\0\0\x01\xff",
            b"\0\0\0\0more",
        ] {
            assert_eq!(parse(plain), Err(Error::Header), "{plain:?}");
        }
        let two = parse(b"\0\0\0\x01\0\0\0\x01a\0\0\0\x03b\0c").unwrap();
        assert_eq!((two.get("a"), two.get("b")), (Some("b"), None));
    }
}

//! Layers and archives as plain bytes, whatever they are compressed with. Media types lie now and then; the first bytes do not.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const BUFFER: usize = 64 * 1024;
/// The largest window of a zstd frame, bytes: what `zstd -22 --ultra` would use is refused on behalf of small machines.
const LARGEST_WINDOW: u64 = 32 << 20;

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// What the first bytes say.
    pub fn of(start: &[u8]) -> Self {
        // A zstd stream may begin with a skippable frame (0x184D2A50 to 0x184D2A5F).
        let skippable = start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == [0x2a, 0x4d, 0x18];
        if start.starts_with(&GZIP) {
            Self::Gzip
        } else if start.starts_with(&ZSTD) || skippable {
            Self::Zstd
        } else {
            Self::None
        }
    }
}

/// Reads `source` uncompressed.
pub(crate) fn reader(source: impl Read + 'static) -> io::Result<(Compression, Box<dyn Read>)> {
    let mut source = BufReader::with_capacity(BUFFER, source);
    let compression = Compression::of(source.fill_buf()?);
    let reader: Box<dyn Read> = match compression {
        Compression::None => Box::new(source),
        Compression::Gzip => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(source))),
        Compression::Zstd => Box::new(Zstd::new(source)),
    };
    Ok((compression, reader))
}

/// A stream of zstd frames.
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(LARGEST_WINDOW);
        Self { source, decoder, in_frame: false }
    }

    /// Begins the next frame; false at the end.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.source) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut (&mut self.source).take(length), &mut io::sink())?;
                    if skipped < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(broken(error)),
            }
        }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame && !self.begin()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let some = BlockDecodingStrategy::UptoBytes(buffer.len().max(BUFFER));
                self.decoder.decode_blocks(&mut self.source, some).map_err(broken)?;
            }
            let n = self.decoder.read(buffer)?;
            if n > 0 {
                return Ok(n);
            }
            self.in_frame = false;
        }
    }
}

fn broken(error: FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("zstd: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn plain(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        reader(io::Cursor::new(bytes))?.1.read_to_end(&mut out)?;
        Ok(out)
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn reads_gzip_zstd_and_plain_bytes_in_several_parts() {
        let text = b"edge ".repeat(40_000);
        let gzip = |bytes: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).expect("compress");
            encoder.finish().expect("compress")
        };
        assert_eq!(plain(text.clone()).expect("plain"), text);
        assert_eq!(plain([gzip(&text[..100]), gzip(&text[100..])].concat()).expect("gzip"), text);
        let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let frames = [skippable.clone(), zstd(&text[..70_000]), skippable, zstd(&text[70_000..])].concat();
        assert_eq!(plain(frames.clone()).expect("zstd"), text);
        assert!(plain(frames[..frames.len() - 9].to_vec()).is_err(), "a cut stream is an error");
        assert!(plain(gzip(&text)[..100].to_vec()).is_err(), "a cut stream is an error");
        assert_eq!(plain(Vec::new()).expect("empty"), b"");
    }
}

//! What a value is in etcd: the entry's tag and bytes, and where its revision belongs in them.
//!
//! An object says its own revision, and etcd gives a revision only when it makes the change. So the bytes are made with
//! a stand-in of nineteen digits, drawn anew for each write; its digits are cut out again, their places are noted, and
//! whoever reads the record puts the true revision there. No other bytes are touched.
//!
//! The record also holds a number of its writer's, drawn at random: when an answer was lost, it tells whether the change
//! was made.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What the first byte says.
const FORMAT: u8 = 1;
/// Format, writer's number, length of the tag, number of places.
const HEAD: usize = 1 + 8 + 2 + 1;
/// An object says its revision once; more than a few places are no object of ours.
const PLACES: usize = 8;

/// A value as it is kept in etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The writer's number.
    pub id: u64,
    /// The entry's tag.
    pub tag: Option<Arc<str>>,
    /// Where in `body` the digits of the revision belong, in ascending order.
    places: Vec<u32>,
    body: Bytes,
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Written by a later version, or by something else.
    #[error("the value has format {0}, and this program understands {FORMAT}")]
    Format(u8),
    /// Cut, or damaged.
    #[error("the value is damaged")]
    Damaged,
}

/// A revision that no etcd reaches, with as many digits as every other one that this gives.
pub fn stand_in(random: u64) -> u64 {
    10u64.pow(18) + random % (8 * 10u64.pow(18))
}

impl Record {
    /// The record of bytes that were made for the revision `stand_in`. `None`: they name it too often.
    pub fn new(id: u64, tag: Option<Arc<str>>, bytes: &[u8], stand_in: u64) -> Option<Self> {
        let digits = stand_in.to_string();
        let digits = digits.as_bytes();
        let (mut places, mut body, mut rest) = (Vec::new(), BytesMut::with_capacity(bytes.len()), bytes);
        while let Some(at) = rest.windows(digits.len()).position(|window| window == digits) {
            body.extend_from_slice(&rest[..at]);
            places.push(u32::try_from(body.len()).ok()?);
            rest = &rest[at + digits.len()..];
        }
        body.extend_from_slice(rest);
        (places.len() <= PLACES).then(|| Self { id, tag, places, body: body.freeze() })
    }

    /// The entry's bytes as of `revision`.
    pub fn value(&self, revision: u64) -> Bytes {
        let digits = revision.to_string();
        let mut out = Vec::with_capacity(self.body.len() + self.places.len() * digits.len());
        let mut from = 0;
        for place in &self.places {
            let place = *place as usize;
            out.extend_from_slice(&self.body[from..place]);
            out.extend_from_slice(digits.as_bytes());
            from = place;
        }
        out.extend_from_slice(&self.body[from..]);
        Bytes::from(out)
    }

    /// The bytes for etcd. `None`: the tag is too long.
    pub fn encode(&self) -> Option<Bytes> {
        let tag = self.tag.as_deref().unwrap_or_default();
        // A length one too large, so that an empty tag and none are two things.
        let length = if self.tag.is_some() { u16::try_from(tag.len() + 1).ok()? } else { 0 };
        let mut out = BytesMut::with_capacity(HEAD + tag.len() + 4 * self.places.len() + self.body.len());
        out.put_u8(FORMAT);
        out.put_u64(self.id);
        out.put_u16(length);
        out.put_slice(tag.as_bytes());
        out.put_u8(u8::try_from(self.places.len()).ok()?);
        self.places.iter().for_each(|place| out.put_u32(*place));
        out.put_slice(&self.body);
        Some(out.freeze())
    }

    /// Reads what etcd holds.
    ///
    /// # Errors
    /// When it is no record.
    pub fn decode(mut bytes: Bytes) -> Result<Self, Malformed> {
        let need = |bytes: &Bytes, count: usize| {
            if bytes.remaining() < count { Err(Malformed::Damaged) } else { Ok(()) }
        };
        need(&bytes, 1)?;
        match bytes.get_u8() {
            FORMAT => {}
            other => return Err(Malformed::Format(other)),
        }
        need(&bytes, HEAD - 2)?;
        let id = bytes.get_u64();
        let length = usize::from(bytes.get_u16());
        need(&bytes, length.max(1))?;
        let tag = match length.checked_sub(1) {
            Some(length) => {
                let tag = bytes.split_to(length);
                Some(std::str::from_utf8(&tag).map_err(|_| Malformed::Damaged)?.into())
            }
            None => None,
        };
        let count = usize::from(bytes.get_u8());
        need(&bytes, 4 * count)?;
        if count > PLACES {
            return Err(Malformed::Damaged);
        }
        let places: Vec<u32> = (0..count).map(|_| bytes.get_u32()).collect();
        let inside = |place: &u32| *place as usize <= bytes.remaining();
        if !places.is_sorted() || !places.iter().all(inside) {
            return Err(Malformed::Damaged);
        }
        Ok(Self { id, tag, places, body: bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(tag: Option<&str>, make: impl Fn(u64) -> String) -> Record {
        let revision = stand_in(7);
        let record = Record::new(9, tag.map(Arc::from), make(revision).as_bytes(), revision).unwrap();
        let again = Record::decode(record.encode().unwrap()).unwrap();
        assert_eq!(again, record);
        again
    }

    #[test]
    fn a_revision_is_put_where_the_stand_in_was() {
        let record = made(Some("n1"), |r| format!("{{\"resourceVersion\":\"{r}\",\"x\":12}}"));
        assert_eq!(record.value(5), "{\"resourceVersion\":\"5\",\"x\":12}");
        assert_eq!(record.value(12_345), "{\"resourceVersion\":\"12345\",\"x\":12}");
        assert_eq!((record.id, record.tag.as_deref()), (9, Some("n1")));
        assert_eq!(made(None, |r| r.to_string()).value(42), "42");
        assert_eq!(made(Some(""), |r| format!("{r}{r}")).value(42), "4242");
        assert_eq!(made(None, |_| "nothing".to_owned()).value(42), "nothing");
        let revision = stand_in(1);
        assert_eq!(Record::new(1, None, revision.to_string().repeat(9).as_bytes(), revision), None);
    }

    #[test]
    fn stand_ins_have_nineteen_digits() {
        for random in [0, 1, u64::MAX / 2, u64::MAX] {
            assert_eq!(stand_in(random).to_string().len(), 19);
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let read = |bytes: &[u8]| Record::decode(Bytes::copy_from_slice(bytes));
        assert_eq!(read(b"{}"), Err(Malformed::Format(b'{')));
        assert_eq!(read(b""), Err(Malformed::Damaged));
        let good = made(Some("n1"), |r| r.to_string()).encode().unwrap();
        for cut in 1..good.len() {
            assert!(read(&good[..cut]).is_err(), "{cut}");
        }
        let mut beyond = good.to_vec();
        *beyond.last_mut().unwrap() = 9;
        assert_eq!(read(&beyond), Err(Malformed::Damaged), "a place beyond the end");
    }
}

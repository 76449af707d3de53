//! What Go says of a text that is not JSON. Scripts and tests match these words, so a refused text is read once more
//! here, byte by byte, until the first that does not fit.

use crate::status::quote;

enum Wanted {
    Value,
    /// A value, or the end of an empty list.
    ValueOrEnd,
    Key,
    /// A key, or the end of an empty object.
    KeyOrEnd,
    Colon,
    /// What may follow a whole value.
    After,
}

/// The complaint, or `None` if the text is JSON after all.
pub(super) fn complaint(text: &[u8]) -> Option<String> {
    let mut scan = Scan { text, at: 0 };
    // Whether each level is an object.
    let mut open: Vec<bool> = Vec::new();
    let mut wanted = Wanted::Value;
    loop {
        scan.blank();
        let after = match open.last() {
            None => "after top-level value",
            Some(true) => "after object key:value pair",
            Some(false) => "after array element",
        };
        let Some(byte) = scan.peek() else {
            let whole = open.is_empty() && matches!(wanted, Wanted::After);
            return (!whole).then(|| END.to_owned());
        };
        let step = match (&wanted, byte) {
            (Wanted::ValueOrEnd, b']') | (Wanted::KeyOrEnd, b'}') => {
                open.pop();
                scan.skip(Wanted::After)
            }
            (Wanted::Value | Wanted::ValueOrEnd, b'{') => {
                open.push(true);
                scan.skip(Wanted::KeyOrEnd)
            }
            (Wanted::Value | Wanted::ValueOrEnd, b'[') => {
                open.push(false);
                scan.skip(Wanted::ValueOrEnd)
            }
            (Wanted::Value | Wanted::ValueOrEnd, _) => scan.scalar().map(|()| Wanted::After),
            (Wanted::Key | Wanted::KeyOrEnd, b'"') => scan.string().map(|()| Wanted::Colon),
            (Wanted::Key | Wanted::KeyOrEnd, _) => {
                Err(scan.wrong("looking for beginning of object key string"))
            }
            (Wanted::Colon, b':') => scan.skip(Wanted::Value),
            (Wanted::Colon, _) => Err(scan.wrong("after object key")),
            (Wanted::After, b',') if !open.is_empty() => {
                scan.skip(if open.last() == Some(&true) { Wanted::Key } else { Wanted::Value })
            }
            (Wanted::After, b'}') if open.last() == Some(&true) => {
                open.pop();
                scan.skip(Wanted::After)
            }
            (Wanted::After, b']') if open.last() == Some(&false) => {
                open.pop();
                scan.skip(Wanted::After)
            }
            (Wanted::After, _) => Err(scan.wrong(after)),
        };
        match step {
            Ok(next) => wanted = next,
            Err(complaint) => return Some(complaint),
        }
    }
}

const END: &str = "unexpected end of JSON input";

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip(&mut self, wanted: Wanted) -> Result<Wanted, String> {
        self.at += 1;
        Ok(wanted)
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn wrong(&self, context: &str) -> String {
        let Some(byte) = self.peek() else { return END.to_owned() };
        let shown = match byte {
            b'\'' => r"\'".to_owned(),
            b'"' => "\"".to_owned(),
            // Go takes the byte for a character.
            byte => {
                let quoted = quote(&char::from(byte).to_string());
                quoted.trim_matches('"').to_owned()
            }
        };
        format!("invalid character '{shown}' {context}")
    }

    fn scalar(&mut self) -> Result<(), String> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.wrong("looking for beginning of value")),
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                let context = format!("in literal {word} (expecting '{}')", char::from(expected));
                return Err(self.wrong(&context));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape()?;
                }
                Some(byte) if byte >= 0x20 => self.at += 1,
                _ => return Err(self.wrong("in string literal")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.peek() {
            Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|b| b.is_ascii_hexdigit()) {
                        return Err(self.wrong(r"in \u hexadecimal character escape"));
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.wrong("in string escape code")),
        }
        Ok(())
    }

    fn digits(&mut self, context: &str) -> Result<(), String> {
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Err(self.wrong(context));
        }
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn the_words_are_those_of_go() {
        for (text, expected) in [
            ("", "unexpected end of JSON input"),
            (r#"{"a": "#, "unexpected end of JSON input"),
            ("hello", "invalid character 'h' looking for beginning of value"),
            (r#"{"a" 1}"#, "invalid character '1' after object key"),
            (r#"{"a": 1,}"#, "invalid character '}' looking for beginning of object key string"),
            (r#"{"a": 1 "b"}"#, "invalid character '\"' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} {}", "invalid character '{' after top-level value"),
            ("[tru]", "invalid character ']' in literal true (expecting 'e')"),
            (r#"["\x"]"#, "invalid character 'x' in string escape code"),
            (r#"["\u00g"]"#, r"invalid character 'g' in \u hexadecimal character escape"),
            ("[\"\n\"]", r"invalid character '\n' in string literal"),
            ("[1.]", "invalid character ']' after decimal point in numeric literal"),
            ("[1e]", "invalid character ']' in exponent of numeric literal"),
            ("[-]", "invalid character ']' in numeric literal"),
        ] {
            assert_eq!(complaint(text.as_bytes()).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(complaint(br#" {"a": [1, -2.5e+3, null, "\u00e9"], "b": {}} "#), None);
    }
}

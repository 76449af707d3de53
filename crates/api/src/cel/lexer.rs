//! From text to words: names, numbers, strings, bytes and marks.

use super::Issue;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    Name(String),
    Int(i64),
    /// One more than the largest integer, which only a minus makes one.
    Lowest,
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Mark(&'static str),
    End,
}

/// Longer ones before their beginnings.
const MARKS: [&str; 27] = [
    "[?", ".?", "&&", "||", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{", "}", ".", ",", ":", "?", "+",
    "-", "*", "/", "%", "<", ">", "!", "?",
];

/// Splits an expression; each word with its place in bytes.
pub(super) fn words(text: &str) -> Result<Vec<(Word, u32)>, Issue> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if c.is_whitespace() {
            at += c.len_utf8();
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else {
            let (word, length) = word(rest).map_err(|message| Issue { message, at: at as u32 })?;
            words.push((word, at as u32));
            at += length;
        }
    }
    words.push((Word::End, text.len() as u32));
    Ok(words)
}

fn word(rest: &str) -> Result<(Word, usize), String> {
    if let Some(found) = literal(rest)? {
        return Ok(found);
    }
    let first = rest.as_bytes()[0];
    if first.is_ascii_digit() || (first == b'.' && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit)) {
        return number(rest);
    }
    if first.is_ascii_alphabetic() || first == b'_' {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        return Ok((Word::Name(rest[..end].to_owned()), end));
    }
    match MARKS.iter().find(|m| rest.starts_with(**m)) {
        Some(mark) => Ok((Word::Mark(mark), mark.len())),
        None => {
            let c = rest.chars().next().unwrap_or_default();
            Err(format!("Syntax error: token recognition error at: '{c}'"))
        }
    }
}

fn number(rest: &str) -> Result<(Word, usize), String> {
    let bytes = rest.as_bytes();
    let digits = |from: usize| from + bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let unsigned = |end: usize| matches!(bytes.get(end), Some(b'u' | b'U'));
    if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
        let end = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
        let wrong = |_| format!("invalid int literal {:?}", &rest[..end + 2]);
        let value = u64::from_str_radix(&hex[..end], 16).map_err(wrong)?;
        if unsigned(end + 2) {
            return Ok((Word::Uint(value), end + 3));
        }
        return Ok((int(value).ok_or("invalid int literal")?, end + 2));
    }
    let mut end = digits(0);
    let mut double = false;
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        double = true;
        end = digits(end + 1);
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
            double = true;
            end = digits(end + 1 + sign);
        }
    }
    let text = &rest[..end];
    if double {
        return Ok((Word::Double(text.parse().map_err(|_| format!("invalid double literal {text}"))?), end));
    }
    let value = text.parse::<u64>().map_err(|_| format!("invalid int literal {text}"))?;
    if unsigned(end) {
        return Ok((Word::Uint(value), end + 1));
    }
    Ok((int(value).ok_or_else(|| format!("invalid int literal {text}"))?, end))
}

fn int(value: u64) -> Option<Word> {
    match i64::try_from(value) {
        Ok(value) => Some(Word::Int(value)),
        Err(_) if value == 1 << 63 => Some(Word::Lowest),
        Err(_) => None,
    }
}

/// A string or bytes, if that is what stands there.
fn literal(rest: &str) -> Result<Option<(Word, usize)>, String> {
    let prefix = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (mut raw, mut bytes) = (false, false);
    for b in rest[..prefix].bytes() {
        match b {
            b'r' | b'R' if !raw => raw = true,
            b'b' | b'B' if !bytes => bytes = true,
            _ => return Ok(None),
        }
    }
    let body = &rest[prefix..];
    let Some(quote) = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|q| body.starts_with(q)) else {
        return Ok(None);
    };
    let inside = &body[quote.len()..];
    let mut out: Vec<u8> = Vec::new();
    let mut at = 0;
    loop {
        if inside[at..].starts_with(quote) {
            break;
        }
        let c = inside[at..].chars().next().ok_or("Syntax error: unterminated string")?;
        if c == '\n' && quote.len() == 1 {
            return Err("Syntax error: unterminated string".into());
        }
        at += c.len_utf8();
        if c != '\\' || raw {
            out.extend(c.encode_utf8(&mut [0; 4]).bytes());
            if raw && c == '\\' && inside[at..].starts_with(quote) && quote.len() == 1 {
                // Even in a raw string a backslash keeps the quote from ending it.
                out.extend(quote.bytes());
                at += 1;
            }
            continue;
        }
        at += escape(&inside[at..], bytes, &mut out)?;
    }
    let length = prefix + quote.len() + at + quote.len();
    if bytes {
        return Ok(Some((Word::Bytes(out), length)));
    }
    let text = String::from_utf8(out).map_err(|_| "Syntax error: string is not UTF-8")?;
    Ok(Some((Word::Text(text), length)))
}

/// What follows a backslash; gives back its length.
fn escape(rest: &str, bytes: bool, out: &mut Vec<u8>) -> Result<usize, String> {
    let wrong = || "Syntax error: unable to unescape string".to_owned();
    let c = rest.chars().next().ok_or_else(wrong)?;
    let plain = match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' | '\'' | '"' | '`' | '?' => c as u8,
        'x' | 'X' | 'u' | 'U' | '0'..='3' => {
            let (skip, length, radix) = match c {
                'x' | 'X' => (1, 2, 16),
                'u' => (1, 4, 16),
                'U' => (1, 8, 16),
                _ => (0, 3, 8),
            };
            let digits = rest.get(skip..skip + length).ok_or_else(wrong)?;
            let code = u32::from_str_radix(digits, radix).map_err(|_| wrong())?;
            if bytes && !matches!(c, 'u' | 'U') {
                out.push(u8::try_from(code).map_err(|_| wrong())?);
            } else {
                let c = char::from_u32(code).ok_or_else(wrong)?;
                out.extend(c.encode_utf8(&mut [0; 4]).bytes());
            }
            return Ok(skip + length);
        }
        _ => return Err(wrong()),
    };
    out.push(plain);
    Ok(1)
}

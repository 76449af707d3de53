//! The forms that names, labels, ports and the like must have. Each check returns what is wrong, in Kubernetes' words;
//! nothing is right.

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const SUBDOMAIN_WORDS: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const QUALIFIED_WORDS: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// What a check found.
pub type Complaints = Vec<String>;

/// Words with examples and the expression they were checked with, joined as Kubernetes joins them.
pub fn regex_words(words: &str, expression: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    if examples.is_empty() {
        return format!("{words} (regex used for validation is '{expression}')");
    }
    format!("{words} (e.g. {}regex used for validation is '{expression}')", examples.join(" or "))
}

fn max_length(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

/// `must be between 1 and 65535, inclusive`.
pub fn inclusive_range(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

fn lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn is_label(value: &str) -> bool {
    let bytes = value.as_bytes();
    !bytes.is_empty()
        && bytes.iter().all(|b| lower(*b) || *b == b'-')
        && lower(bytes[0])
        && lower(bytes[bytes.len() - 1])
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_qualified(value: &str) -> bool {
    let bytes = value.as_bytes();
    !bytes.is_empty()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && bytes[0].is_ascii_alphanumeric()
        && bytes[bytes.len() - 1].is_ascii_alphanumeric()
}

/// A label of DNS: names of namespaces, containers, volumes.
pub fn dns_label(value: &str) -> Complaints {
    let mut found = Vec::new();
    if value.len() > 63 {
        found.push(max_length(63));
    }
    if !is_label(value) {
        if is_subdomain(value) {
            found.push("must not contain dots".into());
        } else {
            let words = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
            found.push(regex_words(words, LABEL, &["my-name", "123-abc"]));
        }
    }
    found
}

/// Labels of DNS joined by dots: names of most objects.
pub fn dns_subdomain(value: &str) -> Complaints {
    let mut found = Vec::new();
    if value.len() > 253 {
        found.push(max_length(253));
    }
    if !is_subdomain(value) {
        found.push(regex_words(SUBDOMAIN_WORDS, SUBDOMAIN, &["example.com"]));
    }
    found
}

/// As [`dns_subdomain`], with underscores: search paths of DNS.
pub fn dns_subdomain_with_underscore(value: &str) -> Complaints {
    let mut found = Vec::new();
    if value.len() > 253 {
        found.push(max_length(253));
    }
    let fits = |part: &str| {
        let part = part.strip_prefix('_').unwrap_or(part);
        !part.starts_with('_') && !part.ends_with('_') && is_label(&part.replace('_', "0"))
    };
    if !value.split('.').all(fits) {
        let words = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
        let form = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
        found.push(regex_words(words, form, &["example.com"]));
    }
    found
}

/// The older form of a DNS label, which does not start with a digit.
pub fn dns1035_label(value: &str) -> Complaints {
    let mut found = Vec::new();
    if value.len() > 63 {
        found.push(max_length(63));
    }
    if !is_label(value) || value.starts_with(|c: char| c.is_ascii_digit()) {
        let words = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
        found.push(regex_words(words, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    found
}

/// `*.example.com`.
pub fn wildcard_subdomain(value: &str) -> Complaints {
    let mut found = Vec::new();
    if value.len() > 253 {
        found.push(max_length(253));
    }
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        let words = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        found.push(regex_words(words, &format!(r"\*\.{SUBDOMAIN}"), &["*.example.com"]));
    }
    found
}

/// Keys of labels and annotations, finalizers, names of extended resources: a name with an optional DNS prefix.
pub fn qualified_name(value: &str) -> Complaints {
    let mut found = Vec::new();
    let examples = ["MyName", "my.name", "123-abc"];
    let name = match value.split('/').collect::<Vec<_>>().as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                found.push("prefix part must be non-empty".into());
            } else {
                found.extend(dns_subdomain(prefix).into_iter().map(|text| format!("prefix part {text}")));
            }
            *name
        }
        _ => {
            let words = regex_words(&format!("a valid label key {QUALIFIED_WORDS}"), QUALIFIED, &examples);
            return vec![format!(
                "{words} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        found.push("name part must be non-empty".into());
    } else if name.len() > 63 {
        found.push(format!("name part {}", max_length(63)));
    }
    if !is_qualified(name) {
        found.push(regex_words(&format!("name part {QUALIFIED_WORDS}"), QUALIFIED, &examples));
    }
    found
}

/// Values of labels.
pub fn label_value(value: &str) -> Complaints {
    let mut found = Vec::new();
    if value.len() > 63 {
        found.push(max_length(63));
    }
    if !value.is_empty() && !is_qualified(value) {
        let words = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
        found.push(regex_words(words, &format!("({QUALIFIED})?"), &["MyValue", "my_value", "12345"]));
    }
    found
}

/// Keys of config maps and secrets.
pub fn config_key(value: &str) -> Complaints {
    let mut found = Vec::new();
    if value.len() > 253 {
        found.push(max_length(253));
    }
    if value.is_empty()
        || !value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    {
        let words = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        found.push(regex_words(words, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    if value == "." {
        found.push("must not be '.'".into());
    } else if value == ".." {
        found.push("must not be '..'".into());
    } else if value.starts_with("..") {
        found.push("must not start with '..'".into());
    }
    found
}

/// Names of environment variables.
pub fn env_name(value: &str) -> Complaints {
    let mut found = Vec::new();
    if value.is_empty() {
        found.push("environment variable name must be non-empty".into());
    }
    if value.bytes().any(|b| !(0x20..0x7f).contains(&b) || b == b'=') {
        found.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .into(),
        );
    }
    found
}

/// Port numbers.
pub fn port_number(value: i64) -> Complaints {
    if (1..=65535).contains(&value) { Vec::new() } else { vec![inclusive_range(1, 65535)] }
}

/// Names of ports, RFC 6335 in lower case.
pub fn port_name(value: &str) -> Complaints {
    let mut found = Vec::new();
    if value.len() > 15 {
        found.push("must be no more than 15 characters".into());
    }
    if value.is_empty() || !value.bytes().all(|b| lower(b) || b == b'-') {
        found.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        found.push("must contain at least one letter (a-z)".into());
    }
    if value.contains("--") {
        found.push("must not contain consecutive hyphens".into());
    }
    if value.starts_with('-') || value.ends_with('-') {
        found.push("must not begin or end with a hyphen".into());
    }
    found
}

/// `25%`.
pub fn percent(value: &str) -> Complaints {
    let fits =
        value.strip_suffix('%').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    if fits {
        return Vec::new();
    }
    let words = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![regex_words(words, "[0-9]+%", &["1%", "93%"])]
}

/// Names of HTTP headers.
pub fn http_header(value: &str) -> Complaints {
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    let words = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![regex_words(words, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// Names that become one segment of a path, as those of RBAC's objects.
pub fn path_segment(value: &str) -> Complaints {
    if value == "." || value == ".." {
        return vec![format!("may not be '{value}'")];
    }
    ['/', '%'].iter().filter(|c| value.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// Addresses, `10.0.0.1` or `fd00::1`.
pub fn ip(value: &str) -> Complaints {
    if value.parse::<std::net::IpAddr>().is_ok() {
        return Vec::new();
    }
    let parts: Vec<&str> = value.split('.').collect();
    let byte =
        |part: &&str| part.bytes().all(|b| b.is_ascii_digit()) && part.parse::<u16>().is_ok_and(|n| n < 256);
    if parts.len() == 4 && parts.iter().all(byte) {
        return vec!["must not have leading 0s".into()];
    }
    vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".into()]
}

/// Ranges of addresses, `10.0.0.0/8`.
pub fn cidr(value: &str) -> Complaints {
    let fits = value.split_once('/').is_some_and(|(address, bits)| {
        let width = match address.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(_)) => 32,
            Ok(std::net::IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        bits.bytes().all(|b| b.is_ascii_digit()) && bits.parse::<u8>().is_ok_and(|n| n <= width)
    });
    if fits {
        return Vec::new();
    }
    vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_the_hint() {
        assert_eq!(
            dns_label("A_b"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(
            dns_subdomain("A"),
            [
                r"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        assert_eq!(dns_label("a.b"), ["must not contain dots"]);
        assert_eq!(dns_label(&"a".repeat(64)), ["must be no more than 63 bytes"]);
        assert!(
            qualified_name("a/b/c")[0].starts_with("a valid label key must consist of"),
            "{:?}",
            qualified_name("a/b/c")
        );
        assert!(qualified_name("a/b/c")[0].ends_with("(e.g. 'example.com/MyName')"));
    }

    #[test]
    fn right_and_wrong() {
        type Check = fn(&str) -> Complaints;
        let table: [(Check, &[&str], &[&str]); 12] = [
            (dns_label, &["a", "a-1", "0"], &["", "-a", "a-", "A", "é"]),
            (dns_subdomain, &["a.b", "a"], &["", "a..b", ".a", "a_b"]),
            (dns1035_label, &["a", "a1"], &["1a", ""]),
            (wildcard_subdomain, &["*.a.b"], &["*", "a.b", "*a.b"]),
            (qualified_name, &["a", "A_b.c", "x.y/Z"], &["", "/a", "a/", "A/b", "-a"]),
            (label_value, &["", "a", "A_b.c"], &["-", "a b"]),
            (config_key, &["a", ".a", "A_B"], &["", ".", "..", "..a", "a/b"]),
            (env_name, &["A", "1 b"], &["", "a=b", "é"]),
            (port_name, &["http", "a-1"], &["", "80", "a--b", "-a", "Http", "abcdefghijklmnop"]),
            (percent, &["0%", "25%"], &["%", "25", "-1%"]),
            (ip, &["10.0.0.1", "::1"], &["10.0.0", "x", "10.0.0.01"]),
            (cidr, &["10.0.0.0/8", "fd00::/64"], &["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/+8"]),
        ];
        for (index, (check, right, wrong)) in table.iter().enumerate() {
            for value in *right {
                assert!(check(value).is_empty(), "{index} {value:?}: {:?}", check(value));
            }
            for value in *wrong {
                assert!(!check(value).is_empty(), "{index} {value:?}");
            }
        }
    }
}

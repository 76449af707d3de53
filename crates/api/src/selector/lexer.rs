//! Cuts the text of a label selector into tokens. It must not know what a sequence of tokens means.

/// A token with the text it was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Identifier(String),
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    GreaterThan,
    LessThan,
    Not,
    Open,
    Close,
    Comma,
    End,
    /// Special characters that make no token.
    Wrong(String),
}

impl Token {
    /// The text as errors show it.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Identifier(text) | Self::Wrong(text) => text,
            Self::In => "in",
            Self::NotIn => "notin",
            Self::Equals => "=",
            Self::DoubleEquals => "==",
            Self::NotEquals => "!=",
            Self::GreaterThan => ">",
            Self::LessThan => "<",
            Self::Not => "!",
            Self::Open => "(",
            Self::Close => ")",
            Self::Comma => ",",
            Self::End => "",
        }
    }
}

fn special(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

fn space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// All tokens, without the [`Token::End`].
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(space);
    while let Some(first) = rest.chars().next() {
        let (token, length) = if special(first) { symbol(rest) } else { word(rest) };
        tokens.push(token);
        rest = rest[length..].trim_start_matches(space);
    }
    tokens
}

fn word(text: &str) -> (Token, usize) {
    let length = text.find(|c| special(c) || space(c)).unwrap_or(text.len());
    let token = match &text[..length] {
        "in" => Token::In,
        "notin" => Token::NotIn,
        other => Token::Identifier(other.to_owned()),
    };
    (token, length)
}

fn symbol(text: &str) -> (Token, usize) {
    // The longest wins, so the two-character ones stand first.
    let known = [
        ("==", Token::DoubleEquals),
        ("!=", Token::NotEquals),
        ("=", Token::Equals),
        ("!", Token::Not),
        ("(", Token::Open),
        (")", Token::Close),
        (",", Token::Comma),
        (">", Token::GreaterThan),
        ("<", Token::LessThan),
    ];
    known
        .into_iter()
        .find(|(symbol, _)| text.starts_with(symbol))
        .map_or_else(|| (Token::Wrong(text.to_owned()), text.len()), |(symbol, token)| (token, symbol.len()))
}

//! Makes requirements out of the tokens of a label selector, with Kubernetes' words when that fails.

use super::lexer::{Token, tokens};
use super::requirement::check_key;
use super::{Error, Operator, Requirement};

struct Parser {
    tokens: Vec<Token>,
    position: usize,
}

/// Reads a whole selector; requirements come sorted by key.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, Error> {
    let mut parser = Parser { tokens: tokens(text), position: 0 };
    let mut requirements = parser.selector()?;
    requirements.sort_by(|a, b| a.key().cmp(b.key()));
    Ok(requirements)
}

fn error<T>(text: String) -> Result<T, Error> {
    Err(Error(text))
}

impl Parser {
    fn peek(&self) -> Token {
        self.tokens.get(self.position).cloned().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        self.position += 1;
        token
    }

    /// Like `next`, where `in` and `notin` are ordinary words.
    fn next_word(&mut self) -> Token {
        plain(self.next())
    }

    fn peek_word(&self) -> Token {
        plain(self.peek())
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, Error> {
        let mut requirements = Vec::new();
        loop {
            match self.peek_word() {
                Token::Identifier(_) | Token::Not => {}
                Token::End => return Ok(requirements),
                other => {
                    return error(format!(
                        "found '{}', expected: !, identifier, or 'end of string'",
                        other.text()
                    ));
                }
            }
            let requirement =
                self.requirement().map_err(|e| Error(format!("unable to parse requirement: {e}")))?;
            requirements.push(requirement);
            match self.next_word() {
                Token::End => return Ok(requirements),
                Token::Comma => match self.peek_word() {
                    Token::Identifier(_) | Token::Not => {}
                    other => {
                        return error(format!("found '{}', expected: identifier after ','", other.text()));
                    }
                },
                other => {
                    return error(format!("found '{}', expected: ',' or 'end of string'", other.text()));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, Error> {
        let mut token = self.next_word();
        let negated = token == Token::Not;
        if negated {
            token = self.next_word();
        }
        let Token::Identifier(key) = token else {
            return error(format!("found '{}', expected: identifier", token.text()));
        };
        check_key(&key)?;
        if negated {
            return Requirement::new(&key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Requirement::new(&key, Operator::Exists, Vec::new());
        }
        let operator = match self.next() {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::NotEquals => Operator::NotEquals,
            Token::GreaterThan => Operator::GreaterThan,
            Token::LessThan => Operator::LessThan,
            other => {
                return error(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.text()));
            }
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.value()?],
        };
        Requirement::new(&key, operator, values)
    }

    fn values(&mut self) -> Result<Vec<String>, Error> {
        let open = self.next_word();
        if open != Token::Open {
            return error(format!("found '{}' expected: '('", open.text()));
        }
        match self.peek_word() {
            Token::Close => {
                self.next();
                Ok(vec![String::new()])
            }
            Token::Identifier(_) | Token::Comma => self.list(),
            other => error(format!("found '{}', expected: ',', ')' or identifier", other.text())),
        }
    }

    /// `a,b)`; two commas in a row, or one at either end, stand for an empty value.
    fn list(&mut self) -> Result<Vec<String>, Error> {
        let mut values = Vec::new();
        loop {
            match self.next_word() {
                Token::Identifier(value) => values.push(value),
                Token::Comma => {
                    values.push(String::new());
                    continue;
                }
                Token::Close => {
                    values.push(String::new());
                    return Ok(values);
                }
                other => return error(format!("found '{}', expected: ',', or identifier", other.text())),
            }
            match self.next_word() {
                Token::Comma => {}
                Token::Close => return Ok(values),
                other => return error(format!("found '{}', expected: ',' or ')'", other.text())),
            }
        }
    }

    fn value(&mut self) -> Result<String, Error> {
        match self.peek_word() {
            Token::End | Token::Comma => Ok(String::new()),
            Token::Identifier(value) => {
                self.next();
                Ok(value)
            }
            other => error(format!("found '{}', expected: identifier", other.text())),
        }
    }
}

fn plain(token: Token) -> Token {
    match token {
        Token::In => Token::Identifier("in".into()),
        Token::NotIn => Token::Identifier("notin".into()),
        other => other,
    }
}

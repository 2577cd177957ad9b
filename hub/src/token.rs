//! The access token, which must not show anywhere.

use std::fmt;

use crate::{Error, Result};

/// A token and where it came from; neither `Debug` nor any error shows the token itself.
#[derive(Clone)]
pub(crate) struct Token {
    secret: String,
    origin: String,
}

impl Token {
    /// The token, or none if there is nothing but whitespace.
    pub(crate) fn new(text: &str, origin: impl Into<String>) -> Result<Option<Self>> {
        let (secret, origin) = (text.trim(), origin.into());
        if secret.is_empty() {
            return Ok(None);
        }
        if !secret.bytes().all(|b| b.is_ascii_graphic()) {
            let reason = "the token has characters that no token has (not shown)".into();
            return Err(Error::Setting { name: origin, reason });
        }
        Ok(Some(Self { secret: secret.to_owned(), origin }))
    }

    /// Where it came from, for messages.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The header's value.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.secret)
    }

    /// A server's text without the token, should it send it back.
    pub(crate) fn redact(&self, text: &str) -> String {
        text.replace(&self.secret, "[token]")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(from {})", self.origin)
    }
}

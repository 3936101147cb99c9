//! Where a server is: scheme, host, port, and the path that all calls begin with.

use hyper::Uri;
use std::fmt;
use std::str::FromStr;

/// The address that all calls of a client start from. Its path is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Base {
    /// Whether the connection is encrypted.
    pub(super) encrypted: bool,
    /// The host's name or address, without brackets.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
    /// Nothing, or a path that begins with a slash and does not end with one.
    prefix: String,
}

/// Why a text is no base URL. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBase {
    /// Not a URL at all.
    #[error("is no URL")]
    NoUrl,
    /// Another scheme, or none.
    #[error("must begin with http:// or https://")]
    Scheme,
    /// No host.
    #[error("names no host")]
    Host,
    /// A name and a password before the host.
    #[error("must not hold a user name or a password: keys have keys of their own in the configuration")]
    User,
    /// A query.
    #[error("must not hold a query or a fragment")]
    Query,
}

impl FromStr for Base {
    type Err = NoBase;

    fn from_str(text: &str) -> Result<Self, NoBase> {
        // A URI in a request has no fragment, and the parser drops it silently.
        if text.contains('#') {
            return Err(NoBase::Query);
        }
        let uri: Uri = text.parse().map_err(|_| NoBase::NoUrl)?;
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(NoBase::Scheme),
        };
        let authority = uri.authority().ok_or(NoBase::Host)?;
        if authority.as_str().contains('@') {
            return Err(NoBase::User);
        }
        if uri.query().is_some() {
            return Err(NoBase::Query);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(NoBase::Host);
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if encrypted => 443,
            None => 80,
        };
        Ok(Self { encrypted, host, port, prefix: uri.path().trim_end_matches('/').to_owned() })
    }
}

impl Base {
    /// The same server with a longer path: what stands in it is never shown.
    #[must_use]
    pub fn join(&self, path: &str) -> Self {
        let path = path.trim_matches('/');
        Self { prefix: format!("{}/{path}", self.prefix), ..self.clone() }
    }

    /// The host and port that are connected to.
    pub fn peer(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// The path and query of a call.
    pub(super) fn target(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// The host as it stands in a URL: with brackets where it is an address of version 6, with the port where it is not the scheme's own.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.encrypted, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// Scheme, host and port alone.
impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Base({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_read_and_its_path_is_never_shown() {
        for (text, shown, target) in [
            ("https://api.example.org", "https://api.example.org", "/me"),
            ("http://127.0.0.1:8081/", "http://127.0.0.1:8081", "/me"),
            ("http://[::1]:99/v1/", "http://[::1]:99", "/v1/me"),
            ("https://h:443/bot12:abc", "https://h", "/bot12:abc/me"),
        ] {
            let base: Base = text.parse().unwrap();
            assert_eq!((base.to_string(), base.target("/me")), (shown.to_owned(), target.to_owned()));
            assert_eq!(format!("{base:?}"), format!("Base({shown})"));
        }
        assert_eq!("http://[::1]:99".parse::<Base>().unwrap().host, "::1");
        let joined = "https://h/api".parse::<Base>().unwrap().join("bot12:abc");
        assert_eq!((joined.target("/me"), joined.to_string()), ("/api/bot12:abc/me".into(), "https://h".into()));
    }

    #[test]
    fn what_is_no_base_url_is_refused_with_a_reason() {
        for (text, why) in [
            ("", NoBase::NoUrl),
            ("a b", NoBase::NoUrl),
            ("example.org", NoBase::Scheme),
            ("/v1", NoBase::Scheme),
            ("ftp://example.org", NoBase::Scheme),
            ("https://me:secret@example.org", NoBase::User),
            ("https://example.org/?key=1", NoBase::Query),
            ("https://example.org/#v1", NoBase::Query),
        ] {
            assert_eq!(text.parse::<Base>(), Err(why), "{text}");
        }
    }
}

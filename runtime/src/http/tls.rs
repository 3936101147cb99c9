//! TLS: whose certificates are believed, and the handshake. The roots are read when the first connection needs them.

use crate::environment::Stream;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

/// Whose certificates a client believes.
#[derive(Clone)]
pub struct Trust(Option<Arc<ClientConfig>>);

impl Trust {
    /// Those of the system's certificate authorities; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, as with OpenSSL.
    pub fn system() -> Self {
        Self(None)
    }

    /// Those of these authorities alone. Fails when one of them is no certificate.
    pub fn only(roots: impl IntoIterator<Item = CertificateDer<'static>>) -> io::Result<Self> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root).map_err(io::Error::other)?;
        }
        Ok(Self(Some(settings(store)?)))
    }

    /// Encrypts a connection to this host.
    pub(super) async fn encrypt(&self, host: &str, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        let settings = match &self.0 {
            Some(settings) => Arc::clone(settings),
            None => system_settings()?,
        };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(settings).connect(name, stream).await?))
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Trust(own roots)" } else { "Trust(system)" })
    }
}

/// The system's, read once in the life of a process. A failure is not kept: somebody may mend it.
fn system_settings() -> io::Result<Arc<ClientConfig>> {
    static SYSTEM: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(settings) = SYSTEM.get() {
        return Ok(Arc::clone(settings));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let (known, _) = store.add_parsable_certificates(found.certs);
    if known == 0 {
        let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(io::Error::other(format!(
            "this system has no certificate authorities that could be read (install ca-certificates, or set SSL_CERT_FILE) {}",
            reasons.join("; ")
        )));
    }
    let settings = settings(store)?;
    Ok(Arc::clone(SYSTEM.get_or_init(|| settings)))
}

fn settings(roots: RootCertStore) -> io::Result<Arc<ClientConfig>> {
    let mut settings = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    settings.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(settings))
}

//! The server's certificate and its key.

use std::path::Path;
use std::sync::Arc;

use outcrop::{Error, Result};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{DEFAULT_VERSIONS, ServerConfig};

/// What accepts TLS connections by the PEM files of a certificate chain and its private key.
///
/// # Errors
/// `ValidationException` that names the file that cannot be used.
pub(super) fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let unusable = |option: &str, file: &Path, error: &dyn std::fmt::Display| {
        Error::validation(format!("{option}: {}: {error}", file.display()))
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| unusable("--cert", certificate, &error))?;
    let secret =
        PrivateKeyDer::from_pem_file(key).map_err(|error| unusable("--key", key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(DEFAULT_VERSIONS)
        .map(|versions| versions.with_no_client_auth());
    let mut config = config
        .and_then(|config| config.with_single_cert(chain, secret))
        .map_err(|error| unusable("--cert", certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

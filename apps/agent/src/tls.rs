//! The encrypted line to the server: TCP, TLS with the device's certificate, SNI, ALPN.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use thiserror::Error;

use crate::endpoint::Endpoint;
use crate::files;
use crate::limits::{ANSWER_TIMEOUT, PEM_BYTES_MAX};

/// The port on which servers take several protocols and ask which one is meant.
const PORT_WITH_ALPN: u16 = 443;

/// How AWS IoT calls MQTT with a client certificate. Source: AWS guide "Device communication
/// protocols".
const ALPN_MQTT: &[u8] = b"x-amzn-mqtt-ca";

/// Why there is no line to the server.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read `{}`", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    /// A file does not hold what it should.
    #[error("`{}` holds no {what} in PEM form", file.display())]
    NoPem {
        /// The file.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// What the files hold does not go together.
    #[error("certificate, key and authority cannot be used")]
    Unusable(#[source] rustls::Error),
    /// The name is none.
    #[error("`{0}` is no host name")]
    HostName(String),
    /// The name is not known.
    #[error("cannot find the host `{0}`")]
    Unknown(String, #[source] io::Error),
    /// Nobody answers.
    #[error("cannot connect to {0}")]
    Connect(Endpoint, #[source] io::Error),
    /// The two do not agree.
    #[error("TLS with {0} fails")]
    Handshake(Endpoint, #[source] io::Error),
}

/// The files of a device, read and checked once.
#[derive(Clone, Debug)]
pub struct Identity(Arc<ClientConfig>);

/// A line to the server.
#[derive(Debug)]
pub struct Line(StreamOwned<ClientConnection, TcpStream>);

impl Identity {
    /// Reads authority, certificate and key.
    ///
    /// # Errors
    /// A file cannot be read, holds something else, or the key is not the certificate's.
    pub fn load(root_ca: &Path, cert: &Path, key: &Path, port: u16) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificates = certificates(cert)?;
        let key_pem = read(key)?;
        let private =
            PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| no_pem(key, "private key"))?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .with_root_certificates(roots(root_ca)?)
            .with_client_auth_cert(certificates, private)
            .map_err(TlsError::Unusable)?;
        // The agent connects once in a long while: nothing is to be gained by remembering sessions.
        config.resumption = rustls::client::Resumption::disabled();
        if port == PORT_WITH_ALPN {
            config.alpn_protocols = vec![ALPN_MQTT.to_vec()];
        }
        Ok(Self(Arc::new(config)))
    }
}

/// The authorities in a PEM file.
///
/// # Errors
/// The file cannot be read or holds none.
pub fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    // Bundles hold authorities that are odd in one way or another; the others still count.
    let (n_added, _) = store.add_parsable_certificates(certificates(file)?);
    if n_added == 0 {
        return Err(no_pem(file, "certificate of an authority"));
    }
    Ok(store)
}

/// The certificates in a PEM file, one at least.
///
/// # Errors
/// The file cannot be read or holds none.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let none = || no_pem(file, "certificate");
    let pem = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(none)
}

fn no_pem(file: &Path, what: &'static str) -> TlsError {
    TlsError::NoPem { file: file.to_owned(), what }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    files::read(file, PEM_BYTES_MAX).map_err(|error| TlsError::Unreadable(file.to_owned(), error))
}

impl Line {
    /// Connects and shakes hands. Every address of the host is tried in turn.
    ///
    /// # Errors
    /// [`TlsError`] says how far it came. Takes at most 20 s for each address and 20 s for the
    /// handshake, and as long as the system's resolver takes for the name.
    pub fn connect(endpoint: &Endpoint, identity: &Identity) -> Result<Self, TlsError> {
        Self::connect_within(endpoint, identity, ANSWER_TIMEOUT)
    }

    fn connect_within(
        endpoint: &Endpoint,
        identity: &Identity,
        timeout: Duration,
    ) -> Result<Self, TlsError> {
        let name = ServerName::try_from(endpoint.host.clone())
            .map_err(|_| TlsError::HostName(endpoint.host.clone()))?;
        let addresses = (endpoint.host.as_str(), endpoint.port)
            .to_socket_addrs()
            .map_err(|error| TlsError::Unknown(endpoint.host.clone(), error))?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        let mut connected = None;
        for address in addresses {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(tcp) => {
                    connected = Some(tcp);
                    break;
                }
                Err(error) => last = error,
            }
        }
        let tcp = connected.ok_or_else(|| TlsError::Connect(endpoint.clone(), last))?;
        let failed = |error| TlsError::Handshake(endpoint.clone(), error);
        tcp.set_nodelay(true).map_err(failed)?;
        tcp.set_write_timeout(Some(timeout)).map_err(failed)?;
        let tls = ClientConnection::new(Arc::clone(&identity.0), name)
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let mut line = Self(StreamOwned::new(tls, tcp));
        line.shake_hands(Instant::now() + timeout).map_err(failed)?;
        line.0.sock.set_read_timeout(Some(timeout)).map_err(failed)?;
        Ok(line)
    }

    /// Comes to terms with the server before a moment, however slowly it speaks: until then anybody
    /// could be at the other end.
    fn shake_hands(&mut self, until: Instant) -> io::Result<()> {
        loop {
            self.answer()?;
            if !self.0.conn.is_handshaking() {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.0.sock.set_read_timeout(Some(left))?;
            if self.0.conn.read_tls(&mut self.0.sock)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.take_in()?;
        }
    }

    /// Makes of the bytes that were read what they mean; returns how many for the reader came.
    fn take_in(&mut self) -> io::Result<usize> {
        let state = self.0.conn.process_new_packets();
        let state = state.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
        // An error is answered too: the server logs what the alert says.
        self.answer()?;
        Ok(state?.plaintext_bytes_to_read())
    }

    /// Sends what TLS itself has to say: the handshake, alerts, key updates.
    fn answer(&mut self) -> io::Result<()> {
        while self.0.conn.wants_write() {
            self.0.conn.write_tls(&mut self.0.sock)?;
        }
        Ok(())
    }

    /// Sends everything.
    ///
    /// # Errors
    /// The line is cut, or the server takes nothing for 20 s.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    /// Appends what has come in; waits for more only as far as TCP has nothing yet, so it is called
    /// when the line is readable. Returns whether the server is still there.
    ///
    /// # Errors
    /// The line is cut, or TLS is broken.
    pub fn receive(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        let is_open = self.0.conn.read_tls(&mut self.0.sock)? > 0;
        let n_bytes = self.take_in()?;
        self.0.conn.reader().take(n_bytes as u64).read_to_end(into)?;
        Ok(is_open)
    }

    /// Says that nothing more will come.
    pub fn close(mut self) {
        self.0.conn.send_close_notify();
        // The server may be gone already.
        let _ = self.0.conn.complete_io(&mut self.0.sock);
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.sock.as_fd()
    }
}

#[cfg(test)]
mod tests;

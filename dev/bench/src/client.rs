//! An MQTT 3.1.1 client that can do no more than loads and the main line need: the frames are made
//! by hand, so that nothing of a library is measured.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// A connection, with TLS or without.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin> Stream for IO {}

/// Where a broker lets clients in, and what they show.
#[derive(Clone)]
pub(crate) struct Door {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Set where TLS is spoken.
    pub(crate) tls: Option<TlsConnector>,
}

impl Door {
    /// Connects with a clean session.
    ///
    /// # Errors
    /// When nothing listens there, or the handshake or the CONNECT is refused.
    pub(crate) async fn connect(&self, client: &str) -> Result<Box<dyn Stream>> {
        self.introduce(client, b"MQTT\x04\x02\x00\x3c").await
    }

    /// Connects with a session that outlives the connection.
    ///
    /// # Errors
    /// As [`Door::connect`], and when there is such a session already.
    pub(crate) async fn connect_to_stay(&self, client: &str) -> Result<Box<dyn Stream>> {
        self.introduce(client, b"MQTT\x04\x00\x00\x3c").await
    }

    async fn introduce(&self, client: &str, terms: &[u8; 8]) -> Result<Box<dyn Stream>> {
        let stream = TcpSocket::new_v4()?
            .connect(self.address)
            .await
            .with_context(|| format!("nothing listens at {}", self.address))?;
        let mut stream = self.secure(stream).await?;
        let mut packet = vec![0x10, 12 + u8::try_from(client.len())?, 0, 4];
        packet.extend_from_slice(terms);
        put_text(&mut packet, client)?;
        let answer = ask(&mut stream, &packet).await?;
        ensure!(answer == [0x20, 2, 0, 0], "CONNECT was refused: {answer:?}");
        Ok(stream)
    }

    async fn secure(&self, stream: TcpStream) -> Result<Box<dyn Stream>> {
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some(tls) => Box::new(tls.connect(ServerName::try_from("localhost")?, stream).await?),
        })
    }
}

/// Subscribes to one filter.
///
/// # Errors
/// When it is refused or granted at another QoS.
pub(crate) async fn subscribe(stream: &mut dyn Stream, filter: &str, qos: u8) -> Result<()> {
    let mut packet = vec![0x82, 5 + u8::try_from(filter.len())?, 0, 1];
    put_text(&mut packet, filter)?;
    packet.push(qos);
    let answer: [u8; 5] = ask(stream, &packet).await?;
    ensure!(answer == [0x90, 3, 0, 1, qos], "SUBSCRIBE was refused: {answer:?}");
    Ok(())
}

/// Ends a connection, and waits until the broker has ended it too.
///
/// # Errors
/// When it is lost before.
pub(crate) async fn disconnect(mut stream: Box<dyn Stream>) -> Result<()> {
    stream.write_all(&[0xe0, 0]).await?;
    stream.flush().await?;
    let n_bytes = stream.read_to_end(&mut Vec::new()).await?;
    ensure!(n_bytes == 0, "something came after DISCONNECT");
    Ok(())
}

/// A PUBLISH of the topic and so many bytes, and where in it its packet id is.
///
/// # Errors
/// When the topic is too long.
pub(crate) fn publish_frame(
    topic: &str,
    qos: u8,
    payload_bytes: usize,
) -> Result<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    put_text(&mut body, topic)?;
    let id_at = body.len();
    if qos > 0 {
        body.extend_from_slice(&[0, 0]);
    }
    body.resize(body.len() + payload_bytes, b'x');
    let mut frame = vec![0x30 | (qos << 1)];
    let mut left = body.len();
    while left >= 0x80 {
        frame.push((left % 0x80) as u8 | 0x80);
        left /= 0x80;
    }
    frame.push(left as u8);
    let id_at = frame.len() + id_at;
    frame.extend_from_slice(&body);
    Ok((frame, id_at))
}

/// A client's side of mutual TLS.
///
/// # Errors
/// When a text is no PEM or the key does not go with the certificate.
pub(crate) fn tls(ca_pem: &[u8], certificate_pem: &str, key_pem: &str) -> Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(certificate_pem.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key_pem.as_bytes())?,
        )?;
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn ask<const N: usize>(stream: &mut dyn Stream, packet: &[u8]) -> Result<[u8; N]> {
    stream.write_all(packet).await?;
    stream.flush().await?;
    let mut answer = [0; N];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn put_text(packet: &mut Vec<u8>, text: &str) -> Result<()> {
    packet.extend_from_slice(&u16::try_from(text.len())?.to_be_bytes());
    packet.extend_from_slice(text.as_bytes());
    Ok(())
}

use std::net::TcpListener;
use std::path::PathBuf;
use std::thread::JoinHandle;

use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection};

use super::*;

/// The files of a device, in a folder, and a server of the same authority.
struct Scene {
    dir: tempfile::TempDir,
    server: Arc<ServerConfig>,
}

/// What a client asked for.
#[derive(Debug)]
struct Asked {
    /// By ALPN.
    protocol: Option<String>,
    /// By SNI.
    server: Option<String>,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut ca_params = CertificateParams::default();
        ca_params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = ca_params.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(ca_params, &ca_key);
        let signed = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let (device, device_key) = signed("pump-7");
        for (name, text) in
            [("ca", ca.pem()), ("cert", device.pem()), ("key", device_key.serialize_pem())]
        {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let (server, server_key) = signed("localhost");
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![server.der().clone()],
                PrivateKeyDer::try_from(server_key.serialize_der()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec(), ALPN_MQTT.to_vec()];
        Self { dir, server: Arc::new(config) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The device, as if the server had this port.
    fn identity(&self, port: u16) -> Identity {
        Identity::load(&self.file("ca"), &self.file("cert"), &self.file("key"), port).unwrap()
    }

    /// A server that shakes hands once and says what was asked for.
    fn serve(&self) -> (Endpoint, JoinHandle<Asked>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = Arc::clone(&self.server);
        let thread = std::thread::spawn(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            let mut tls = ServerConnection::new(config).unwrap();
            while tls.is_handshaking() {
                tls.complete_io(&mut tcp).unwrap();
            }
            assert!(tls.peer_certificates().is_some_and(|found| found.len() == 1));
            let protocol = tls.alpn_protocol().map(|name| String::from_utf8_lossy(name).into());
            Asked { protocol, server: tls.server_name().map(str::to_owned) }
        });
        (Endpoint { host: "localhost".to_owned(), port }, thread)
    }
}

#[test]
fn with_port_443_the_protocol_is_named_and_the_server_always() {
    let scene = Scene::new();
    for (port, expected) in [(443, Some("x-amzn-mqtt-ca")), (8883, None)] {
        let (endpoint, server) = scene.serve();
        let line = Line::connect(&endpoint, &scene.identity(port)).unwrap();
        let asked = server.join().unwrap();
        assert_eq!(asked.protocol.as_deref(), expected, "{port}");
        assert_eq!(asked.server.as_deref(), Some("localhost"));
        line.close();
    }
}

#[test]
fn a_server_of_another_authority_is_none() {
    let (scene, other) = (Scene::new(), Scene::new());
    let (endpoint, server) = other.serve();
    let refused = Line::connect(&endpoint, &scene.identity(8883));
    assert!(matches!(refused, Err(TlsError::Handshake(..))), "{refused:?}");
    assert!(server.join().is_err(), "the server is told");
}

#[test]
fn a_server_that_drips_does_not_hold_the_agent() {
    let scene = Scene::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let endpoint = Endpoint { host: "localhost".to_owned(), port };
    let server = std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        // A record of the handshake, and bytes of it for as long as somebody listens.
        let mut record = [22, 3, 3, 0x3F, 0, 2, 0, 0xFF, 0xFF].iter().chain(std::iter::repeat(&0));
        while tcp.write_all(&[*record.next().unwrap()]).is_ok() {
            std::thread::yield_now();
        }
    });
    let timeout = Duration::from_millis(200);
    let gave_up = Line::connect_within(&endpoint, &scene.identity(8883), timeout);
    assert!(matches!(gave_up, Err(TlsError::Handshake(..))), "{gave_up:?}");
    server.join().unwrap();
}

/// Why these files are no identity.
fn check(ca: &str, cert: &str, key: &str, expected: &str) {
    let scene = Scene::new();
    std::fs::write(scene.file("nonsense"), "-----BEGIN nothing").unwrap();
    std::fs::write(scene.file("huge"), vec![b'x'; PEM_BYTES_MAX + 1]).unwrap();
    let other = Scene::new();
    std::fs::copy(other.file("key"), scene.file("other-key")).unwrap();
    let found = Identity::load(&scene.file(ca), &scene.file(cert), &scene.file(key), 8883);
    let mut error: &dyn std::error::Error = &found.unwrap_err();
    let mut said = error.to_string();
    while let Some(cause) = error.source() {
        said = format!("{said}: {cause}");
        error = cause;
    }
    assert!(said.contains(expected), "`{expected}` is not in `{said}`");
}

#[test]
fn files_that_are_no_identity_are_named() {
    check("none", "cert", "key", "cannot read");
    check("nonsense", "cert", "key", "holds no certificate");
    check("ca", "key", "key", "holds no certificate");
    check("ca", "cert", "cert", "holds no private key");
    check("ca", "cert", "other-key", "cannot be used");
    check("huge", "cert", "key", "it is longer than 1048576 bytes");
}

//! `picket-agent enroll`: a certificate for a new thing, against a token.
//!
//! The key is made here and stays here: what goes to the server is a request for a certificate.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use picket_model::ThingName;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};

use crate::cli::EnrollArgs;
use crate::install::EXAMPLE;
use crate::limits::{ANSWER_TIMEOUT, ENROLL_ANSWER_BYTES_MAX};
use crate::tls;

/// What the server is asked for. Source: docs/agent.md, "Enrolment".
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    token: &'a str,
    thing_name: &'a str,
    certificate_signing_request: &'a str,
}

/// What the server gives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Enrolled {
    thing_name: String,
    certificate_pem: String,
    /// The authority that signed the server's own certificate.
    ca_pem: String,
    /// Where devices connect: `HOST:PORT`.
    endpoint: String,
}

/// What the server says when it refuses.
#[derive(Debug, Deserialize)]
struct Refusal {
    message: String,
}

/// Gets a certificate and writes it, the key and a configuration.
///
/// # Errors
/// There is a key or a certificate already, the server refuses, or a file cannot be written; then
/// key and certificate are not left behind. Whether the key can be written is found out before the
/// server is asked, so that a full disk does not cost a use of the token.
pub fn run(args: &EnrollArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let thing = match &args.thing_name {
        Some(name) => name.clone(),
        None => host_name()?,
    };
    let thing = ThingName::parse(thing).context("the thing cannot be called so")?;
    let files = Files::below(&args.dir);
    files.must_not_exist()?;
    check_url(&args.server, args.insecure)?;

    let key = KeyPair::generate().context("cannot make a key")?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, thing.as_str());
    let request = params.serialize_request(&key).and_then(|request| request.pem());
    let request = request.context("cannot ask for a certificate")?;

    let draft = Draft::of_key(&files, &key.serialize_pem())?;
    let enrolled = ask(args, &thing, &request)?;
    check(&enrolled)?;
    files.write(&enrolled)?;
    draft.keep();
    writeln!(out, "enrolled as `{}`", enrolled.thing_name.escape_debug())?;
    writeln!(out, "wrote {}", args.dir.display())?;
    writeln!(out, "next:\n  picket-agent --once --config {}", files.config.display())?;
    Ok(())
}

fn host_name() -> anyhow::Result<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname");
    Ok(name.context("give the thing's name with --thing_name")?.trim().to_owned())
}

/// Lets a token travel only where nobody can read it, or within this machine.
fn check_url(url: &str, insecure: bool) -> anyhow::Result<()> {
    let uri: Option<Uri> = url.parse().ok();
    let parts = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.host()?)));
    let is_here = match parts {
        Some(("https", _)) => return Ok(()),
        Some(("http", host)) => matches!(host, "localhost" | "127.0.0.1" | "[::1]"),
        _ => bail!("`{}` is no URL that begins with https:// or http://", url.escape_debug()),
    };
    ensure!(
        is_here || insecure,
        "with `http://` whoever is on the way can read the token and answer in the server's place; use https, or --insecure in a network that is yours alone",
    );
    Ok(())
}

fn ask(args: &EnrollArgs, thing: &ThingName, request: &str) -> anyhow::Result<Enrolled> {
    let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ));
    if let Some(file) = &args.root_ca {
        let found = tls::certificates(file)?;
        let found = found.iter().map(|der| ureq::tls::Certificate::from_der(der).to_owned());
        let found: Vec<_> = found.collect();
        tls = tls.root_certs(RootCerts::new_with_certs(&found));
    } else {
        ensure!(
            !args.server.to_ascii_lowercase().starts_with("https"),
            "https needs `--rootCA`, the authority that signed the certificate of that server"
        );
    }
    let agent = ureq::Agent::config_builder()
        .tls_config(tls.build())
        .timeout_global(Some(ANSWER_TIMEOUT + Duration::from_secs(40)))
        .http_status_as_error(false)
        // A token is for the server that was named.
        .max_redirects(0)
        .proxy(None)
        .build()
        .new_agent();
    let body = serde_json::to_vec(&Request {
        token: &args.token,
        thing_name: thing.as_str(),
        certificate_signing_request: request,
    })?;
    let url = format!("{}/picket/enroll", args.server.trim_end_matches('/'));
    let mut answer = agent
        .post(&url)
        .header("content-type", "application/json")
        .send(&body)
        .with_context(|| format!("cannot reach `{}`", url.escape_debug()))?;
    let status = answer.status();
    let text = answer.body_mut().with_config().limit(ENROLL_ANSWER_BYTES_MAX).read_to_vec();
    let text = text.context("cannot read what the server answers")?;
    if status.is_success() {
        return serde_json::from_slice(&text).context("the server's answer is no enrolment");
    }
    match serde_json::from_slice(&text) {
        Ok(Refusal { message }) => {
            let message: String = message.chars().take(300).collect();
            bail!("the server refuses: {}", message.escape_debug())
        }
        Err(_) => bail!("the server refuses with status {}", status.as_u16()),
    }
}

/// Looks at what the server gave before it is believed and written.
fn check(enrolled: &Enrolled) -> anyhow::Result<()> {
    ThingName::parse(enrolled.thing_name.as_str()).context("the server's thing name is none")?;
    for (pem, what) in [(&enrolled.certificate_pem, "certificate"), (&enrolled.ca_pem, "authority")]
    {
        CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| anyhow::anyhow!("the server's {what} is no certificate"))?;
    }
    crate::endpoint::Endpoint::parse(&enrolled.endpoint).context("the server's endpoint")?;
    Ok(())
}

/// The files of an enrolled device.
struct Files {
    key: PathBuf,
    cert: PathBuf,
    root_ca: PathBuf,
    config: PathBuf,
}

impl Files {
    fn below(dir: &Path) -> Self {
        let file = |name| dir.join(name);
        Self {
            key: file("key.pem"),
            cert: file("cert.pem"),
            root_ca: file("root-ca.pem"),
            config: file("agent.toml"),
        }
    }

    /// A key that is overwritten is lost, and the certificate with it.
    fn must_not_exist(&self) -> anyhow::Result<()> {
        for file in [&self.key, &self.cert] {
            ensure!(
                !file.exists(),
                "`{}` is there already: this device is enrolled",
                file.display()
            );
        }
        Ok(())
    }

    /// Writes all but the key.
    fn write(&self, enrolled: &Enrolled) -> anyhow::Result<()> {
        create(&self.cert, 0o644, &enrolled.certificate_pem).with_context(|| shown(&self.cert))?;
        write_over(&self.root_ca, &enrolled.ca_pem).with_context(|| shown(&self.root_ca))?;
        // A configuration that somebody filled in stays; one that was only installed is filled in.
        let there = fs::read_to_string(&self.config);
        if there.is_err() || there.is_ok_and(|text| text == EXAMPLE) {
            let text = self.configuration(enrolled)?;
            write_over(&self.config, &text).with_context(|| shown(&self.config))?;
        }
        Ok(())
    }

    /// The example, with what is known now.
    fn configuration(&self, enrolled: &Enrolled) -> anyhow::Result<String> {
        let path = |path: &Path| path.to_str().map(str::to_owned);
        let values = [
            ("endpoint", Some(enrolled.endpoint.clone())),
            ("root_ca", path(&self.root_ca)),
            ("cert", path(&self.cert)),
            ("key", path(&self.key)),
            ("thing_name", Some(enrolled.thing_name.clone())),
        ];
        let mut text = String::new();
        for line in EXAMPLE.lines() {
            let key = line.split(" = ").next().unwrap_or_default();
            match values.iter().find(|(name, _)| *name == key) {
                Some((name, value)) => {
                    let value = value.as_deref().context("the folder's name is no UTF-8")?;
                    text += &format!("{name} = {}\n", toml_string(value));
                }
                None => text += &format!("{line}\n"),
            }
        }
        Ok(text)
    }
}

/// Key and certificate of an enrolment that is not through: if it fails they go again, and the
/// folder too if it is new.
struct Draft<'a> {
    files: Option<&'a Files>,
    is_dir_new: bool,
}

impl<'a> Draft<'a> {
    /// Writes the key.
    fn of_key(files: &'a Files, key: &str) -> anyhow::Result<Self> {
        let dir = files.key.parent().unwrap_or(Path::new("/"));
        let is_dir_new = !dir.exists();
        fs::create_dir_all(dir).with_context(|| shown(dir))?;
        // Until it is written, a key that is there is somebody else's.
        let mut draft = Self { files: None, is_dir_new };
        create(&files.key, 0o600, key).with_context(|| shown(&files.key))?;
        draft.files = Some(files);
        Ok(draft)
    }

    fn keep(mut self) {
        self.files = None;
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        let Some(files) = self.files else { return };
        // What cannot be removed stays: there is nobody left to tell.
        let _ = fs::remove_file(&files.cert);
        let _ = fs::remove_file(&files.key);
        if self.is_dir_new
            && let Some(dir) = files.key.parent()
        {
            let _ = fs::remove_dir(dir);
        }
    }
}

/// What is said of a file that cannot be written.
fn shown(file: &Path) -> String {
    format!("cannot write `{}`", file.display())
}

/// A text as TOML writes it: JSON's escapes are TOML's as well.
fn toml_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Writes a file that must not be there yet; half of one is not left.
fn create(file: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut made = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(file)?;
    let written = made.write_all(text.as_bytes()).and_then(|()| made.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(file);
    }
    written
}

fn write_over(file: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::File::create(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests;

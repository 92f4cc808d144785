//! `picket env`: what AWS tools and MQTT clients need to reach the server of a data directory.

use std::net::SocketAddr;
use std::path::PathBuf;

use picket_api::AccessKey;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::cli::EnvFormat;
use crate::data_dir::{DataDir, DataDirError, Endpoints};
use crate::serve::reachable;

/// Names and values, in the order in which they are printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Environment(Vec<(&'static str, String)>);

/// Why there is nothing to print.
#[derive(Debug, Error)]
pub(crate) enum EnvError {
    /// Nothing runs there, or never did.
    #[error(
        "no server runs on the data directory `{}`; start one with `picket serve --data-dir {}`",
        dir.display(),
        quote(&dir.to_string_lossy())
    )]
    NoServer {
        /// The directory asked for.
        dir: PathBuf,
    },
    /// The directory cannot be read.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

impl Environment {
    /// Gathers the variables from what a running server wrote.
    pub(crate) fn of(dir: &DataDir) -> Result<Self, EnvError> {
        let no_server = || EnvError::NoServer { dir: dir.root().to_owned() };
        let endpoints = dir.endpoints()?.ok_or_else(no_server)?;
        let key = dir.administrator()?.ok_or_else(no_server)?;
        // AWS tools and MQTT clients run in other folders than this command.
        let ca = endpoints.ca.clone().unwrap_or_else(|| dir.ca_path());
        let ca = std::path::absolute(&ca).unwrap_or(ca);
        Ok(Self::from_parts(&endpoints, &key, &ca.to_string_lossy()))
    }

    fn from_parts(endpoints: &Endpoints, key: &AccessKey, ca: &str) -> Self {
        let mut variables = Vec::new();
        if let Some(api) = endpoints.api.first() {
            let scheme = if endpoints.api_tls { "https" } else { "http" };
            variables.push(("AWS_ENDPOINT_URL", format!("{scheme}://{}", reachable(*api))));
        }
        variables.push(("AWS_ACCESS_KEY_ID", key.id.clone()));
        variables.push(("AWS_SECRET_ACCESS_KEY", key.secret.clone()));
        variables.push(("AWS_DEFAULT_REGION", endpoints.region.clone()));
        if endpoints.api_tls {
            variables.push(("AWS_CA_BUNDLE", ca.to_owned()));
        }
        variables.push(("PICKET_CA", ca.to_owned()));
        if let Some(mqtts) = endpoints.mqtts.first() {
            variables.push(("PICKET_MQTT_HOST", host(reachable(*mqtts))));
            variables.push(("PICKET_MQTT_PORT", mqtts.port().to_string()));
        }
        if let Some(https) = endpoints.https.first() {
            let authority = format!("{}:{}", url_host(reachable(*https)), https.port());
            variables.push(("PICKET_WEBSOCKET_URL", format!("wss://{authority}/mqtt")));
            variables.push(("PICKET_PUBLISH_URL", format!("https://{authority}/topics/")));
        }
        Self(variables)
    }

    /// Writes the variables, one per line or as one JSON object.
    pub(crate) fn render(&self, format: EnvFormat) -> String {
        match format {
            EnvFormat::Sh => self
                .0
                .iter()
                .map(|(name, value)| format!("export {name}={}\n", quote(value)))
                .collect(),
            EnvFormat::Json => {
                let pairs = self.0.iter().map(|(k, v)| ((*k).to_owned(), Value::from(v.as_str())));
                format!("{:#}\n", Value::Object(Map::from_iter(pairs)))
            }
        }
    }
}

/// The host of an address. Loopback is called by its name: several MQTT clients compare names in
/// the server's certificate only, not addresses.
fn host(address: SocketAddr) -> String {
    if address.ip().is_loopback() { "localhost".to_owned() } else { address.ip().to_string() }
}

/// The same where it stands in a URL.
fn url_host(address: SocketAddr) -> String {
    let host = host(address);
    if host.contains(':') { format!("[{host}]") } else { host }
}

/// One word for a shell, whatever is in it.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn key() -> AccessKey {
        AccessKey { id: "PICKET1".into(), secret: "s3cret".into() }
    }

    fn endpoints() -> Endpoints {
        Endpoints {
            api: vec!["127.0.0.1:8080".parse().unwrap()],
            console: vec!["127.0.0.1:8081".parse().unwrap()],
            mqtts: vec!["0.0.0.0:8883".parse().unwrap()],
            region: "eu-west-1".into(),
            ..Endpoints::default()
        }
    }

    #[test]
    fn env_for_a_shell() {
        let environment = Environment::from_parts(&endpoints(), &key(), "/srv/it's here/ca.pem");
        insta::assert_snapshot!(environment.render(EnvFormat::Sh));
    }

    #[test]
    fn env_as_json() {
        let environment = Environment::from_parts(&endpoints(), &key(), "/srv/picket/ca.pem");
        insta::assert_snapshot!(environment.render(EnvFormat::Json));
    }

    #[test]
    fn a_listener_for_http_has_urls() {
        for (bound, authority) in [
            ("0.0.0.0:443", "localhost:443"),
            ("192.0.2.1:8443", "192.0.2.1:8443"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        ] {
            let endpoints = Endpoints { https: vec![bound.parse().unwrap()], ..endpoints() };
            let text = Environment::from_parts(&endpoints, &key(), "/ca.pem").render(EnvFormat::Sh);
            let websocket = format!("export PICKET_WEBSOCKET_URL='wss://{authority}/mqtt'\n");
            let publish = format!("export PICKET_PUBLISH_URL='https://{authority}/topics/'\n");
            assert!(text.contains(&websocket) && text.contains(&publish), "{text}");
        }
    }

    #[test]
    fn an_api_with_tls_brings_its_authority() {
        let endpoints = Endpoints { api_tls: true, ..endpoints() };
        let text = Environment::from_parts(&endpoints, &key(), "/ca.pem").render(EnvFormat::Sh);
        assert!(text.contains("export AWS_ENDPOINT_URL='https://127.0.0.1:8080'\n"), "{text}");
        assert!(text.contains("export AWS_CA_BUNDLE='/ca.pem'\n"), "{text}");
    }

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        let value = "a'b \"c\" $HOME `id` \\ \n*";
        let script = format!("export X={}; printf %s \"$X\"", quote(value));
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
    }

    #[test]
    fn without_a_server_the_error_says_how_to_start_one() {
        let dir = DataDir::at(Path::new("no such folder"));
        let error = Environment::of(&dir).unwrap_err().to_string();
        insta::assert_snapshot!(error, @"no server runs on the data directory `no such folder`; start one with `picket serve --data-dir 'no such folder'`");
    }
}

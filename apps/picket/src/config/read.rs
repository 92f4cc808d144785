//! From the text of `picket.toml` to settings, or to everything that is wrong with it.

pub(super) mod limits;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use picket_broker::tls::Protocol;
use picket_model::{Account, DeviceName, PolicyName};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Admission, Config, DAY_MS, Listener, Problem, parse_listen};
use crate::limits::{DELEGATES_MAX, LISTENERS_MAX, ORIGINS_MAX, TLS_FILES_MAX};
use crate::tls::{IdentityFiles, TlsFiles};

/// Half a minute is already long for a message that crosses one machine; more would only delay
/// every alarm.
const GRACE_MS: RangeInclusive<i64> = 0..=30_000;

/// Silence is looked for every five minutes, so a shorter one would not be noticed in time; in a
/// year every device that is still there was heard of.
const SILENCE_S: RangeInclusive<i64> = 300..=365 * 24 * 3_600;

/// AWS's is not documented; more than an hour of values would only be more to lose.
const EXPORT_INTERVAL_S: RangeInclusive<i64> = 1..=3_600;

/// Ten years: longer than anybody keeps a log, and still a moment that can be counted in.
const KEPT_DAYS: RangeInclusive<i64> = 1..=3_650;

/// AWS asks for five minutes; an hour between reports is the longest window there is. 0 is for
/// tests.
const REPORT_INTERVAL_S: RangeInclusive<i64> = 0..=3_600;

/// Reads a configuration file.
///
/// # Errors
/// Every problem of the file, in the order of its lines; if it is no TOML, only where it stops
/// being so.
pub(super) fn config(text: &str) -> Result<Config, Vec<Problem>> {
    let source = Source { text, problems: RefCell::default() };
    let root = DeTable::parse(text).map_err(|error| {
        let line = source.line(error.span().map_or(0, |span| span.start));
        vec![Problem { line, message: error.message().to_owned() }]
    })?;
    let config = read(&source, root.get_ref());
    let mut problems = source.problems.into_inner();
    problems.sort_by_key(|problem| problem.line);
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// Reads all tables. What is wrong goes to the source's list and leaves its default behind.
fn read(source: &Source, root: &DeTable) -> Config {
    let mut config = Config::default();
    let mut root = Table::new(source, "", root, 0);

    if let Some(mut account) = root.table("account") {
        account.set("id", &mut config.account.id, account_id);
        account.set("region", &mut config.account.region, region);
        account.finish();
    }
    if let Some(mut endpoint) = root.table("endpoint") {
        endpoint.set("host", &mut config.endpoint_host, host);
        endpoint.finish();
    }
    if let Some(mut api) = root.table("api") {
        api.set("listen", &mut config.api_listen, listen);
        api.finish();
    }
    if let Some(mut console) = root.table("console") {
        console.set("listen", &mut config.console_listen, listen);
        console.finish();
    }
    if let Some(mut tls) = root.table("tls") {
        config.tls = tls_files(&mut tls);
        tls.finish();
    }
    if let Some(mut mqtt) = root.table("mqtt") {
        mqtt.moved("payload_bytes_max", "mqtt.limits.payload_bytes_max");
        if let Some(table) = mqtt.table("limits") {
            limits::read(table, &mut config.mqtt_limits);
        }
        mqtt.set("durable_sessions", &mut config.durable_sessions, boolean);
        if mqtt.get("aws_limits", boolean).unwrap_or(false) {
            config.mqtt_limits = config.mqtt_limits.within_aws();
        }
        if let Some(tables) = mqtt.tables("listener") {
            config.listeners = tables.into_iter().filter_map(listener).collect();
        }
        mqtt.finish();
    }
    if let Some(mut detect) = root.table("detect") {
        detect.set("grace_ms", &mut config.grace_ms, |value| integer(value, GRACE_MS));
        detect.set("silence_s", &mut config.silence_ms, |value| {
            Ok(1_000 * integer(value, SILENCE_S)?)
        });
        detect.set("export_interval_s", &mut config.export_interval_ms, |value| {
            Ok(1_000 * integer(value, EXPORT_INTERVAL_S)?)
        });
        let days = |value: &DeValue| Ok(DAY_MS * integer(value, KEPT_DAYS)?);
        detect.set("violations_kept_days", &mut config.kept.violations_ms, days);
        detect.set("metric_values_kept_days", &mut config.kept.metric_values_ms, days);
        detect.set("aws_durations_only", &mut config.aws_durations_only, boolean);
        detect.finish();
    }
    if let Some(mut reports) = root.table("reports") {
        reports.set("min_interval_s", &mut config.reports.min_interval_s, |value| {
            integer(value, REPORT_INTERVAL_S).map(|s| u32::try_from(s).unwrap_or(u32::MAX))
        });
        reports.set("delegates", &mut config.reports.delegates, device_names);
        reports.finish();
    }
    if let Some(mut functions) = root.table("functions") {
        functions.set("python", &mut config.python, |value| interpreter(value).map(Some));
        functions.finish();
    }
    root.finish();
    config
}

/// Reads `[tls]`.
fn tls_files(table: &mut Table) -> TlsFiles {
    let (certificate, key) = (table.get("certificate", file), table.get("key", file));
    let authority = table.get("authority", file);
    let has = |key| table.entries.contains_key(key);
    if has("certificate") != has("key") {
        table.complain("`tls.certificate` and `tls.key` are given together or not at all");
    }
    let identity =
        certificate.zip(key).map(|(certificate, key)| IdentityFiles { certificate, key });
    if has("authority") && !has("certificate") {
        table.complain_at("authority", "`tls.authority` says who signed `tls.certificate`");
    }
    TlsFiles {
        identity,
        authority,
        crls: table.get("crls", files).unwrap_or_default(),
        crl_issuers: table.get("crl_issuers", files).unwrap_or_default(),
    }
}

/// Reads one `[[mqtt.listener]]`; `None` if it breaks a rule, which is then on the list.
fn listener(mut table: Table) -> Option<Listener> {
    let address = table.get("listen", listen);
    let tls = table.get("tls", boolean).unwrap_or(true);
    let protocol = table.get("protocol", protocol).unwrap_or(Protocol::Mqtt);
    let origins = table.get("allowed_origins", origins).unwrap_or_default();
    let policy = table.get("anonymous_policy", policy_name);
    let allow_remote = table.get("allow_remote", boolean).unwrap_or(false);
    let has = |key| table.entries.contains_key(key);
    if !has("listen") {
        table.complain("a listener needs `listen`, such as `listen = \"0.0.0.0:8883\"`");
    }
    if tls {
        for key in ["anonymous_policy", "allow_remote"].into_iter().filter(|key| has(key)) {
            table.complain_at(key, &format!("`{key}` is for a listener with `tls = false`"));
        }
    } else {
        if !has("anonymous_policy") {
            table.complain(
                "a listener without TLS needs `anonymous_policy`, the IoT policy whose rights its sessions get",
            );
        }
        if address.is_some_and(|address| !address.ip().is_loopback()) && !allow_remote {
            table.complain_at(
                "listen",
                "a listener without TLS binds to loopback only, unless it says `allow_remote = true`",
            );
        }
    }
    table.finish();
    let admission = if tls { Admission::Certificate } else { Admission::Anonymous(policy?) };
    Some(Listener { listen: address?, admission, protocol, origins })
}

/// The text that is read and what was found wrong with it so far.
struct Source<'a> {
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
}

impl Source<'_> {
    /// The line, from 1, that a byte offset lies in.
    fn line(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn complain(&self, offset: usize, message: String) {
        self.problems.borrow_mut().push(Problem { line: self.line(offset), message });
    }
}

/// A table of the file that is being read. It learns the keys there can be from being asked for
/// them, so no second list of them can go stale.
struct Table<'a> {
    source: &'a Source<'a>,
    /// Dotted name, empty for the whole file.
    name: String,
    entries: &'a DeTable<'a>,
    /// Where the table begins in the text.
    offset: usize,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    fn new(source: &'a Source<'a>, name: &str, entries: &'a DeTable<'a>, offset: usize) -> Self {
        Self { source, name: name.to_owned(), entries, offset, known: Vec::new() }
    }

    /// The full name of a key in this table.
    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn entry(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.entries.get(key)
    }

    /// The value of a key, if it is there and `parse` takes it.
    fn get<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&DeValue) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.entry(key)?;
        match parse(value.get_ref()) {
            Ok(parsed) => Some(parsed),
            Err(message) => {
                self.complain_at(key, &format!("`{}`: {message}", self.path(key)));
                None
            }
        }
    }

    /// Overwrites `place` with the value of a key, if it is there and `parse` takes it.
    fn set<T>(
        &mut self,
        key: &'static str,
        place: &mut T,
        parse: impl FnOnce(&DeValue) -> Result<T, String>,
    ) {
        if let Some(value) = self.get(key, parse) {
            *place = value;
        }
    }

    /// Refuses a key that has another place by now.
    fn moved(&mut self, key: &'static str, place: &str) {
        if self.entry(key).is_some() {
            self.complain_at(key, &format!("`{}` is `{place}` now", self.path(key)));
        }
    }

    /// The table under a key.
    fn table(&mut self, key: &'static str) -> Option<Table<'a>> {
        let value = self.entry(key)?;
        let table = as_table(self.source, &self.path(key), value);
        if table.is_none() {
            self.complain_at(key, &format!("`{0}` is a section: write `[{0}]`", self.path(key)));
        }
        table
    }

    /// The list of tables under a key.
    fn tables(&mut self, key: &'static str) -> Option<Vec<Table<'a>>> {
        let value = self.entry(key)?;
        let path = self.path(key);
        let tables: Option<Vec<_>> = value.get_ref().as_array().and_then(|items| {
            items.iter().map(|item| as_table(self.source, &path, item)).collect()
        });
        match tables {
            Some(tables) if tables.len() <= LISTENERS_MAX && !tables.is_empty() => Some(tables),
            Some(tables) => {
                let n = tables.len();
                self.complain_at(key, &format!("{n} of `{path}`: 1 to {LISTENERS_MAX} can be"));
                None
            }
            None => {
                self.complain_at(key, &format!("`{path}` can be repeated: write `[[{path}]]`"));
                None
            }
        }
    }

    /// Notes a problem of the table as a whole.
    fn complain(&self, message: &str) {
        self.source.complain(self.offset, message.to_owned());
    }

    /// Notes a problem at the line of a key.
    fn complain_at(&self, key: &str, message: &str) {
        let offset = self.entries.get_key_value(key).map_or(self.offset, |(k, _)| k.span().start);
        self.source.complain(offset, message.to_owned());
    }

    /// Notes every key that nobody asked for, with the one that was probably meant.
    fn finish(self) {
        for key in self.entries.keys() {
            let word = key.get_ref().as_ref();
            if !self.known.contains(&word) {
                let message = format!("unknown key `{}`; {}", self.path(word), self.hint(word));
                self.source.complain(key.span().start, message);
            }
        }
    }

    fn hint(&self, word: &str) -> String {
        let near = self
            .known
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(word, a).total_cmp(&strsim::jaro_winkler(word, b)));
        near.map_or_else(
            || "there is none here".to_owned(),
            |near| format!("the nearest there is: `{}`", self.path(near)),
        )
    }
}

fn as_table<'a>(
    source: &'a Source<'a>,
    name: &str,
    value: &'a Spanned<DeValue<'a>>,
) -> Option<Table<'a>> {
    let entries = value.get_ref().as_table()?;
    Some(Table::new(source, name, entries, value.span().start))
}

fn mismatch(expected: &str, value: &DeValue) -> String {
    let article = if value.type_str().starts_with(['a', 'i']) { "an" } else { "a" };
    format!("expected {expected}, found {article} {}", value.type_str())
}

fn text<'v>(value: &'v DeValue) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| mismatch("text in quotes", value))
}

fn boolean(value: &DeValue) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| mismatch("true or false", value))
}

fn integer(value: &DeValue, range: RangeInclusive<i64>) -> Result<i64, String> {
    let number = value.as_integer().ok_or_else(|| mismatch("a whole number", value))?;
    i64::from_str_radix(number.as_str(), number.radix())
        .ok()
        .filter(|n| range.contains(n))
        .ok_or_else(|| format!("{number} is not from {} to {}", range.start(), range.end()))
}

fn listen(value: &DeValue) -> Result<SocketAddr, String> {
    parse_listen(text(value)?)
}

fn account_id(value: &DeValue) -> Result<String, String> {
    let id = text(value)?;
    if Account::is_id(id) { Ok(id.to_owned()) } else { Err(format!("`{id}` is not twelve digits")) }
}

fn region(value: &DeValue) -> Result<String, String> {
    let region = text(value)?;
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=32).contains(&region.len()) && region.bytes().all(is_word) {
        Ok(region.to_owned())
    } else {
        Err(format!("`{region}` is not a region's name such as `us-east-1`"))
    }
}

/// A host name or an address without a port: it goes into the certificate as it is.
fn host(value: &DeValue) -> Result<String, String> {
    let host = text(value)?;
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_name = host.len() <= 253 && host.split('.').all(is_label);
    if is_name || host.parse::<std::net::IpAddr>().is_ok() {
        Ok(host.to_owned())
    } else {
        Err(format!("`{host}` is not a host name or address without scheme and port"))
    }
}

fn device_names(value: &DeValue) -> Result<Vec<DeviceName>, String> {
    let list = value.as_array().ok_or_else(|| mismatch("a list of names", value))?;
    if list.len() > DELEGATES_MAX {
        return Err(format!("{} names: at most {DELEGATES_MAX} can be", list.len()));
    }
    let name = |item: &Spanned<DeValue>| {
        DeviceName::parse(text(item.get_ref())?).map_err(|error| error.to_string())
    };
    list.iter().map(name).collect()
}

fn protocol(value: &DeValue) -> Result<Protocol, String> {
    match text(value)? {
        "mqtt" => Ok(Protocol::Mqtt),
        "http" => Ok(Protocol::Http),
        other => Err(format!("`{other}` is neither `mqtt` nor `http`")),
    }
}

/// Origins as browsers write them: a scheme and a host, with a port where it is not the scheme's.
fn origins(value: &DeValue) -> Result<Vec<String>, String> {
    let list = value.as_array().ok_or_else(|| mismatch("a list of origins", value))?;
    if list.len() > ORIGINS_MAX {
        return Err(format!("{} origins: at most {ORIGINS_MAX} can be", list.len()));
    }
    let origin = |item: &Spanned<DeValue>| {
        let origin = text(item.get_ref())?;
        let host = origin.strip_prefix("https://").or(origin.strip_prefix("http://"));
        let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '?', '#', '*', ' ']);
        if host.is_some_and(is_host) {
            Ok(origin.to_owned())
        } else {
            Err(format!("`{origin}` is not an origin such as `https://fleet.example.org`"))
        }
    };
    list.iter().map(origin).collect()
}

fn file(value: &DeValue) -> Result<PathBuf, String> {
    match text(value)? {
        "" => Err("the path of a file cannot be empty".to_owned()),
        path => Ok(PathBuf::from(path)),
    }
}

fn files(value: &DeValue) -> Result<Vec<PathBuf>, String> {
    let list = value.as_array().ok_or_else(|| mismatch("a list of files", value))?;
    if list.len() > TLS_FILES_MAX {
        return Err(format!("{} files: at most {TLS_FILES_MAX} can be", list.len()));
    }
    list.iter().map(|item| file(item.get_ref())).collect()
}

fn policy_name(value: &DeValue) -> Result<PolicyName, String> {
    PolicyName::parse(text(value)?).map_err(|error| error.to_string())
}

fn interpreter(value: &DeValue) -> Result<PathBuf, String> {
    match text(value)? {
        "" => Err("the path of an interpreter cannot be empty".to_owned()),
        path => Ok(PathBuf::from(path)),
    }
}

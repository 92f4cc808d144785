//! The agent beside the AWS Python agent: what each costs a device with few and with many sockets.
//!
//! Both run at the same time on the same sockets, with the same interval. Ours is connected to a
//! server over mutual TLS; the Python agent prints its reports, for it can only connect to port 443:
//! so the comparison is to its advantage.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::http::Method;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::say;
use crate::server::Server;

/// Open TCP sockets on the machine, in turn.
const SOCKETS: [usize; 3] = [10, 1_000, 10_000];

/// Reports that processor time is averaged over. The first costs more than the others: code is
/// loaded, a connection made.
const REPORTS: u32 = 5;

/// Seconds between reports, the shortest there is.
const INTERVAL_S: u32 = 5;

/// How long a report may take to come.
const PATIENCE: Duration = Duration::from_secs(120);

/// The programs that are measured.
pub(crate) struct Programs<'a> {
    /// The server that ours reports to.
    pub(crate) picket: &'a Path,
    /// Ours.
    pub(crate) agent: &'a Path,
    /// An interpreter that has the AWS agent installed.
    pub(crate) python: &'a Path,
}

/// What one program used.
struct Used {
    resident_kib: u64,
    /// What of it is no file that other programs may have mapped too.
    private_kib: u64,
    cpu_per_report: Duration,
}

/// Measures both agents and prints the figures.
pub(crate) async fn run(programs: &Programs<'_>) -> Result<()> {
    let server = Server::start(programs.picket, "[reports]\nmin_interval_s = 1\n").await?;
    let folder = tempfile::tempdir()?;
    provision(&server, folder.path()).await?;
    let size = std::fs::metadata(programs.agent)?.len();
    say(&format!("\nbinary: {:.2} MB (aim: 4 MB)", size as f64 / 1e6));
    say(&format!(
        "\n{:>8}  {:>22}  {:>24}  {:>6}",
        "sockets", "resident, KiB", "CPU per report, ms", "ratio"
    ));
    say(&format!(
        "{:>8}  {:>10}  {:>10}  {:>11}  {:>11}",
        "", "picket", "python", "picket", "python"
    ));
    for n_sockets in SOCKETS {
        let open = open_sockets(n_sockets)?;
        let ours = start_ours(programs, &server, folder.path())?;
        let theirs = start_theirs(programs)?;
        let (ours, theirs) = tokio::try_join!(measure(ours), measure(theirs))?;
        drop(open);
        let memory = |used: &Used| format!("{} ({})", used.resident_kib, used.private_kib);
        let ms = |used: &Used| used.cpu_per_report.as_secs_f64() * 1e3;
        say(&format!(
            "{n_sockets:>8}  {:>12}  {:>14}  {:>8.3}  {:>8.1}  1/{:.0}",
            memory(&ours),
            memory(&theirs),
            ms(&ours),
            ms(&theirs),
            ms(&theirs) / ms(&ours),
        ));
    }
    say("\naims: 4,096 KiB at 1,000 sockets; 1/20 of the Python agent's CPU");
    Ok(())
}

/// Connections over the loopback, both ends here: two sockets each.
fn open_sockets(n_sockets: usize) -> Result<Vec<TcpStream>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?;
    let mut open = Vec::with_capacity(n_sockets);
    while open.len() < n_sockets {
        open.push(TcpStream::connect(at).context("more sockets need a higher `ulimit -n`")?);
        open.push(listener.accept()?.0);
    }
    Ok(open)
}

/// A program that says in a line of its standard error, or output, that a report is made.
struct Running {
    process: Child,
    lines: Box<dyn LinesOf>,
    sign: &'static str,
}

/// Lines of whatever a program writes.
trait LinesOf: Send {
    /// The next line; `None` at the end.
    fn next(
        &mut self,
    ) -> std::pin::Pin<Box<dyn Future<Output = std::io::Result<Option<String>>> + Send + '_>>;
}

impl<R: tokio::io::AsyncRead + Unpin + Send> LinesOf for Lines<BufReader<R>> {
    fn next(
        &mut self,
    ) -> std::pin::Pin<Box<dyn Future<Output = std::io::Result<Option<String>>> + Send + '_>> {
        Box::pin(self.next_line())
    }
}

fn start_ours(programs: &Programs<'_>, server: &Server, folder: &Path) -> Result<Running> {
    let endpoint = format!("localhost:{}", server.address("mqtts")?.port());
    let mut process = Command::new(programs.agent)
        .args(["--endpoint", &endpoint, "--thing_name", "bench", "--verbose"])
        .arg("--rootCA")
        .arg(folder.join("ca.pem"))
        .arg("--cert")
        .arg(folder.join("cert.pem"))
        .arg("--key")
        .arg(folder.join("key.pem"))
        .args(["--interval", &INTERVAL_S.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("the agent cannot be started")?;
    let stderr: ChildStderr = process.stderr.take().context("no standard error")?;
    let lines = Box::new(BufReader::new(stderr).lines());
    Ok(Running { process, lines, sign: "sent report" })
}

fn start_theirs(programs: &Programs<'_>) -> Result<Running> {
    let mut process = Command::new(programs.python)
        .args(["-u", "-m", "AWSIoTDeviceDefenderAgentSDK.agent", "--dryrun", "--format", "json"])
        .args(["--endpoint", "x", "--rootCA", "x", "--cert", "x", "--key", "x"])
        .args(["--client_id", "x", "--interval", &INTERVAL_S.to_string()])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("the AWS agent cannot be started")?;
    let stdout = process.stdout.take().context("no standard output")?;
    let lines = Box::new(BufReader::new(stdout).lines());
    // It prints its report over many lines; this is the last of each.
    Ok(Running { process, lines, sign: "}" })
}

/// Lets a program make its first report, then [`REPORTS`] more, and says what those used.
async fn measure(mut running: Running) -> Result<Used> {
    let pid = running.process.id().context("the program has ended")?;
    next_report(&mut running).await?;
    let before = cpu_time(pid)?;
    for _ in 0..REPORTS {
        next_report(&mut running).await?;
    }
    let cpu_per_report = (cpu_time(pid)? - before) / REPORTS;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = |field: &str| -> Result<u64> {
        let rest = status.lines().find_map(|line| line.strip_prefix(field));
        let number = rest.and_then(|rest| rest.split_ascii_whitespace().next());
        Ok(number.context("the kernel does not tell what is resident")?.parse()?)
    };
    let (resident_kib, private_kib) = (kib("VmRSS:")?, kib("RssAnon:")?);
    running.process.kill().await?;
    Ok(Used { resident_kib, private_kib, cpu_per_report })
}

async fn next_report(running: &mut Running) -> Result<()> {
    let begin = Instant::now();
    loop {
        let left = PATIENCE.saturating_sub(begin.elapsed());
        let line = tokio::time::timeout(left, running.lines.next())
            .await
            .context("no report came")??
            .context("the program has ended")?;
        let is_sign = match running.sign {
            "}" => line == "}",
            sign => line.contains(sign),
        };
        if is_sign {
            return Ok(());
        }
    }
}

/// Processor time of all threads of a process, in nanoseconds: the hundredths of a second of
/// `/proc/PID/stat` are longer than a report takes.
fn cpu_time(pid: u32) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))
            .context("the kernel does not count processor time in nanoseconds")?;
        let used = text.split_ascii_whitespace().next().and_then(|ns| ns.parse().ok());
        sum += Duration::from_nanos(used.context("the kernel's figures are unreadable")?);
    }
    ensure!(sum > Duration::ZERO, "the kernel does not count processor time in nanoseconds");
    Ok(sum)
}

/// Registers the thing `bench` and writes its files.
async fn provision(server: &Server, folder: &Path) -> Result<()> {
    let allow = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]});
    let body = json!({"policyDocument": allow.to_string()});
    server.call("iot", "POST /policies/AllowAll", body).await?;
    server.call("iot", "POST /things/bench", json!({})).await?;
    let line = "POST /keys-and-certificate?setAsActive=true";
    let made = server.call("iot", line, json!({})).await?;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let arn = text(&made["certificateArn"]).context("the certificate has no ARN")?;
    server.call("iot", "PUT /target-policies/AllowAll", json!({"target": arn})).await?;
    let path = "/things/bench/principals";
    server.api.with_header(Method::PUT, path, "x-amzn-principal", &arn).await?;
    let cert = text(&made["certificatePem"]).context("there is no certificate")?;
    let key = text(&made["keyPair"]["PrivateKey"]).context("there is no key")?;
    std::fs::write(folder.join("cert.pem"), cert)?;
    std::fs::write(folder.join("key.pem"), key)?;
    std::fs::write(folder.join("ca.pem"), server.ca_pem()?)?;
    Ok(())
}

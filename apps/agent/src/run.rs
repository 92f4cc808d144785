//! The agent at work: one thread that waits for whatever comes next.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use picket_model::Report;
use picket_report::{Format, ReportTopic, encode};
use rustix::event::{PollFd, PollFlags, Timespec};
use tracing::{debug, info, warn};

use crate::collect::{Collector, Unseen};
use crate::config::{Connection, Settings, Writing};
use crate::custom::Measurer;
use crate::custom::mailbox::Mailbox;
use crate::limits::{MAILBOX_PAUSE, REPLY_TIMEOUT, REPORT_BYTES_MAX, STEADY_AFTER};
use crate::schedule::{Backoff, Schedule};
use crate::session::{Event, Session};
use crate::stop::Stop;
use crate::tls::Identity;

/// Looks at this machine, and remembers what it has to.
struct Observer {
    collector: Collector,
    measurer: Measurer,
    mailbox: Option<Mailbox>,
    writing: Writing,
    /// Before this the mailbox is left alone.
    mail_at: Instant,
    last_id: u64,
    unseen: BTreeSet<Unseen>,
}

/// Reports as the settings say, until it is told to stop or has made the one report asked for.
///
/// # Errors
/// The agent cannot begin: a file is missing, a socket cannot be opened. Afterwards nothing ends
/// it: what fails is logged and tried again.
pub fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let mut observer = Observer::new(&settings)?;
    match &settings.connection {
        None => print(&settings, &mut observer),
        Some(connection) => report(&settings, connection, &mut observer),
    }
}

impl Observer {
    fn new(settings: &Settings) -> anyhow::Result<Self> {
        let mailbox = settings.metrics_socket.as_deref().map(|path| {
            Mailbox::open(path)
                .with_context(|| format!("cannot open the metrics socket `{}`", path.display()))
        });
        Ok(Self {
            collector: Collector::new(settings.collector.clone()),
            measurer: Measurer::new(settings.custom.clone(), &settings.collector.proc),
            mailbox: mailbox.transpose()?,
            writing: settings.writing,
            mail_at: Instant::now(),
            last_id: 0,
            unseen: BTreeSet::new(),
        })
    }

    /// Makes a report of this moment.
    fn observe(&mut self) -> Report {
        // Seconds, as the AWS Python agent counts; a clock that is set back must not repeat a number.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_id = now.as_secs().max(self.last_id + 1);
        let mut collected = self.collector.collect(self.last_id);
        self.take_mail();
        collected.report.custom =
            self.measurer.measure(&self.collector, self.mailbox.as_mut(), &mut collected.unseen);
        // Said once, not with every report.
        for unseen in collected.unseen.difference(&self.unseen) {
            warn!("{unseen}");
        }
        self.unseen = collected.unseen;
        collected.report
    }

    fn take_mail(&mut self) {
        let Some(mailbox) = &mut self.mailbox else { return };
        self.mail_at = Instant::now() + MAILBOX_PAUSE;
        match mailbox.receive(self.measurer.metrics()) {
            Ok(errors) => {
                // One line of log however many there were: they come from outside.
                if let Some(error) = errors.last() {
                    warn!("{} lines of the metrics socket are not taken: {error}", errors.len());
                }
            }
            Err(error) => warn!("the metrics socket cannot be read: {error}"),
        }
    }

    fn encoded(&self, report: &Report) -> Vec<u8> {
        encode(report, self.writing.format, self.writing.names)
    }
}

/// Prints reports in place of sending them; the first says nothing of traffic.
fn print(settings: &Settings, observer: &mut Observer) -> anyhow::Result<ExitCode> {
    let stop = Stop::listen()?;
    let interval = Duration::from_secs(settings.interval_s.into());
    loop {
        let report = observer.observe();
        let mut bytes = observer.encoded(&report);
        if settings.writing.format == Format::Json {
            bytes.push(b'\n');
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(&bytes).and_then(|()| stdout.flush()).context("cannot print")?;
        if settings.once {
            return Ok(ExitCode::SUCCESS);
        }
        let until = Instant::now() + interval;
        loop {
            let woken = wait(&stop, observer, None, until)?;
            if woken.stop {
                return Ok(ExitCode::SUCCESS);
            }
            if woken.mailbox {
                observer.take_mail();
            }
            if Instant::now() >= until {
                break;
            }
        }
    }
}

/// A report that was sent and not yet answered.
struct Unanswered {
    id: u64,
    until: Instant,
}

/// The connected agent.
struct Reporter<'a> {
    settings: &'a Settings,
    connection: &'a Connection,
    identity: Identity,
    topic: ReportTopic,
    observer: &'a mut Observer,
    stop: Stop,
    began: Instant,
    schedule: Schedule,
    backoff: Backoff,
    session: Option<Session>,
    connect_at: Instant,
    connected_at: Instant,
    unanswered: Option<Unanswered>,
    n_unsent: u64,
}

/// How the one report of `--once` went.
type Outcome = Option<ExitCode>;

fn report(
    settings: &Settings,
    connection: &Connection,
    observer: &mut Observer,
) -> anyhow::Result<ExitCode> {
    let port = connection.endpoint.port;
    let identity = Identity::load(&connection.root_ca, &connection.cert, &connection.key, port)?;
    let interval = Duration::from_secs(settings.interval_s.into());
    let now = Instant::now();
    let mut reporter = Reporter {
        settings,
        connection,
        identity,
        topic: ReportTopic { device: (&connection.thing).into(), format: settings.writing.format },
        observer,
        stop: Stop::listen()?,
        began: now,
        schedule: Schedule::new(interval, fastrand::Rng::new()),
        backoff: Backoff::new(fastrand::Rng::new()),
        session: None,
        connect_at: now,
        connected_at: now,
        unanswered: None,
        n_unsent: 0,
    };
    if settings.once {
        reporter.once()
    } else {
        // Nothing of this is sent: it is what the first report's traffic is counted from.
        reporter.observer.observe();
        reporter.for_ever()
    }
}

impl Reporter<'_> {
    /// Connects, sends one report, waits for the answer.
    fn once(&mut self) -> anyhow::Result<ExitCode> {
        let opened = self
            .stop
            .at_once_during(|| Session::open(self.connection, &self.identity, &self.topic));
        self.session = Some(opened?);
        self.say_connected();
        self.send_report();
        if self.unanswered.is_none() {
            bail!("the report was not sent");
        }
        let is_deaf = self.session.as_ref().is_some_and(|session| !session.deaf_to.is_empty());
        let mut outcome = is_deaf.then_some(ExitCode::SUCCESS);
        while let (None, Some(unanswered)) = (outcome, &self.unanswered) {
            let until = unanswered.until;
            let woken = wait(&self.stop, self.observer, self.session.as_ref(), until)?;
            if woken.mailbox {
                self.observer.take_mail();
            }
            if woken.session {
                outcome = self.hear();
            }
            if woken.stop || self.session.is_none() || Instant::now() >= until {
                break;
            }
        }
        self.close();
        outcome.context("the report was sent, but not answered")
    }

    fn for_ever(&mut self) -> anyhow::Result<ExitCode> {
        info!(
            "reporting on `{}` to {} every {} s",
            self.connection.thing, self.connection.endpoint, self.settings.interval_s
        );
        loop {
            let until = self.next_moment();
            let woken = wait(&self.stop, self.observer, self.session.as_ref(), until)?;
            if woken.stop {
                self.close();
                return Ok(ExitCode::SUCCESS);
            }
            if woken.mailbox {
                self.observer.take_mail();
            }
            if woken.session {
                self.hear();
            }
            self.do_what_is_due(Instant::now());
        }
    }

    /// When something is to be done if nothing happens before.
    fn next_moment(&self) -> Instant {
        let report = self.began + self.schedule.due();
        let session = self.session.as_ref().map_or(self.connect_at, Session::due);
        let answer = self.unanswered.as_ref().map(|unanswered| unanswered.until);
        report.min(session).min(answer.unwrap_or(report))
    }

    fn do_what_is_due(&mut self, now: Instant) {
        if self.session.is_none() && now >= self.connect_at {
            self.connect();
        }
        if let Some(session) = &mut self.session
            && let Err(error) = session.keep_alive(now)
        {
            self.lost(&error);
        }
        if let Some(unanswered) = self.unanswered.take_if(|unanswered| now >= unanswered.until) {
            warn!(report.id = unanswered.id, "nobody answered report {}", unanswered.id);
        }
        if now.duration_since(self.began) >= self.schedule.due() {
            self.send_report();
            // Connecting and measuring took their time: the next distance counts from now.
            self.schedule.reported(self.began.elapsed());
        }
    }

    fn connect(&mut self) {
        let opened = self
            .stop
            .at_once_during(|| Session::open(self.connection, &self.identity, &self.topic));
        match opened {
            Ok(session) => {
                self.session = Some(session);
                self.connected_at = Instant::now();
                self.say_connected();
            }
            Err(error) => self.lost(&error),
        }
    }

    fn say_connected(&self) {
        info!("connected to {} as `{}`", self.connection.endpoint, self.connection.client_id);
        for topic in self.session.iter().flat_map(|session| &session.deaf_to) {
            warn!("the server lets no answers through: {topic}");
        }
    }

    /// Makes the report that is due and sends it, if there is a session. A report that cannot be sent
    /// is gone: later it would tell of a time that is over.
    fn send_report(&mut self) {
        let report = self.observer.observe();
        let payload = self.observer.encoded(&report);
        let n_bytes = payload.len();
        if n_bytes > REPORT_BYTES_MAX {
            self.n_unsent += 1;
            warn!(
                "report {} has {n_bytes} bytes, more than {REPORT_BYTES_MAX}, and is not sent; set `list_max` lower or report fewer custom metrics",
                report.id
            );
            return;
        }
        let Some(session) = &mut self.session else {
            self.n_unsent += 1;
            info!("report {} is not sent: not connected ({} so far)", report.id, self.n_unsent);
            return;
        };
        if let Err(error) = session.report(payload) {
            self.n_unsent += 1;
            return self.lost(&error);
        }
        debug!(report.id = report.id, "sent report {} ({n_bytes} bytes)", report.id);
        if session.deaf_to.is_empty() || self.settings.once {
            self.unanswered =
                Some(Unanswered { id: report.id, until: Instant::now() + REPLY_TIMEOUT });
        }
    }

    /// Takes in what the server sent, and says how the report went if it was answered.
    fn hear(&mut self) -> Outcome {
        let session = self.session.as_mut()?;
        let events = match session.receive() {
            Ok(events) => events,
            Err(error) => {
                self.lost(&error);
                return None;
            }
        };
        let mut outcome = None;
        for event in events {
            let (reply, is_accepted) = match &event {
                Event::Accepted(reply) => (reply, true),
                Event::Rejected(reply) => (reply, false),
            };
            // An answer that comes late, or is for another agent of the same thing.
            let Some(id) = self.unanswered.as_ref().map(|unanswered| unanswered.id) else {
                continue;
            };
            if reply.report_id.is_some_and(|answered| answered != id) {
                continue;
            }
            if is_accepted {
                debug!(report.id = id, "report {id} is accepted");
            } else {
                warn!(report.id = id, "report {id} is refused: {reply}");
            }
            self.unanswered = None;
            outcome = Some(if is_accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        outcome
    }

    /// Takes note that there is no session, and when to try again.
    fn lost(&mut self, error: &dyn std::error::Error) {
        if self.session.take().is_some() && self.connected_at.elapsed() >= STEADY_AFTER {
            self.backoff.reset();
        }
        self.unanswered = None;
        let wait = self.backoff.failed();
        self.connect_at = Instant::now() + wait;
        warn!("{}; next attempt in {:.0} s", chain(error), wait.as_secs_f32().ceil());
    }

    fn close(&mut self) {
        if let Some(session) = self.session.take() {
            session.close();
        }
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What ended a wait.
struct Woken {
    stop: bool,
    mailbox: bool,
    session: bool,
}

/// Waits until something comes in, or until a moment.
fn wait(
    stop: &Stop,
    observer: &Observer,
    session: Option<&Session>,
    until: Instant,
) -> anyhow::Result<Woken> {
    let now = Instant::now();
    let (mailbox, until) = match &observer.mailbox {
        Some(mailbox) if now >= observer.mail_at => (Some(mailbox), until),
        Some(_) => (None, until.min(observer.mail_at)),
        None => (None, until),
    };
    let left = Timespec::try_from(until.saturating_duration_since(now));
    // Where there is nothing to listen to, the stop is listened to twice.
    let places = [
        stop.as_fd(),
        mailbox.map_or(stop.as_fd(), AsFd::as_fd),
        session.map_or(stop.as_fd(), AsFd::as_fd),
    ];
    let mut fds = places.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, left.as_ref().ok()))
        .context("cannot wait")?;
    let [stop, mailbox_fd, session_fd] = fds.map(|fd| !fd.revents().is_empty());
    Ok(Woken {
        stop,
        mailbox: mailbox.is_some() && mailbox_fd,
        session: session.is_some() && session_fd,
    })
}

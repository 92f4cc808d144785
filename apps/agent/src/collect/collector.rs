//! The collector: asks for everything, and makes a report of it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use picket_model::Report;

use super::interface::Interfaces;
use super::kernel;
use super::proc_net;
use super::socket::Protocol;
use super::tally::{Names, Tally};
use super::unseen::Unseen;

/// Where sockets are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SocketSource {
    /// Netlink, and `/proc` where netlink is forbidden.
    #[default]
    Auto,
    /// The files of `/proc` alone.
    Proc,
}

/// What the collector has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorOptions {
    /// Where `/proc` is mounted. Any other place than `/proc` is another machine's view, the host's
    /// as a container sees it: then netlink, which only knows the container's own network, is not
    /// asked.
    pub proc: PathBuf,
    /// Where sockets are looked for.
    pub sockets: SocketSource,
    /// Whether the loopback interface's traffic counts.
    pub loopback: bool,
    /// Entries named in a list at most.
    pub list_max: usize,
}

/// A report, and what it lacks.
#[derive(Clone, Debug, PartialEq)]
pub struct Collected {
    /// What was seen.
    pub report: Report,
    /// What could not be seen, each thing once, in order.
    pub unseen: BTreeSet<Unseen>,
}

/// Collects, and remembers the counters of the time before.
#[derive(Debug)]
pub struct Collector {
    options: CollectorOptions,
    random: fastrand::Rng,
    earlier: Option<Interfaces>,
}

impl Collector {
    /// A collector that has seen nothing yet.
    pub fn new(options: CollectorOptions) -> Self {
        Self { options, random: fastrand::Rng::new(), earlier: None }
    }

    /// Looks at the machine once.
    ///
    /// The first report of a collector says nothing of traffic: there is nothing yet that it could be
    /// an increment of. What cannot be seen is left out of the report and named beside it.
    pub fn collect(&mut self, id: u64) -> Collected {
        let mut unseen = BTreeSet::new();
        let mut report = Report { id, ..Report::default() };
        let names = self.names(&mut unseen);
        match self.tally(&mut unseen) {
            Ok(tally) => tally.into_report(&names, &mut self.random, &mut report),
            Err(error) => {
                unseen.insert(Unseen::new("listening ports and connections", error));
            }
        }
        match self.interfaces(&mut unseen) {
            Ok(interfaces) => {
                if let Some(earlier) = &self.earlier {
                    report.network = interfaces.since(earlier);
                }
                self.earlier = Some(interfaces);
            }
            Err(error) => {
                unseen.insert(Unseen::new("traffic", error));
                // Traffic of a time that nobody measured must not appear as one increment.
                self.earlier = None;
            }
        }
        Collected { report, unseen }
    }

    /// The names of the interfaces that the last report spoke of, in order.
    pub fn interface_names(&self) -> impl Iterator<Item = &str> {
        self.earlier.iter().flat_map(Interfaces::names)
    }

    fn is_foreign(&self) -> bool {
        self.options.proc != Path::new("/proc")
    }

    /// The folder `net` of the network that is reported.
    fn net(&self) -> PathBuf {
        // `net` means the network of whoever looks; through the host's `/proc` that is still the
        // container's. Process 1 of the host lives in the host's.
        let of_init = self.options.proc.join("1/net");
        if self.is_foreign() && of_init.is_dir() { of_init } else { self.options.proc.join("net") }
    }

    fn names(&self, unseen: &mut BTreeSet<Unseen>) -> Names {
        let mut names = Names::of_loopback();
        let what = "names of interfaces beside ports and connections";
        if self.is_foreign() {
            unseen.insert(Unseen::new(what, "the mounted /proc does not tell them"));
        } else if let Err(error) =
            kernel::addresses(|ip, index, name| names.insert(ip, index, name))
        {
            unseen.insert(Unseen::new(what, error));
        }
        names
    }

    fn tally(&mut self, unseen: &mut BTreeSet<Unseen>) -> io::Result<Tally> {
        if self.options.sockets == SocketSource::Auto && !self.is_foreign() {
            match self.tally_by_netlink() {
                Ok(tally) => return Ok(tally),
                Err(error) => {
                    unseen.insert(Unseen::new("sockets by netlink, so /proc was read", error));
                }
            }
        }
        self.tally_by_proc(unseen)
    }

    fn tally_by_netlink(&mut self) -> io::Result<Tally> {
        let mut tally = Tally::new(self.options.list_max);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            kernel::sockets(protocol, |socket| tally.add(socket, &mut self.random))?;
        }
        Ok(tally)
    }

    fn tally_by_proc(&mut self, unseen: &mut BTreeSet<Unseen>) -> io::Result<Tally> {
        let net = self.net();
        let mut tally = Tally::new(self.options.list_max);
        for (file, protocol) in [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)] {
            let mut take = |line: &str| {
                if let Some(socket) = proc_net::socket(line, protocol) {
                    tally.add(&socket, &mut self.random);
                }
            };
            kernel::lines(&net.join(file), &mut take)?;
            let file = net.join(format!("{file}6"));
            match kernel::lines(&file, &mut take) {
                // A kernel without IPv6 has no such file, and no such sockets.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    unseen.insert(Unseen::new(format!("sockets of {}", file.display()), error));
                }
                _ => {}
            }
        }
        Ok(tally)
    }

    fn interfaces(&self, unseen: &mut BTreeSet<Unseen>) -> io::Result<Interfaces> {
        let mut interfaces = Interfaces::default();
        kernel::lines(&self.net().join("dev"), |line| {
            if let Some((name, counters)) = proc_net::interface(line)
                && (self.options.loopback || name != "lo")
                && !interfaces.insert(name, counters)
            {
                unseen.insert(Unseen::new("traffic of some interfaces", "there are too many"));
            }
        })?;
        Ok(interfaces)
    }
}

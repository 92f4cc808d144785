//! A load generator that costs as little as it can: frames made once, answers only counted.
//!
//! It speaks no more of MQTT than the load needs, so that on two cores the broker under test is
//! what is measured and not the generator. The same generator drives every broker, from a process of
//! its own: what it costs is not counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::{Door, Stream, disconnect, publish_frame, subscribe};

/// Bytes of a PUBACK in MQTT 3.1.1.
const PUBACK_BYTES: usize = 4;

/// How messages flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// All publishers to one subscriber of all their topics.
    FanIn,
    /// Each publisher to a subscriber of its own.
    Pairs,
}

/// What becomes of the subscribers' sessions without their connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sessions {
    /// They end.
    End,
    /// They stay.
    Stay,
    /// They stay, and the connections are over before the first message: nothing is delivered.
    StayAlone,
}

/// When a message is no longer on its way. Where subscribers are there, the load is closed-loop at
/// both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Once its subscriber has it, which must be there.
    Delivered,
    /// Once its publisher has the acknowledgement and its subscriber, if it is there, the message. At
    /// QoS 1 only.
    Acknowledged,
}

/// A load that clients put on a broker.
#[derive(Clone)]
pub(crate) struct Load {
    /// How messages flow.
    pub(crate) shape: Shape,
    /// Clients that publish, each to a topic of its own.
    pub(crate) publishers: usize,
    /// Quality of service of publishes and subscriptions: 0 or 1.
    pub(crate) qos: u8,
    /// The subscribers' sessions.
    pub(crate) sessions: Sessions,
    /// Messages that one publisher has on their way before it waits.
    pub(crate) window: usize,
    /// When a message is no longer on its way.
    pub(crate) arrival: Arrival,
    /// Payload bytes of a message.
    pub(crate) payload_bytes: usize,
}

/// A load that is being put on a broker, until it is dropped.
pub(crate) struct Running {
    counts: Arc<Counts>,
    clients: JoinSet<Result<()>>,
}

/// How many messages more a publisher may send, by what it waits for.
struct Credit {
    acknowledged: Option<Semaphore>,
    delivered: Option<Semaphore>,
}

/// What has come of the messages so far.
#[derive(Default)]
struct Counts {
    delivered: AtomicU64,
    acknowledged: AtomicU64,
}

impl Load {
    /// Connects all clients, then lets the publishers begin.
    ///
    /// # Errors
    /// When the broker cannot be reached or refuses a packet.
    pub(crate) async fn start(&self, door: &Door) -> Result<Running> {
        let counts = Arc::new(Counts::default());
        let credit: Vec<_> = (0..self.publishers).map(|_| Arc::new(Credit::new(self))).collect();
        let filters: Vec<String> = match self.shape {
            Shape::FanIn => vec!["bench/+".to_owned()],
            Shape::Pairs => (0..self.publishers).map(|number| format!("bench/{number}")).collect(),
        };
        let mut subscribers = Vec::new();
        for (number, filter) in filters.iter().enumerate() {
            let client = format!("bench-sub-{number}");
            let mut stream = match self.sessions {
                Sessions::End => door.connect(&client).await?,
                Sessions::Stay | Sessions::StayAlone => door.connect_to_stay(&client).await?,
            };
            subscribe(&mut stream, filter, self.qos).await?;
            match self.sessions {
                Sessions::End | Sessions::Stay => subscribers.push(stream),
                Sessions::StayAlone => disconnect(stream).await?,
            }
        }
        let mut publishers = Vec::new();
        for number in 0..self.publishers {
            publishers.push(door.connect(&format!("bench-pub-{number}")).await?);
        }
        let mut clients = JoinSet::new();
        for stream in subscribers {
            clients.spawn(receive(stream, self.qos, credit.clone(), Arc::clone(&counts)));
        }
        for ((number, stream), credit) in publishers.into_iter().enumerate().zip(credit) {
            let (reader, writer) = tokio::io::split(stream);
            let counts = Arc::clone(&counts);
            clients.spawn(publish(writer, number, self.clone(), Arc::clone(&credit)));
            clients.spawn(hear(reader, credit, counts));
        }
        Ok(Running { counts, clients })
    }
}

impl Running {
    /// Messages that subscribers have received by now.
    ///
    /// # Errors
    /// When a client has ended: none does by itself.
    pub(crate) fn delivered(&mut self) -> Result<u64> {
        self.check()?;
        Ok(self.counts.delivered.load(Ordering::Relaxed))
    }

    /// Messages that the broker has acknowledged to publishers by now.
    ///
    /// # Errors
    /// As [`Running::delivered`].
    pub(crate) fn acknowledged(&mut self) -> Result<u64> {
        self.check()?;
        Ok(self.counts.acknowledged.load(Ordering::Relaxed))
    }

    fn check(&mut self) -> Result<()> {
        match self.clients.try_join_next() {
            None => Ok(()),
            Some(ended) => {
                Err(ended?.err().unwrap_or_else(|| anyhow!("the broker closed a connection")))
            }
        }
    }
}

impl Credit {
    fn new(load: &Load) -> Self {
        let window = |is_awaited: bool| is_awaited.then(|| Semaphore::new(load.window));
        Self {
            acknowledged: window(load.arrival == Arrival::Acknowledged),
            delivered: window(load.sessions != Sessions::StayAlone),
        }
    }

    /// Takes all that there is, once there is some. Nobody but the publisher takes.
    async fn take(&self) -> Result<usize> {
        let awaited = || [&self.acknowledged, &self.delivered].into_iter().flatten();
        for credit in awaited() {
            // Given back at once: it is taken with all the rest.
            drop(credit.acquire().await?);
        }
        let n = awaited().map(Semaphore::available_permits).min();
        let n = n.context("a publisher has nothing to wait for")?;
        for credit in awaited() {
            credit.forget_permits(n);
        }
        Ok(n)
    }
}

/// Counts acknowledgements, all that a publisher is sent, and hands back the credit for them.
async fn hear(
    mut reader: ReadHalf<Box<dyn Stream>>,
    credit: Arc<Credit>,
    counts: Arc<Counts>,
) -> Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    // Of an acknowledgement that is not whole yet.
    let mut n_begun = 0;
    loop {
        let n_read = reader.read(&mut buffer).await?;
        ensure!(n_read > 0, "the broker closed a publisher's connection");
        let n_acknowledged = (n_begun + n_read) / PUBACK_BYTES;
        n_begun = (n_begun + n_read) % PUBACK_BYTES;
        counts.acknowledged.fetch_add(n_acknowledged as u64, Ordering::Relaxed);
        if let Some(credit) = &credit.acknowledged {
            credit.add_permits(n_acknowledged);
        }
    }
}

/// Publishes while there is credit.
async fn publish(
    mut writer: WriteHalf<Box<dyn Stream>>,
    number: usize,
    load: Load,
    credit: Arc<Credit>,
) -> Result<()> {
    let topic = format!("bench/{number}");
    let (mut frame, id_at) = publish_frame(&topic, load.qos, load.payload_bytes)?;
    let mut id: u16 = 0;
    let mut chunk = Vec::with_capacity(frame.len() * load.window);
    loop {
        let n = credit.take().await?;
        chunk.clear();
        for _ in 0..n {
            if load.qos > 0 {
                id = if id == u16::MAX { 1 } else { id + 1 };
                frame[id_at..id_at + 2].copy_from_slice(&id.to_be_bytes());
            }
            chunk.extend_from_slice(&frame);
        }
        writer.write_all(&chunk).await?;
        writer.flush().await?;
    }
}

/// Counts PUBLISH packets, acknowledges them, and hands the credit back to whoever sent them.
async fn receive(
    mut stream: Box<dyn Stream>,
    qos: u8,
    credit: Vec<Arc<Credit>>,
    counts: Arc<Counts>,
) -> Result<()> {
    let mut buffer = vec![0_u8; 256 * 1024];
    let mut filled = 0;
    let mut acks = Vec::new();
    loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => bail!("the broker closed a subscriber's connection"),
            n => filled += n,
        }
        acks.clear();
        let (mut at, mut n_received) = (0, 0);
        while let Some((header, length)) = frame_at(&buffer[at..filled])? {
            if buffer[at] & 0xf0 == 0x30 {
                n_received += 1;
                let body = &buffer[at + header..at + header + length];
                let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                let sender = sender(&body[2..topic_end])?;
                let credit = credit.get(sender).context("a message of nobody")?;
                if let Some(credit) = &credit.delivered {
                    credit.add_permits(1);
                }
                if qos > 0 {
                    acks.extend_from_slice(&[0x40, 2, body[topic_end], body[topic_end + 1]]);
                }
            }
            at += header + length;
        }
        counts.delivered.fetch_add(n_received, Ordering::Relaxed);
        buffer.copy_within(at..filled, 0);
        filled -= at;
        if !acks.is_empty() {
            stream.write_all(&acks).await?;
            stream.flush().await?;
        }
    }
}

/// The number of the publisher whose topic it is.
fn sender(topic: &[u8]) -> Result<usize> {
    let number = topic.strip_prefix(b"bench/").context("a message of another topic")?;
    Ok(std::str::from_utf8(number)?.parse()?)
}

/// Sizes of the header and the body of the packet that `bytes` begins with, once it is complete.
fn frame_at(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let mut length = 0;
    for (place, &byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let header = place + 2;
            return Ok((bytes.len() >= header + length).then_some((header, length)));
        }
    }
    ensure!(bytes.len() < 5, "the broker sent a packet without an end to its length");
    Ok(None)
}

//! A load generator that costs as little as it can: frames made once, answers only counted.
//!
//! It speaks MQTT 3.1.1 and no more of it than the load needs, so that on two cores the broker
//! under test is what is measured and not the generator. The same generator drives every broker.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How messages flow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// Eight publishers, one subscriber of all their topics.
    FanIn,
    /// Eight publishers, each with a subscriber of its own.
    Pairs,
}

/// One run of the generator.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Where the broker listens, without TLS.
    pub(crate) address: String,
    /// How messages flow.
    pub(crate) shape: Shape,
    /// Quality of service of publishes and subscriptions: 0 or 1.
    pub(crate) qos: u8,
    /// Messages that one publisher has in flight, unacknowledged by the subscriber side, before it
    /// waits: the load is closed-loop at both ends.
    pub(crate) window: usize,
    /// Payload bytes of a message.
    pub(crate) payload_bytes: usize,
    /// How long messages are counted.
    pub(crate) duration: Duration,
}

/// What one run came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Messages that subscribers received.
    pub(crate) delivered: u64,
    /// How long that took.
    pub(crate) elapsed: Duration,
}

/// Publishers of a run.
pub(crate) const PUBLISHERS: usize = 8;

/// Drives the broker and counts what arrives.
///
/// # Errors
/// When the broker cannot be reached, refuses a packet or closes a connection.
pub(crate) async fn run(load: &Load) -> Result<Outcome> {
    let subscribers = match load.shape {
        Shape::FanIn => 1,
        Shape::Pairs => PUBLISHERS,
    };
    let credit: Vec<_> = (0..PUBLISHERS)
        .map(|_| std::sync::Arc::new(tokio::sync::Semaphore::new(load.window)))
        .collect();
    let mut readers = Vec::new();
    for number in 0..subscribers {
        let filter = match load.shape {
            Shape::FanIn => "bench/+".to_owned(),
            Shape::Pairs => format!("bench/{number}"),
        };
        let stream = connect(&load.address, &format!("bench-sub-{number}")).await?;
        readers.push(subscribe(stream, &filter, load.qos).await?);
    }
    let until = Instant::now() + load.duration;
    let started = Instant::now();
    let mut publishers = tokio::task::JoinSet::new();
    for (number, credit) in credit.iter().enumerate() {
        let stream = connect(&load.address, &format!("bench-pub-{number}")).await?;
        publishers.spawn(publish(stream, number, load.clone(), credit.clone(), until));
    }
    let mut counters = tokio::task::JoinSet::new();
    for (number, stream) in readers.into_iter().enumerate() {
        let mine = match load.shape {
            Shape::FanIn => credit.clone(),
            Shape::Pairs => vec![credit[number].clone()],
        };
        counters.spawn(count(stream, load.clone(), mine, until));
    }
    let mut delivered = 0;
    while let Some(counted) = counters.join_next().await {
        delivered += counted.context("a subscriber panicked")??;
    }
    let elapsed = started.elapsed();
    publishers.abort_all();
    ensure!(delivered > 0, "no message came through");
    Ok(Outcome { delivered, elapsed })
}

async fn connect(address: &str, client: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("nothing listens at {address}"))?;
    stream.set_nodelay(true)?;
    let mut packet = vec![0x10, 12 + u8::try_from(client.len())?, 0, 4];
    packet.extend_from_slice(b"MQTT\x04\x02\x00\x3c");
    text(&mut packet, client)?;
    stream.write_all(&packet).await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    ensure!(answer == [0x20, 2, 0, 0], "CONNECT was refused: {answer:?}");
    Ok(stream)
}

async fn subscribe(mut stream: TcpStream, filter: &str, qos: u8) -> Result<TcpStream> {
    let mut packet = vec![0x82, 5 + u8::try_from(filter.len())?, 0, 1];
    text(&mut packet, filter)?;
    packet.push(qos);
    stream.write_all(&packet).await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    ensure!(answer == [0x90, 3, 0, 1, qos], "SUBSCRIBE was refused: {answer:?}");
    Ok(stream)
}

fn text(packet: &mut Vec<u8>, text: &str) -> Result<()> {
    packet.extend_from_slice(&u16::try_from(text.len())?.to_be_bytes());
    packet.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Publishes while there is credit; acknowledgements are read and dropped.
async fn publish(
    stream: TcpStream,
    number: usize,
    load: Load,
    credit: std::sync::Arc<tokio::sync::Semaphore>,
    until: Instant,
) -> Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    tokio::spawn(async move {
        let mut sink = vec![0; 64 * 1024];
        while reader.read(&mut sink).await.is_ok_and(|n| n > 0) {}
    });
    let topic = format!("bench/{number}");
    let mut body = Vec::new();
    text(&mut body, &topic)?;
    let id_at = body.len();
    if load.qos > 0 {
        body.extend_from_slice(&[0, 0]);
    }
    body.resize(body.len() + load.payload_bytes, b'x');
    let mut frame = vec![0x30 | (load.qos << 1)];
    let mut left = body.len();
    while left >= 0x80 {
        frame.push((left % 0x80) as u8 | 0x80);
        left /= 0x80;
    }
    frame.push(left as u8);
    let id_at = frame.len() + id_at;
    frame.extend_from_slice(&body);

    let mut id: u16 = 0;
    let mut chunk = Vec::with_capacity(frame.len() * load.window);
    while Instant::now() < until {
        let permit = credit.acquire().await?;
        permit.forget();
        let mut n = 1;
        while n < load.window {
            match credit.try_acquire() {
                Ok(permit) => permit.forget(),
                Err(_) => break,
            }
            n += 1;
        }
        chunk.clear();
        for _ in 0..n {
            if load.qos > 0 {
                id = if id == u16::MAX { 1 } else { id + 1 };
                frame[id_at..id_at + 2].copy_from_slice(&id.to_be_bytes());
            }
            chunk.extend_from_slice(&frame);
        }
        writer.write_all(&chunk).await?;
    }
    // Keep the connection: closing it would be work for the broker inside the measurement.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    Ok(())
}

/// Counts PUBLISH packets, acknowledges them, and hands the credit back to whoever sent them.
async fn count(
    mut stream: TcpStream,
    load: Load,
    credit: Vec<std::sync::Arc<tokio::sync::Semaphore>>,
    until: Instant,
) -> Result<u64> {
    let mut buffer = vec![0_u8; 256 * 1024];
    let mut filled = 0;
    let mut delivered = 0_u64;
    let mut acks = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(read) = tokio::time::timeout(left, stream.read(&mut buffer[filled..])).await else {
            return Ok(delivered);
        };
        match read? {
            0 => bail!("the broker closed a subscriber's connection"),
            n => filled += n,
        }
        acks.clear();
        let mut at = 0;
        while let Some((header, length)) = frame_at(&buffer[at..filled])? {
            if buffer[at] & 0xf0 == 0x30 {
                delivered += 1;
                let body = &buffer[at + header..at + header + length];
                let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
                let sender = usize::from(body[topic_end - 1] - b'0');
                credit[sender % credit.len()].add_permits(1);
                if load.qos > 0 {
                    acks.extend_from_slice(&[0x40, 2, body[topic_end], body[topic_end + 1]]);
                }
            }
            at += header + length;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
        if !acks.is_empty() {
            stream.write_all(&acks).await?;
        }
    }
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

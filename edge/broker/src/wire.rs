//! The bytes of one connection: read in big chunks, written once per wake-up.
//!
//! Buffers are the thread's and lent to the connection whose turn it is: one that is idle holds none,
//! and none is made and grown for a turn.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes read at once. Tens of messages of usual size: what follows a read is done once for all.
const READ_BYTES: usize = 32 * 1024;

/// Bytes that may wait to be written. Above it the connection takes nothing more in and nothing more
/// out of its mailbox, so a client that does not read fills its own queue and no more.
pub(crate) const OUTPUT_HIGH_BYTES: usize = 128 * 1024;

/// Bytes of a buffer that a thread keeps: enough for a turn's output.
const SPARE_BYTES_MAX: usize = 2 * OUTPUT_HIGH_BYTES;

thread_local! {
    /// The thread's empty buffer. Most turns need one at a time: what was read is done with before
    /// something is written.
    static SPARE: Cell<BytesMut> = Cell::default();
}

/// A socket with what was read and not understood yet, and what is to be written.
#[derive(Debug)]
pub(crate) struct Wire<IO> {
    io: IO,
    pub(crate) input: BytesMut,
    output: BytesMut,
    /// Whether something was written that the TLS layer may still hold.
    unflushed: bool,
}

/// What happened on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There is more in [`Wire::input`].
    Read,
    /// Everything was written.
    Written,
    /// The peer has said all that it will say.
    Closed,
}

impl<IO> Wire<IO> {
    pub(crate) fn new(io: IO) -> Self {
        Self { io, input: BytesMut::new(), output: BytesMut::new(), unflushed: false }
    }

    /// Where to append what is to be written.
    pub(crate) fn output(&mut self) -> &mut BytesMut {
        if self.output.capacity() == 0 {
            self.output = SPARE.take();
        }
        &mut self.output
    }

    /// Takes back an input of which so many bytes were understood. The rest waits for what follows.
    pub(crate) fn put_back(&mut self, input: BytesMut, taken: usize) {
        self.input = input;
        if taken == self.input.len() {
            // Clearing leaves the buffer whole, advancing takes from it.
            self.input.clear();
        } else {
            self.input.advance(taken);
        }
        self.settle();
    }

    /// Gives the thread's buffer back: a peer that sends half a packet and waits must not hold it.
    fn settle(&mut self) {
        if !self.input.is_empty() && 2 * self.input.len() < self.input.capacity() {
            let rest = BytesMut::from(&self.input[..]);
            give_back(std::mem::replace(&mut self.input, rest));
        } else if self.input.is_empty() && self.input.capacity() > 0 {
            give_back(std::mem::take(&mut self.input));
        }
    }

    /// Whether so much waits to be written that nothing should be added.
    pub(crate) fn is_congested(&self) -> bool {
        self.output.len() >= OUTPUT_HIGH_BYTES
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    /// Writes what there is and waits until something was read, if `reads`, or until everything is
    /// written, if `tells_written`. Safe to drop and call again: no byte is lost.
    pub(crate) async fn turn(&mut self, reads: bool, tells_written: bool) -> io::Result<Turn> {
        poll_fn(|cx| {
            let is_written = self.poll_write(cx)?.is_ready();
            if reads && let Poll::Ready(turn) = self.poll_read(cx)? {
                return Poll::Ready(Ok(turn));
            }
            if is_written && tells_written {
                return Poll::Ready(Ok(Turn::Written));
            }
            Poll::Pending
        })
        .await
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.output.has_remaining() {
            match Pin::new(&mut self.io).poll_write(cx, &self.output)? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(n) => {
                    if n == self.output.len() {
                        self.output.clear();
                    } else {
                        self.output.advance(n);
                    }
                    self.unflushed = true;
                }
            }
        }
        if self.output.capacity() > 0 {
            give_back(std::mem::take(&mut self.output));
        }
        if self.unflushed {
            match Pin::new(&mut self.io).poll_flush(cx)? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => self.unflushed = false,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Turn>> {
        let mut chunk = SPARE.take();
        chunk.reserve(READ_BYTES);
        let mut room = (&mut chunk).limit(READ_BYTES);
        let read = pin!(self.io.read_buf(&mut room)).poll(cx);
        let turn = match read {
            Poll::Pending => {
                self.settle();
                Poll::Pending
            }
            // TLS's word for a peer that goes without saying so, as most devices do.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Ok(Turn::Closed))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(Turn::Closed)),
            Poll::Ready(Ok(_)) => {
                if self.input.is_empty() {
                    self.input = std::mem::take(&mut chunk);
                } else {
                    self.input.extend_from_slice(&chunk);
                }
                Poll::Ready(Ok(Turn::Read))
            }
        };
        give_back(chunk);
        turn
    }

    /// Says the last words and closes, in `patience` at most.
    ///
    /// What the peer still sends is read and thrown away until it closes too: closing with unread
    /// bytes resets the connection, and the reset may overtake the last words.
    pub(crate) async fn close(mut self, patience: Duration) {
        let farewell = async {
            self.io.write_all_buf(&mut self.output).await?;
            self.io.shutdown().await?;
            self.input.clear();
            while self.turn(true, false).await? == Turn::Read {
                self.input.clear();
            }
            io::Result::Ok(())
        };
        // Whether the peer heard it changes nothing any more.
        let _ = tokio::time::timeout(patience, farewell).await;
    }
}

/// Gives a buffer back to the thread, which keeps the larger one.
fn give_back(mut buffer: BytesMut) {
    buffer.clear();
    let spare = SPARE.take();
    let is_kept = buffer.capacity() > spare.capacity() && buffer.capacity() <= SPARE_BYTES_MAX;
    SPARE.set(if is_kept { buffer } else { spare });
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_noticed_and_loses_nothing() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut wire = Wire::new(near);
        wire.output().extend_from_slice(&vec![7; OUTPUT_HIGH_BYTES]);
        assert!(wire.is_congested());
        let stalled = tokio::time::timeout(Duration::from_millis(1), wire.turn(true, true)).await;
        assert!(stalled.is_err() && !wire.output.is_empty());
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.map(|_| all)
        });
        assert_eq!(wire.turn(true, true).await.unwrap(), Turn::Written);
        wire.close(Duration::from_secs(5)).await;
        assert_eq!(reader.await.unwrap().unwrap(), vec![7; OUTPUT_HIGH_BYTES]);
    }

    #[tokio::test]
    async fn an_idle_wire_holds_no_buffers() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut wire = Wire::new(near);
        far.write_all(&[1; 100_000]).await.unwrap();
        while wire.input.len() < 100_000 {
            assert_eq!(wire.turn(true, false).await.unwrap(), Turn::Read);
        }
        let input = std::mem::take(&mut wire.input);
        wire.output().extend_from_slice(&input);
        wire.put_back(input, 100_000);
        assert_eq!(wire.turn(false, true).await.unwrap(), Turn::Written);
        drop(far);
        assert_eq!(wire.turn(true, false).await.unwrap(), Turn::Closed);
        assert_eq!(wire.input.capacity() + wire.output.capacity(), 0);
    }

    #[tokio::test]
    async fn half_a_packet_holds_little_more_than_itself() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut wire = Wire::new(near);
        far.write_all(&[1; 300]).await.unwrap();
        assert_eq!(wire.turn(true, false).await.unwrap(), Turn::Read);
        let input = std::mem::take(&mut wire.input);
        wire.put_back(input, 100);
        assert_eq!(wire.input, vec![1; 200]);
        assert!(wire.input.capacity() <= 400);
        far.write_all(&[2; 100]).await.unwrap();
        assert_eq!(wire.turn(true, false).await.unwrap(), Turn::Read);
        assert_eq!(wire.input, [vec![1; 200], vec![2; 100]].concat());
        let input = std::mem::take(&mut wire.input);
        wire.put_back(input, 300);
        assert_eq!(wire.input.capacity(), 0);
    }
}

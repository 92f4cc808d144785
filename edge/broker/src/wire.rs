//! The bytes of one connection: read in big chunks, written once per wake-up.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Bytes read at once. Tens of messages of usual size: what follows a read is done once for all.
const READ_BYTES: usize = 32 * 1024;

/// Bytes that may wait to be written. Above it the connection takes nothing more in and nothing more
/// out of its mailbox, so a client that does not read fills its own queue and no more.
pub(crate) const OUTPUT_HIGH_BYTES: usize = 128 * 1024;

/// Buffers larger than this are given back when they are empty: an idle connection costs little.
const BUFFER_KEPT_BYTES: usize = 1024;

thread_local! {
    /// Where reads go. Shared by the connections of a thread: they keep only what is no whole packet.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// A socket with what was read and not understood yet, and what is to be written.
#[derive(Debug)]
pub(crate) struct Wire<IO> {
    io: IO,
    pub(crate) input: BytesMut,
    pub(crate) output: BytesMut,
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

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    pub(crate) fn new(io: IO) -> Self {
        Self { io, input: BytesMut::new(), output: BytesMut::new(), unflushed: false }
    }

    /// Whether so much waits to be written that nothing should be added.
    pub(crate) fn is_congested(&self) -> bool {
        self.output.len() >= OUTPUT_HIGH_BYTES
    }

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
                    self.output.advance(n);
                    self.unflushed = true;
                }
            }
        }
        give_back(&mut self.output);
        if self.unflushed {
            match Pin::new(&mut self.io).poll_flush(cx)? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => self.unflushed = false,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Turn>> {
        give_back(&mut self.input);
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                Poll::Pending => Poll::Pending,
                // TLS's word for a peer that goes without saying so, as most devices do.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Poll::Ready(Ok(Turn::Closed))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => Poll::Ready(Ok(Turn::Closed)),
                Poll::Ready(Ok(())) => {
                    self.input.extend_from_slice(buffer.filled());
                    Poll::Ready(Ok(Turn::Read))
                }
            }
        })
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

fn give_back(buffer: &mut BytesMut) {
    if buffer.is_empty() && buffer.capacity() > BUFFER_KEPT_BYTES {
        *buffer = BytesMut::new();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_noticed_and_loses_nothing() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut wire = Wire::new(near);
        wire.output.extend_from_slice(&vec![7; OUTPUT_HIGH_BYTES]);
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
        wire.output.extend_from_slice(&wire.input.split());
        assert_eq!(wire.turn(false, true).await.unwrap(), Turn::Written);
        assert_eq!(wire.output.capacity(), 0);
        drop(far);
        assert_eq!(wire.turn(true, false).await.unwrap(), Turn::Closed);
        assert!(wire.input.capacity() <= BUFFER_KEPT_BYTES);
    }
}

//! A WebSocket as a stream of bytes: what the binary frames carry, whatever their boundaries.
//!
//! Nothing above notices the difference to a socket: an end without a close frame is an end, and
//! pings are answered below. Source: RFC 6455; mqtt-3.1.1 6, mqtt-5 6.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::limits::{WEBSOCKET_READ_BYTES, WEBSOCKET_WRITE_BYTES};

/// The server's side of a WebSocket over `IO`.
pub(crate) struct WebSocket<IO> {
    stream: WebSocketStream<IO>,
    /// Of the last frame, what was not asked for yet.
    unread: Bytes,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> WebSocket<IO> {
    /// Begins after the handshake. A frame, and a message made of several, has at most
    /// `message_bytes_max` bytes.
    pub(crate) async fn new(io: IO, message_bytes_max: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(WEBSOCKET_READ_BYTES)
            // Each write becomes a frame at once: whoever writes here has gathered what there is.
            .write_buffer_size(0)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let stream = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        Self { stream, unread: Bytes::new() }
    }

    /// Waits until something is unread; false once nothing will come any more.
    fn poll_unread(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            // mqtt-3.1.1 [MQTT-6.0.0-2], mqtt-5 [MQTT-6.0.0-2]
            if !self.unread.is_empty() {
                return Poll::Ready(Ok(true));
            }
            match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                // mqtt-3.1.1 [MQTT-6.0.0-1], mqtt-5 [MQTT-6.0.0-1]
                Some(Ok(Message::Text(_))) => {
                    let error = "a text frame; MQTT travels in binary ones";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
                Some(Ok(
                    Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_),
                )) => {}
                Some(Err(error)) => match is_end(&error) {
                    true => return Poll::Ready(Ok(false)),
                    false => return Poll::Ready(Err(io_error(error))),
                },
                None => return Poll::Ready(Ok(false)),
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if ready!(self.poll_unread(cx))? {
            let n = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread[..n]);
            self.unread.advance(n);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // What was taken before and is not on its way yet comes first.
        ready!(Pin::new(&mut self.stream).poll_ready(cx)).map_err(io_error)?;
        let bytes = &bytes[..bytes.len().min(WEBSOCKET_WRITE_BYTES)];
        let message = Message::Binary(Bytes::copy_from_slice(bytes));
        Pin::new(&mut self.stream).start_send(message).map_err(io_error)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(io_error)
    }

    /// Says goodbye with a close frame, and then that nothing follows. What the client still sends
    /// can be read.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Where no close frame can be sent any more, the socket below is closed all the same.
        let _ = ready!(Pin::new(&mut self.stream).poll_close(cx));
        Pin::new(self.stream.get_mut()).poll_shutdown(cx)
    }
}

/// Whether a peer just went, as most devices do: without a close frame.
fn is_end(error: &Error) -> bool {
    use tokio_tungstenite::tungstenite::error::ProtocolError;
    match error {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => true,
        Error::Io(error) => error.kind() == io::ErrorKind::UnexpectedEof,
        _ => false,
    }
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error @ (Error::Capacity(_) | Error::Protocol(_) | Error::Utf8(_)) => {
            io::Error::new(io::ErrorKind::InvalidData, error)
        }
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests;

//! Sockets that the server listens on.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpSocket};

use crate::limits::ACCEPT_QUEUE_MAX;

/// Listens on an address. To be called within a tokio runtime.
///
/// # Errors
/// The address cannot be had; `what` says who wanted it.
pub(crate) fn bind(address: SocketAddr, what: &str) -> Result<TcpListener> {
    listen(address).with_context(|| {
        format!("{what} cannot listen on {address}; is another server running there?")
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // The connections of a server that ended are no reason for the next one not to start.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(ACCEPT_QUEUE_MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpStream;

    use super::*;

    /// Longer than a handshake on this machine takes, and shorter than a hundred that try again.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn hundreds_of_connections_can_wait_to_be_accepted() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = bind(address.parse().unwrap(), "the test").unwrap();
            let address = listener.local_addr().unwrap();
            let all = async {
                let mut waiting = Vec::new();
                for _ in 0..400 {
                    waiting.push(TcpStream::connect(address).await.unwrap());
                }
            };
            assert!(tokio::time::timeout(PATIENCE, all).await.is_ok(), "{address}");
        }
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let first = bind("127.0.0.1:0".parse().unwrap(), "the API").unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address, "the API").unwrap_err().to_string();
        let expected =
            format!("the API cannot listen on {address}; is another server running there?");
        assert_eq!(error, expected);
    }
}

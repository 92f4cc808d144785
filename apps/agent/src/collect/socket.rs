//! A socket of this machine, as the kernel tells of it.

use std::net::SocketAddr;

/// A transport protocol that is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A TCP or UDP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Which protocol it speaks.
    pub protocol: Protocol,
    /// The kernel's state number: [`ESTABLISHED`], [`CLOSE`], [`LISTEN`] or another.
    pub state: u8,
    /// Where it is bound.
    pub local: SocketAddr,
    /// Its peer; unspecified with port 0 if it has none.
    pub remote: SocketAddr,
    /// Index of the interface that it is bound to, 0 if it is bound to none.
    pub interface_index: u32,
}

/// TCP: connected. UDP: bound to one peer. Source: Linux `include/net/tcp_states.h`.
pub const ESTABLISHED: u8 = 1;

/// TCP: closed. UDP: bound, and takes datagrams of anybody.
pub const CLOSE: u8 = 7;

/// TCP: accepts connections.
pub const LISTEN: u8 = 10;

/// What a socket is in a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Strangers can reach it.
    Listening,
    /// A TCP connection that is open.
    Connected,
    /// Neither: opening, closing, or UDP that hears one peer only.
    Other,
}

impl Socket {
    /// What it is in a report.
    ///
    /// A UDP socket that is connected to one peer takes no datagram of anybody else: it is no
    /// listener, though the AWS Python agent names it as one.
    pub fn role(&self) -> Role {
        match (self.protocol, self.state) {
            (Protocol::Tcp, LISTEN) => Role::Listening,
            (Protocol::Tcp, ESTABLISHED) => Role::Connected,
            (Protocol::Udp, CLOSE) if self.local.port() != 0 => Role::Listening,
            _ => Role::Other,
        }
    }
}

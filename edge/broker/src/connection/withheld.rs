//! What a client is not sent before something is on the disk.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;

use crate::journal::{Journal, Ticket};
use crate::mailbox::Mailbox;

/// Packets that wait, in the order of sending. Whatever is sent while there is one waits behind it.
#[derive(Debug, Default)]
pub(super) struct Withheld {
    /// Bytes with what they wait for; tickets grow.
    parts: VecDeque<(Ticket, BytesMut)>,
    /// What is sent from now on waits for this.
    ticket: Ticket,
    /// For which the journal was asked to wake the session.
    wakes_at: Ticket,
}

impl Withheld {
    /// Has what is sent from now on wait for a ticket too.
    pub(super) fn wait_for(&mut self, ticket: Ticket) {
        self.ticket = self.ticket.max(ticket);
    }

    /// What the last part waits for.
    pub(super) const fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Appends what is sent now.
    pub(super) fn append(&mut self, write: impl FnOnce(&mut BytesMut)) {
        match self.parts.back_mut() {
            Some((ticket, bytes)) if *ticket == self.ticket => write(bytes),
            _ => {
                let mut bytes = BytesMut::new();
                write(&mut bytes);
                self.parts.push_back((self.ticket, bytes));
            }
        }
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        // One part for each batch of the journal: a handful.
        self.parts.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Moves what need not wait any more. True if nothing is left, and nothing to wait for.
    pub(super) fn let_out(&mut self, journal: &Journal, into: &mut BytesMut) -> bool {
        while let Some((ticket, _)) = self.parts.front()
            && journal.is_durable(*ticket)
            && let Some((_, bytes)) = self.parts.pop_front()
        {
            into.extend_from_slice(&bytes);
        }
        self.parts.is_empty() && journal.is_durable(self.ticket)
    }

    /// Has the session woken when more can leave.
    pub(super) fn see_to_waking(&mut self, journal: &Journal, mailbox: &Arc<Mailbox>) {
        if self.wakes_at < self.ticket {
            self.wakes_at = self.ticket;
            journal.wake(self.ticket, mailbox);
        }
    }
}

//! The pipe that a process writes its log into.

use std::io;
use std::io::PipeWriter;

use tokio::net::unix::pipe::Receiver;

/// The reading end. stdout and stderr share one pipe, so that their order is kept.
pub(super) struct LogPipe {
    receiver: Receiver,
    is_open: bool,
}

impl LogPipe {
    /// Makes a pipe. Must be called inside a runtime.
    ///
    /// # Errors
    /// When the system has no more file descriptors.
    pub(super) fn new() -> io::Result<(Self, PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        let receiver = Receiver::from_owned_fd(reader.into())?;
        Ok((Self { receiver, is_open: true }, writer))
    }

    /// Whether somebody may still write.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Waits for bytes and reads some; 0 when all writers are gone. Cancel safe.
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> usize {
        loop {
            let read = match self.receiver.readable().await {
                Ok(()) => self.receiver.try_read(buffer),
                Err(error) => Err(error),
            };
            match read {
                Ok(len) if len > 0 => return len,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Ok(_) | Err(_) => {
                    self.is_open = false;
                    return 0;
                }
            }
        }
    }

    /// Reads what lies in the pipe at this moment; 0 when that is nothing.
    ///
    /// Asks the system itself, not the runtime, which may not have been told yet of bytes that
    /// were written before an answer came.
    pub(super) fn read_now(&mut self, buffer: &mut [u8]) -> usize {
        loop {
            match rustix::io::read(&self.receiver, &mut *buffer) {
                Ok(len) => return len,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return 0,
            }
        }
    }
}

//! The threads that connections live on, each on one of them for all its life.
//!
//! A runtime with several threads hands tasks from one to the other. Small messages that come one
//! by one then cost two wake-ups of a thread, which is more than all that is done with them; see
//! docs/performance.md. So connections get runtimes of one thread each, and are dealt out in turn.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// Where the tasks of connections run.
#[derive(Debug)]
pub(crate) struct Lanes {
    runtimes: Vec<Handle>,
    turn: AtomicUsize,
}

impl Lanes {
    /// Lanes on these runtimes; without any, on the one that the caller is in.
    pub(crate) fn new(runtimes: Vec<Handle>) -> Self {
        Self { runtimes, turn: AtomicUsize::new(0) }
    }

    /// Has a connection served on the lane whose turn it is.
    ///
    /// # Errors
    /// When the lane cannot watch the socket.
    pub(crate) fn spawn<F>(
        &self,
        stream: TcpStream,
        serve: impl FnOnce(TcpStream) -> F,
    ) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let Some(runtime) = self.runtimes.get(turn % self.runtimes.len().max(1)) else {
            tokio::spawn(serve(stream));
            return Ok(());
        };
        // A socket tells the runtime that it was made in.
        let stream = stream.into_std()?;
        let stream = {
            let _within = runtime.enter();
            TcpStream::from_std(stream)?
        };
        runtime.spawn(serve(stream));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn connections_are_dealt_out_in_turn_and_read_where_they_live() {
        let one_thread = || Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtimes: [Runtime; 2] = [(); 2].map(|()| one_thread().unwrap());
        let lanes = Lanes::new(runtimes.iter().map(|it| it.handle().clone()).collect());
        let here = Builder::new_current_thread().enable_all().build().unwrap();
        let homes = here.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut homes = Vec::new();
            for _ in 0..4 {
                let connecting = TcpStream::connect(listener.local_addr().unwrap());
                let (far, near) = tokio::join!(connecting, listener.accept());
                let (tell, told) = oneshot::channel();
                let serve = |mut near: TcpStream| async move {
                    near.read_u8().await.unwrap();
                    tell.send(thread::current().id()).unwrap();
                };
                lanes.spawn(near.unwrap().0, serve).unwrap();
                far.unwrap().write_u8(1).await.unwrap();
                homes.push(told.await.unwrap());
            }
            homes
        });
        assert_eq!(homes[..2], homes[2..]);
        assert_ne!(homes[0], homes[1]);
        assert!(!homes.contains(&thread::current().id()));
    }
}

//! A serial line: raw, eight bits, no echo. One peer, of whose coming and going the line tells nothing.

use std::{io, os::fd::OwnedFd, path::PathBuf};

use futures_util::future::BoxFuture;
use rustix::{
    fs::{Mode, OFlags},
    termios::{ControlModes, OptionalActions},
};

use super::{Connection, ExchangeError, Peer, StreamExchange, appear, fd::FdStream};

/// The exchange.
#[derive(Debug)]
pub struct Isa {
    path: PathBuf,
    baud: Option<u32>,
    line: Option<OwnedFd>,
}

impl Isa {
    /// The line at this path; its speed stays as it is without `baud`.
    pub fn new(path: impl Into<PathBuf>, baud: Option<u32>) -> Self {
        Self { path: path.into(), baud, line: None }
    }

    fn open_line(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let line = rustix::fs::open(&self.path, flags, Mode::empty())?;
        let mut settings = rustix::termios::tcgetattr(&line)?;
        settings.make_raw();
        // No modem lines: a virtual machine's serial line has none that mean anything.
        settings.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
        settings.control_modes -= ControlModes::HUPCL;
        if let Some(baud) = self.baud {
            settings.set_speed(baud)?;
        }
        rustix::termios::tcsetattr(&line, OptionalActions::Now, &settings)?;
        Ok(line)
    }
}

impl StreamExchange for Isa {
    fn name(&self) -> String {
        format!("isa:{}", self.path.display())
    }

    fn open(&mut self) -> BoxFuture<'_, Result<(), ExchangeError>> {
        Box::pin(async {
            let exchange = self.name();
            let failed = |action| {
                let exchange = exchange.clone();
                move |source| ExchangeError::Io { exchange, action, source }
            };
            self.line = None;
            appear::appear(&self.path).await.map_err(failed("wait for the line"))?;
            self.line = Some(self.open_line().map_err(failed("open the line"))?);
            Ok(())
        })
    }

    /// The one connection there is; after it the line is opened anew.
    fn accept(&mut self) -> BoxFuture<'_, Result<Connection, ExchangeError>> {
        Box::pin(async {
            let failed = |source| ExchangeError::Io {
                exchange: format!("isa:{}", self.path.display()),
                action: "use the line",
                source,
            };
            match self.line.take() {
                Some(line) => {
                    let stream = Box::new(FdStream::new(line).map_err(failed)?);
                    Ok(Connection { stream, peer: Peer::Host })
                }
                None => Err(failed(io::ErrorKind::BrokenPipe.into())),
            }
        })
    }

    fn one_at_a_time(&self) -> bool {
        true
    }
}

/// Standard input and output: one connection, and then no more.
#[derive(Debug, Default)]
pub struct Stdio {
    given: bool,
}

impl StreamExchange for Stdio {
    fn name(&self) -> String {
        "stdio".to_owned()
    }

    fn open(&mut self) -> BoxFuture<'_, Result<(), ExchangeError>> {
        Box::pin(async { Ok(()) })
    }

    fn accept(&mut self) -> BoxFuture<'_, Result<Connection, ExchangeError>> {
        Box::pin(async {
            if std::mem::replace(&mut self.given, true) {
                return Err(ExchangeError::Ended { exchange: self.name() });
            }
            let stream = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
            Ok(Connection { stream: Box::new(stream), peer: Peer::Host })
        })
    }

    fn one_at_a_time(&self) -> bool {
        true
    }
}

impl super::Io for tokio::io::Join<tokio::io::Stdin, tokio::io::Stdout> {}

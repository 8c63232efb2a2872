//! A domain, its snapshots and its console as values that free themselves. All calls here block.

use std::ffi::{c_char, c_int, c_uint};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use crate::raw::{self, Functions, Info, Ptr, code};
use crate::typed::{Connection, Handle, Result, VirError, c, done, last, taken, uuid_of};

/// What a domain does, `virDomainState` in our words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Paused,
    Off,
}

/// `NS_GET_NSTYPE` of `linux/nsfs.h`.
const KIND_OF_NAMESPACE: libc::Ioctl = 0xb703;
/// `VIR_DOMAIN_CRASHED`: it ended, and may be kept as it was.
const CRASHED: c_int = 6;
/// `VIR_DOMAIN_SHUTOFF_CRASHED`.
const OFF_BY_CRASH: c_int = 3;

/// A domain.
#[derive(Debug)]
pub(crate) struct Domain {
    connection: Arc<Connection>,
    handle: Handle,
}

impl Drop for Domain {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and given back once.
        unsafe { (self.connection.functions.free_domain)(self.handle.0) };
    }
}

impl Domain {
    /// Takes the reference `handle`.
    pub(crate) fn new(connection: &Arc<Connection>, handle: Handle) -> Self {
        Self { connection: Arc::clone(connection), handle }
    }

    fn call(&self, function: unsafe extern "C" fn(Ptr) -> c_int) -> Result<()> {
        // SAFETY: the handle is valid, and the function takes nothing else.
        done(self.connection.functions, unsafe { function(self.handle.0) }).map(drop)
    }

    pub(crate) fn uuid(&self) -> Result<String> {
        uuid_of(self.connection.functions, self.handle.0)
            .ok_or_else(|| last(self.connection.functions))
    }

    /// The number of its present run, which the next one does not have; of the moment when it was looked up.
    pub(crate) fn run(&self) -> Option<u32> {
        // SAFETY: the handle is valid. What does not run has the number -1.
        let number = unsafe { (self.connection.functions.id)(self.handle.0) };
        (number != c_uint::MAX).then_some(number)
    }

    pub(crate) fn state(&self) -> Result<State> {
        self.state_and_reason().map(|(state, _)| state)
    }

    /// The state, and libvirt's number for how it came to be: of one that is off, a `virDomainShutoffReason`.
    pub(crate) fn state_and_reason(&self) -> Result<(State, i32)> {
        let functions = self.connection.functions;
        let (mut state, mut reason) = (0, 0);
        // SAFETY: the handle is valid, and both numbers live through the call.
        let result =
            unsafe { (functions.state)(self.handle.0, &raw mut state, &raw mut reason, 0) };
        done(functions, result)?;
        if state == CRASHED {
            // The reasons of a crash are numbers of their own.
            reason = OFF_BY_CRASH;
        }
        let state = match state {
            // Without a state, running, blocked, being shut down.
            0 | 1 | 2 | 4 => State::Running,
            3 | 7 => State::Paused,
            _ => State::Off,
        };
        Ok((state, reason))
    }

    pub(crate) fn info(&self) -> Result<Info> {
        let mut info = Info::default();
        // SAFETY: the handle is valid, the structure is the one the function fills.
        let result = unsafe { (self.connection.functions.info)(self.handle.0, &raw mut info) };
        done(self.connection.functions, result)?;
        Ok(info)
    }

    pub(crate) fn start(&self, paused: bool) -> Result<()> {
        let flags = if paused { raw::START_PAUSED } else { 0 };
        // SAFETY: the handle is valid.
        let result = unsafe { (self.connection.functions.create)(self.handle.0, flags) };
        done(self.connection.functions, result).map(drop)
    }

    pub(crate) fn shutdown(&self) -> Result<()> {
        self.call(self.connection.functions.shutdown)
    }

    pub(crate) fn destroy(&self) -> Result<()> {
        self.call(self.connection.functions.destroy)
    }

    pub(crate) fn suspend(&self) -> Result<()> {
        self.call(self.connection.functions.suspend)
    }

    pub(crate) fn resume(&self) -> Result<()> {
        self.call(self.connection.functions.resume)
    }

    /// Undefines it with all that libvirt keeps beside it; its disks stay.
    pub(crate) fn undefine(&self) -> Result<()> {
        let functions = self.connection.functions;
        // SAFETY: the handle is valid.
        let result = unsafe { (functions.undefine_flags)(self.handle.0, raw::UNDEFINE_ALL) };
        match done(functions, result) {
            // A driver that keeps nothing beside it.
            Err(error) if error.is_unsupported() || error.code == code::INVALID_ARGUMENT => {
                self.call(functions.undefine)
            }
            other => other.map(drop),
        }
    }

    fn device(
        &self,
        function: unsafe extern "C" fn(Ptr, *const c_char, c_uint) -> c_int,
        xml: &str,
        of: c_uint,
    ) -> Result<()> {
        let text = c(xml)?;
        // SAFETY: handle and text are valid through the call.
        let result = unsafe { function(self.handle.0, text.as_ptr(), of) };
        done(self.connection.functions, result).map(drop)
    }

    /// Plugs a device into the running domain; its definition stays what it is.
    pub(crate) fn attach(&self, xml: &str) -> Result<()> {
        self.device(self.connection.functions.attach, xml, raw::AFFECT_LIVE)
    }

    pub(crate) fn detach(&self, xml: &str) -> Result<()> {
        self.device(self.connection.functions.detach, xml, raw::AFFECT_LIVE)
    }

    /// Takes a device out of the definition; the run stays what it is.
    pub(crate) fn strike(&self, xml: &str) -> Result<()> {
        self.device(self.connection.functions.detach, xml, raw::AFFECT_CONFIG)
    }

    /// Keeps its memory and ends it; done when it has been written.
    pub(crate) fn save(&self) -> Result<()> {
        // SAFETY: the handle is valid.
        let result = unsafe { (self.connection.functions.save)(self.handle.0, 0) };
        done(self.connection.functions, result).map(drop)
    }

    /// Ends the job that is under way: the save goes back to where it began.
    pub(crate) fn abort_job(&self) -> Result<()> {
        self.call(self.connection.functions.abort_job)
    }

    /// Whether libvirt keeps its memory. A driver that never does says no.
    pub(crate) fn is_saved(&self) -> Result<bool> {
        // SAFETY: the handle is valid.
        let result = unsafe { (self.connection.functions.is_saved)(self.handle.0, 0) };
        match done(self.connection.functions, result) {
            Ok(there) => Ok(there > 0),
            Err(error) if error.is_unsupported() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Throws the memory away that libvirt keeps.
    pub(crate) fn forget_saved(&self) -> Result<()> {
        // SAFETY: the handle is valid.
        let result = unsafe { (self.connection.functions.forget_saved)(self.handle.0, 0) };
        done(self.connection.functions, result).map(drop)
    }

    /// Its first screen as the hypervisor gives it; more than `most` bytes are refused.
    pub(crate) fn screenshot(&self, most: usize) -> Result<Vec<u8>> {
        let functions = self.connection.functions;
        let stream = self.stream()?;
        // SAFETY: both handles are valid; the text that comes back, a media type, is ours.
        let kind = unsafe { (functions.screenshot)(self.handle.0, stream.handle.0, 0, 0) };
        // What it is its bytes say.
        taken(functions, kind)?;
        let mut picture = Vec::new();
        let mut piece = vec![0; 64 << 10];
        loop {
            let length = stream.receive(&mut piece)?;
            if length == 0 {
                return Ok(picture);
            }
            picture.extend_from_slice(&piece[..length]);
            if picture.len() > most {
                return Err(VirError::own(format!("the picture has more than {most} bytes")));
            }
        }
    }

    /// One request to QEMU's agent in the guest.
    pub(crate) fn agent(&self, command: &str, seconds: c_int) -> Result<String> {
        let functions = self.connection.functions;
        let Some(ask) = functions.agent_command else {
            return Err(VirError {
                code: code::NO_SUPPORT,
                message: "no libvirt-qemu.so.0 here".to_owned(),
            });
        };
        let text = c(command)?;
        // SAFETY: handle and text are valid through the call; the text that comes back is ours.
        taken(functions, unsafe { ask(self.handle.0, text.as_ptr(), seconds, 0) })
    }

    /// The network namespace of a container's first process, as libvirt knows it; `None`: that process is gone, or libvirt
    /// has not been told of it.
    pub(crate) fn netns(&self) -> Result<Option<OwnedFd>> {
        let functions = self.connection.functions;
        let Some(open) = functions.namespaces else {
            return Err(VirError {
                code: code::NO_SUPPORT,
                message: "no libvirt-lxc.so.0 here".to_owned(),
            });
        };
        let mut list: *mut c_int = std::ptr::null_mut();
        // SAFETY: the handle is valid; the function allocates the list and opens the descriptors in it for us.
        let count = match done(functions, unsafe { open(self.handle.0, &raw mut list, 0) }) {
            Err(error) if error.code == code::OPERATION_INVALID => return Ok(None),
            other => other?,
        };
        let mut found = None;
        for number in 0..usize::try_from(count).unwrap_or(0) {
            // SAFETY: the list has `count` entries, each an open descriptor that is ours.
            let one = unsafe { OwnedFd::from_raw_fd(*list.add(number)) };
            // SAFETY: the request takes no argument.
            let kind = unsafe { libc::ioctl(one.as_raw_fd(), KIND_OF_NAMESPACE) };
            if kind == libc::CLONE_NEWNET {
                found = Some(one);
            }
        }
        // SAFETY: the list itself is ours to free, or null.
        unsafe { libc::free(list.cast()) };
        Ok(found)
    }

    /// A stream that is not joined to anything yet.
    fn stream(&self) -> Result<Stream> {
        let functions = self.connection.functions;
        // SAFETY: the connection is valid; a reference of ours comes back, or null.
        let stream = unsafe { (functions.new_stream)(self.connection.handle.0, 0) };
        if stream.is_null() {
            return Err(last(functions));
        }
        Ok(Stream { connection: Arc::clone(&self.connection), handle: Handle(stream) })
    }

    pub(crate) fn console(&self) -> Result<Stream> {
        let functions = self.connection.functions;
        let stream = self.stream()?;
        // SAFETY: both handles are valid; null is the first console.
        let result = unsafe {
            (functions.open_console)(self.handle.0, std::ptr::null(), stream.handle.0, 0)
        };
        done(functions, result)?;
        Ok(stream)
    }

    pub(crate) fn snapshot(&self, xml: &str) -> Result<Snapshot<'_>> {
        let text = c(xml)?;
        // SAFETY: handle and text are valid; the reference that comes back is ours.
        let made =
            unsafe { (self.connection.functions.make_snapshot)(self.handle.0, text.as_ptr(), 0) };
        self.held(made)
    }

    pub(crate) fn snapshot_by_name(&self, name: &str) -> Result<Snapshot<'_>> {
        let text = c(name)?;
        // SAFETY: as above.
        let found = unsafe {
            (self.connection.functions.snapshot_by_name)(self.handle.0, text.as_ptr(), 0)
        };
        self.held(found)
    }

    pub(crate) fn snapshots(&self) -> Result<Vec<Snapshot<'_>>> {
        let functions = self.connection.functions;
        let mut list: *mut Ptr = std::ptr::null_mut();
        // SAFETY: the handle is valid; the function allocates the list and the references in it for us.
        let count =
            done(functions, unsafe { (functions.snapshots)(self.handle.0, &raw mut list, 0) })?;
        let mut all = Vec::new();
        for number in 0..usize::try_from(count).unwrap_or(0) {
            // SAFETY: the list has `count` entries.
            all.push(Snapshot { domain: self, handle: Handle(unsafe { *list.add(number) }) });
        }
        // SAFETY: the list itself is ours to free, or null.
        unsafe { libc::free(list.cast()) };
        Ok(all)
    }

    fn held(&self, snapshot: Ptr) -> Result<Snapshot<'_>> {
        if snapshot.is_null() {
            return Err(last(self.connection.functions));
        }
        Ok(Snapshot { domain: self, handle: Handle(snapshot) })
    }
}

/// A snapshot of a domain.
#[derive(Debug)]
pub(crate) struct Snapshot<'a> {
    domain: &'a Domain,
    handle: Handle,
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and given back once.
        unsafe { (self.domain.connection.functions.free_snapshot)(self.handle.0) };
    }
}

impl Snapshot<'_> {
    fn functions(&self) -> &'static Functions {
        self.domain.connection.functions
    }

    pub(crate) fn xml(&self) -> Result<String> {
        // SAFETY: the handle is valid; the text that comes back is ours.
        taken(self.functions(), unsafe { (self.functions().snapshot_xml)(self.handle.0, 0) })
    }

    pub(crate) fn revert(&self) -> Result<()> {
        // SAFETY: the handle is valid.
        done(self.functions(), unsafe { (self.functions().revert)(self.handle.0, 0) }).map(drop)
    }

    pub(crate) fn delete(&self) -> Result<()> {
        // SAFETY: the handle is valid.
        let result = unsafe { (self.functions().delete_snapshot)(self.handle.0, 0) };
        done(self.functions(), result).map(drop)
    }
}

/// A stream of bytes out of and into a domain, blocking.
#[derive(Debug)]
pub(crate) struct Stream {
    connection: Arc<Connection>,
    handle: Handle,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.abort();
        // SAFETY: the reference is ours, and given back once.
        unsafe { (self.connection.functions.free_stream)(self.handle.0) };
    }
}

impl Stream {
    /// Bytes read; 0 is the end.
    pub(crate) fn receive(&self, into: &mut [u8]) -> Result<usize> {
        let functions = self.connection.functions;
        // SAFETY: the buffer is writable for its length through the call.
        let read =
            unsafe { (functions.receive)(self.handle.0, into.as_mut_ptr().cast(), into.len()) };
        done(functions, read).map(|read| usize::try_from(read).unwrap_or(0))
    }

    pub(crate) fn send_all(&self, mut bytes: &[u8]) -> Result<()> {
        let functions = self.connection.functions;
        while !bytes.is_empty() {
            // SAFETY: the bytes are readable for their length through the call.
            let sent =
                unsafe { (functions.send)(self.handle.0, bytes.as_ptr().cast(), bytes.len()) };
            let sent = usize::try_from(done(functions, sent)?).unwrap_or(0);
            if sent == 0 {
                return Err(VirError::own("the console takes nothing more"));
            }
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Ends the stream; whoever reads it on another thread comes back with an error.
    pub(crate) fn abort(&self) {
        // SAFETY: the handle is valid; aborting twice is refused, and that is all.
        unsafe { (self.connection.functions.abort)(self.handle.0) };
    }
}

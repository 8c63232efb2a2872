//! Connections to libvirt, their events and their errors. All calls here block.

use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::sync::Arc;

use crate::domain::Domain;
use crate::raw::{self, Functions, Ptr, code};

/// What libvirt refused, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("libvirt: {message}")]
pub(crate) struct VirError {
    pub(crate) code: i32,
    pub(crate) message: String,
}

pub(crate) type Result<T> = std::result::Result<T, VirError>;

impl VirError {
    pub(crate) fn own(message: impl Into<String>) -> Self {
        Self { code: 0, message: message.into() }
    }

    /// The hypervisor behind the connection cannot do this at all.
    pub(crate) fn is_unsupported(&self) -> bool {
        matches!(
            self.code,
            code::NO_SUPPORT
                | code::CONFIG_UNSUPPORTED
                | code::ARGUMENT_UNSUPPORTED
                | code::OPERATION_UNSUPPORTED
        )
    }

    /// There is no such device, or nothing to look for it in: a domain that is only running has no definition.
    pub(crate) fn is_without_device(&self) -> bool {
        self.is_unsupported()
            || self.is_absent()
            || matches!(
                self.code,
                code::DEVICE_MISSING | code::OPERATION_INVALID | code::INVALID_ARGUMENT
            )
    }

    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.code, code::NO_DOMAIN | code::NO_SNAPSHOT)
    }
}

/// The last error of this thread.
pub(crate) fn last(functions: &Functions) -> VirError {
    // SAFETY: both read the calling thread's own last error; the text is copied before the next call.
    let (code, text) = unsafe { ((functions.error_code)(), (functions.error_message)()) };
    let message = if text.is_null() {
        "it failed and does not say why".to_owned()
    } else {
        // SAFETY: a C string of libvirt, valid until this thread's next call.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    };
    VirError { code, message }
}

pub(crate) fn c(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| VirError::own("a text with a NUL in it"))
}

/// Takes a text that libvirt has allocated.
pub(crate) fn taken(functions: &Functions, text: *mut c_char) -> Result<String> {
    if text.is_null() {
        return Err(last(functions));
    }
    // SAFETY: not null, so a C string that is ours; copied, then freed as libvirt says, once.
    let copy = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: as above.
    unsafe { libc::free(text.cast()) };
    Ok(copy)
}

pub(crate) fn done(functions: &Functions, result: c_int) -> Result<c_int> {
    if result < 0 { Err(last(functions)) } else { Ok(result) }
}

/// Something of libvirt's, counted by it, that may be used from every thread.
#[derive(Debug)]
pub(crate) struct Handle(pub(crate) Ptr);

// SAFETY: libvirt's objects are made for use from several threads at once, each with locks of its own.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// What happened to a domain, or to the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// It was started, paused or resumed.
    Changed(String),
    /// With libvirt's word for why, `virDomainShutoffReason`.
    Stopped(String, i32),
    Rebooted(String),
    /// The connection is gone: what happens from now on is not heard.
    Closed,
    /// There is a connection again.
    Opened,
}

/// Where events go.
pub(crate) type Tell = Box<dyn Fn(Event) + Send + Sync>;

/// A connection to one libvirt.
pub(crate) struct Connection {
    pub(crate) functions: &'static Functions,
    pub(crate) handle: Handle,
    /// libvirt's name of the driver behind it: `QEMU`, `Xen`, `LXC`, `Test`.
    pub(crate) kind: String,
    /// Registrations of events, which hold the connection open until they are given back.
    events: Vec<c_int>,
    /// Whether its end is told.
    told: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        for event in &self.events {
            // SAFETY: the handle is valid, the number is of one of its registrations; libvirt calls `forget`.
            unsafe { (self.functions.off_event)(self.handle.0, *event) };
        }
        if self.told {
            // SAFETY: as above, of the one registration of `closed`.
            unsafe { (self.functions.off_close)(self.handle.0, closed) };
        }
        // SAFETY: the reference is ours, and given back once; domains and streams hold their own.
        unsafe { (self.functions.close)(self.handle.0) };
    }
}

/// Gives the shared `Tell` of a registration back.
unsafe extern "C" fn forget(opaque: Ptr) {
    // SAFETY: libvirt calls this once for each registration, with the pointer that `Arc::into_raw` gave it.
    drop(unsafe { Arc::from_raw(opaque.cast::<Tell>()) });
}

/// The UUID of a domain that libvirt lends to a callback.
pub(crate) fn uuid_of(functions: &Functions, domain: Ptr) -> Option<String> {
    // VIR_UUID_STRING_BUFLEN
    let mut text = [0 as c_char; 37];
    // SAFETY: the domain is valid while its callback runs, or is ours; the buffer has the size the function wants.
    if unsafe { (functions.uuid)(domain, text.as_mut_ptr()) } < 0 {
        return None;
    }
    // SAFETY: the function has written a C string of 36 characters.
    Some(unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned())
}

/// Tells an event from libvirt's thread.
fn pass(domain: Ptr, opaque: Ptr, event: impl FnOnce(String) -> Option<Event>) {
    // The library is open, or nothing could call this.
    let Ok(functions) = raw::library() else { return };
    // SAFETY: the pointer is the registration's `Tell`, which lives until `forget`.
    let tell = unsafe { &*opaque.cast::<Tell>() };
    if let Some(event) = uuid_of(functions, domain).and_then(event) {
        tell(event);
    }
}

unsafe extern "C" fn lifecycle(
    _: Ptr,
    domain: Ptr,
    event: c_int,
    detail: c_int,
    opaque: Ptr,
) -> c_int {
    pass(domain, opaque, |uuid| match event {
        // Started, suspended by somebody, resumed, asleep by itself, crashed.
        2 | 3 | 4 | 7 | 8 => Some(Event::Changed(uuid)),
        // `virDomainEventStoppedDetailType` has the same words without the first.
        5 => Some(Event::Stopped(uuid, detail + 1)),
        _ => None,
    });
    0
}

unsafe extern "C" fn rebooted(_: Ptr, domain: Ptr, opaque: Ptr) {
    pass(domain, opaque, |uuid| Some(Event::Rebooted(uuid)));
}

unsafe extern "C" fn closed(_: Ptr, _: c_int, opaque: Ptr) {
    // SAFETY: the pointer is the registration's `Tell`, which lives until `forget`.
    let tell = unsafe { &*opaque.cast::<Tell>() };
    tell(Event::Closed);
}

impl Connection {
    /// Opens a connection and has its events told.
    pub(crate) fn open(uri: &str, tell: Tell) -> Result<Self> {
        /// Seconds between two questions whether a libvirt on another machine is there, and how many may go unanswered.
        const KEEP_ALIVE: (c_int, c_uint) = (5, 5);
        let functions = raw::library().map_err(|why| {
            VirError::own(format!(
                "libvirt.so.0: {why} (install `libvirt0`, or your system's package of it)"
            ))
        })?;
        let text = c(uri)?;
        // SAFETY: the text is a C string; what comes back is a reference of ours, or null.
        let handle = unsafe { (functions.open)(text.as_ptr()) };
        if handle.is_null() {
            return Err(last(functions));
        }
        // SAFETY: the handle is valid; the text is libvirt's own constant.
        let kind = unsafe {
            let kind = (functions.kind)(handle);
            if kind.is_null() {
                String::new()
            } else {
                CStr::from_ptr(kind).to_string_lossy().into_owned()
            }
        };
        let mut made =
            Self { functions, handle: Handle(handle), kind, events: Vec::new(), told: false };
        let tell = Arc::new(tell);
        let lent = || Arc::into_raw(Arc::clone(&tell)).cast_mut().cast::<libc::c_void>();
        let callbacks = [
            (raw::EVENT_LIFECYCLE, lifecycle as raw::LifecycleCallback as *const () as Ptr),
            (raw::EVENT_REBOOT, rebooted as raw::RebootCallback as *const () as Ptr),
        ];
        for (event, callback) in callbacks {
            let opaque = lent();
            // SAFETY: the callback has the shape its event is told with, and `opaque` lives until libvirt calls `forget`.
            let registered = unsafe {
                (functions.on_event)(
                    handle,
                    std::ptr::null_mut(),
                    event,
                    callback,
                    opaque,
                    Some(forget),
                )
            };
            if registered < 0 {
                let error = last(functions);
                // SAFETY: refused, so libvirt does not give it back.
                unsafe { forget(opaque) };
                // Reboots alone are not told by every driver; changes of state are.
                if event == raw::EVENT_LIFECYCLE {
                    return Err(error);
                }
            } else {
                made.events.push(registered);
            }
        }
        let opaque = lent();
        // SAFETY: as for the events.
        let registered = unsafe { (functions.on_close)(handle, closed, opaque, Some(forget)) };
        made.told = registered >= 0;
        if !made.told {
            // SAFETY: refused, so libvirt does not give it back. Drivers within this process have no connection to lose.
            unsafe { forget(opaque) };
        }
        // SAFETY: the handle is valid. Drivers within this process refuse: there is nothing to keep alive.
        unsafe { (functions.keep_alive)(handle, KEEP_ALIVE.0, KEEP_ALIVE.1) };
        Ok(made)
    }

    pub(crate) fn is_alive(&self) -> bool {
        // SAFETY: the handle is valid.
        unsafe { (self.functions.is_alive)(self.handle.0) == 1 }
    }

    fn domain(self: &Arc<Self>, found: Ptr) -> Result<Domain> {
        if found.is_null() {
            return Err(last(self.functions));
        }
        Ok(Domain::new(self, Handle(found)))
    }

    pub(crate) fn by_uuid(self: &Arc<Self>, uuid: &str) -> Result<Domain> {
        let text = c(uuid)?;
        // SAFETY: handle and text are valid; the reference that comes back is ours.
        self.domain(unsafe { (self.functions.by_uuid)(self.handle.0, text.as_ptr()) })
    }

    pub(crate) fn by_name(self: &Arc<Self>, name: &str) -> Result<Domain> {
        let text = c(name)?;
        // SAFETY: as above.
        self.domain(unsafe { (self.functions.by_name)(self.handle.0, text.as_ptr()) })
    }

    pub(crate) fn define(self: &Arc<Self>, xml: &str) -> Result<Domain> {
        let text = c(xml)?;
        // SAFETY: as above.
        self.domain(unsafe { (self.functions.define)(self.handle.0, text.as_ptr()) })
    }
}

/// Version of the library, such as `9.0.0`.
pub(crate) fn version() -> std::result::Result<String, String> {
    let functions = raw::library()?;
    let mut number = 0;
    // SAFETY: the number lives through the call; without a driver's name only the library's own is asked for.
    let result =
        unsafe { (functions.version)(&raw mut number, std::ptr::null(), std::ptr::null_mut()) };
    if result < 0 {
        return Err(last(functions).message);
    }
    Ok(format!("{}.{}.{}", number / 1_000_000, number / 1000 % 1000, number % 1000))
}

//! libvirt's C interface, opened when running. Types and numbers are those of `libvirt/libvirt-domain.h`, `libvirt-host.h`,
//! `libvirt-stream.h`, `libvirt-domain-snapshot.h`, `libvirt-qemu.h` and `libvirt-lxc.h` (ABI of `libvirt.so.0`, kept since 2005).

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_ulonglong, c_ushort, c_void};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

pub(crate) type Ptr = *mut c_void;
pub(crate) type FreeCallback = Option<unsafe extern "C" fn(Ptr)>;
pub(crate) type CloseCallback = unsafe extern "C" fn(Ptr, c_int, Ptr);
/// `virConnectDomainEventCallback` of the lifecycle: connection, domain, event, detail, opaque. The one for reboots has no
/// numbers; a C caller passes what it has, so each is registered with a function of its own shape.
pub(crate) type LifecycleCallback = unsafe extern "C" fn(Ptr, Ptr, c_int, c_int, Ptr) -> c_int;
pub(crate) type RebootCallback = unsafe extern "C" fn(Ptr, Ptr, Ptr);
pub(crate) type ErrorFunction = Option<unsafe extern "C" fn(Ptr, Ptr)>;

/// `virDomainLxcOpenNamespace`: domain, list of descriptors, flags.
pub(crate) type OpenNamespaces = unsafe extern "C" fn(Ptr, *mut *mut c_int, c_uint) -> c_int;

/// `virDomainInfo`.
#[allow(dead_code)] // libvirt fills all of it
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Info {
    pub(crate) state: u8,
    pub(crate) max_memory: c_ulong,
    pub(crate) memory: c_ulong,
    pub(crate) cpus: c_ushort,
    pub(crate) cpu_time: c_ulonglong,
}

/// Numbers of errors (`virErrorNumber`).
pub(crate) mod code {
    pub(crate) const NO_SUPPORT: i32 = 3;
    pub(crate) const INVALID_ARGUMENT: i32 = 8;
    pub(crate) const NO_DOMAIN: i32 = 42;
    pub(crate) const OPERATION_INVALID: i32 = 55;
    pub(crate) const CONFIG_UNSUPPORTED: i32 = 67;
    pub(crate) const NO_SNAPSHOT: i32 = 72;
    pub(crate) const ARGUMENT_UNSUPPORTED: i32 = 74;
    pub(crate) const OPERATION_UNSUPPORTED: i32 = 84;
    pub(crate) const AGENT_UNRESPONSIVE: i32 = 86;
    pub(crate) const DEVICE_MISSING: i32 = 99;
}

pub(crate) const EVENT_LIFECYCLE: c_int = 0;
pub(crate) const EVENT_REBOOT: c_int = 1;
/// `VIR_DOMAIN_START_PAUSED`.
pub(crate) const START_PAUSED: c_uint = 1;
/// `VIR_DOMAIN_AFFECT_LIVE`.
pub(crate) const AFFECT_LIVE: c_uint = 1;
/// `VIR_DOMAIN_AFFECT_CONFIG`.
pub(crate) const AFFECT_CONFIG: c_uint = 2;
/// `VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | SNAPSHOTS_METADATA | NVRAM | CHECKPOINTS_METADATA`.
pub(crate) const UNDEFINE_ALL: c_uint = 1 | 2 | 4 | 16;

macro_rules! functions {
    ($($field:ident = $symbol:literal ($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions of `libvirt.so.0` that are used here.
        pub(crate) struct Functions {
            $(pub(crate) $field: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            /// `virDomainQemuAgentCommand` of `libvirt-qemu.so.0`; domain, command, seconds, flags.
            pub(crate) agent_command:
                Option<unsafe extern "C" fn(Ptr, *const c_char, c_int, c_uint) -> *mut c_char>,
            /// Of `libvirt-lxc.so.0`.
            pub(crate) namespaces: Option<OpenNamespaces>,
        }

        impl Functions {
            /// # Safety
            /// `library` is a handle of `libvirt.so.0`, never closed.
            unsafe fn find(
                library: Ptr,
                agent: Option<Ptr>,
                containers: Option<Ptr>,
            ) -> Result<Self, String> {
                Ok(Self {
                    $($field: {
                        let symbol = find(library, $symbol)?;
                        // SAFETY: the function has this type in every `libvirt.so.0` that has it.
                        unsafe {
                            std::mem::transmute::<Ptr, unsafe extern "C" fn($($argument),*) $(-> $result)?>(symbol)
                        }
                    },)*
                    agent_command: match agent {
                        Some(library) => {
                            let symbol = find(library, c"virDomainQemuAgentCommand")?;
                            // SAFETY: as above, of `libvirt-qemu.so.0`.
                            Some(unsafe {
                                std::mem::transmute::<
                                    Ptr,
                                    unsafe extern "C" fn(Ptr, *const c_char, c_int, c_uint) -> *mut c_char,
                                >(symbol)
                            })
                        }
                        None => None,
                    },
                    namespaces: match containers {
                        Some(library) => {
                            let symbol = find(library, c"virDomainLxcOpenNamespace")?;
                            // SAFETY: as above, of `libvirt-lxc.so.0`.
                            Some(unsafe { std::mem::transmute::<Ptr, OpenNamespaces>(symbol) })
                        }
                        None => None,
                    },
                })
            }
        }
    };
}

functions! {
    initialize = c"virInitialize" () -> c_int;
    version = c"virGetVersion" (*mut c_ulong, *const c_char, *mut c_ulong) -> c_int;
    error_code = c"virGetLastErrorCode" () -> c_int;
    error_message = c"virGetLastErrorMessage" () -> *const c_char;
    set_error_function = c"virSetErrorFunc" (Ptr, ErrorFunction);
    register_loop = c"virEventRegisterDefaultImpl" () -> c_int;
    run_loop = c"virEventRunDefaultImpl" () -> c_int;
    open = c"virConnectOpen" (*const c_char) -> Ptr;
    close = c"virConnectClose" (Ptr) -> c_int;
    kind = c"virConnectGetType" (Ptr) -> *const c_char;
    is_alive = c"virConnectIsAlive" (Ptr) -> c_int;
    keep_alive = c"virConnectSetKeepAlive" (Ptr, c_int, c_uint) -> c_int;
    on_close = c"virConnectRegisterCloseCallback" (Ptr, CloseCallback, Ptr, FreeCallback) -> c_int;
    off_close = c"virConnectUnregisterCloseCallback" (Ptr, CloseCallback) -> c_int;
    off_event = c"virConnectDomainEventDeregisterAny" (Ptr, c_int) -> c_int;
    on_event = c"virConnectDomainEventRegisterAny" (Ptr, Ptr, c_int, Ptr, Ptr, FreeCallback) -> c_int;
    by_uuid = c"virDomainLookupByUUIDString" (Ptr, *const c_char) -> Ptr;
    by_name = c"virDomainLookupByName" (Ptr, *const c_char) -> Ptr;
    free_domain = c"virDomainFree" (Ptr) -> c_int;
    uuid = c"virDomainGetUUIDString" (Ptr, *mut c_char) -> c_int;
    id = c"virDomainGetID" (Ptr) -> c_uint;
    define = c"virDomainDefineXML" (Ptr, *const c_char) -> Ptr;
    undefine_flags = c"virDomainUndefineFlags" (Ptr, c_uint) -> c_int;
    undefine = c"virDomainUndefine" (Ptr) -> c_int;
    create = c"virDomainCreateWithFlags" (Ptr, c_uint) -> c_int;
    shutdown = c"virDomainShutdown" (Ptr) -> c_int;
    destroy = c"virDomainDestroy" (Ptr) -> c_int;
    suspend = c"virDomainSuspend" (Ptr) -> c_int;
    resume = c"virDomainResume" (Ptr) -> c_int;
    state = c"virDomainGetState" (Ptr, *mut c_int, *mut c_int, c_uint) -> c_int;
    info = c"virDomainGetInfo" (Ptr, *mut Info) -> c_int;
    attach = c"virDomainAttachDeviceFlags" (Ptr, *const c_char, c_uint) -> c_int;
    detach = c"virDomainDetachDeviceFlags" (Ptr, *const c_char, c_uint) -> c_int;
    new_stream = c"virStreamNew" (Ptr, c_uint) -> Ptr;
    free_stream = c"virStreamFree" (Ptr) -> c_int;
    receive = c"virStreamRecv" (Ptr, *mut c_char, usize) -> c_int;
    send = c"virStreamSend" (Ptr, *const c_char, usize) -> c_int;
    abort = c"virStreamAbort" (Ptr) -> c_int;
    open_console = c"virDomainOpenConsole" (Ptr, *const c_char, Ptr, c_uint) -> c_int;
    save = c"virDomainManagedSave" (Ptr, c_uint) -> c_int;
    is_saved = c"virDomainHasManagedSaveImage" (Ptr, c_uint) -> c_int;
    forget_saved = c"virDomainManagedSaveRemove" (Ptr, c_uint) -> c_int;
    abort_job = c"virDomainAbortJob" (Ptr) -> c_int;
    screenshot = c"virDomainScreenshot" (Ptr, Ptr, c_uint, c_uint) -> *mut c_char;
    make_snapshot = c"virDomainSnapshotCreateXML" (Ptr, *const c_char, c_uint) -> Ptr;
    snapshots = c"virDomainListAllSnapshots" (Ptr, *mut *mut Ptr, c_uint) -> c_int;
    snapshot_by_name = c"virDomainSnapshotLookupByName" (Ptr, *const c_char, c_uint) -> Ptr;
    snapshot_xml = c"virDomainSnapshotGetXMLDesc" (Ptr, c_uint) -> *mut c_char;
    revert = c"virDomainRevertToSnapshot" (Ptr, c_uint) -> c_int;
    delete_snapshot = c"virDomainSnapshotDelete" (Ptr, c_uint) -> c_int;
    free_snapshot = c"virDomainSnapshotFree" (Ptr) -> c_int;
}

fn find(library: Ptr, symbol: &CStr) -> Result<Ptr, String> {
    // SAFETY: the handle is of a library that is never closed, the name a C string.
    let found = unsafe { libc::dlsym(library, symbol.as_ptr()) };
    if found.is_null() {
        return Err(format!("it has no function `{}`: it is too old", symbol.to_string_lossy()));
    }
    Ok(found)
}

fn open(name: &CStr) -> Result<Ptr, String> {
    // SAFETY: libvirt's initialisers may run on any thread; the handle is never closed, so nothing of it can go away.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if !library.is_null() {
        return Ok(library);
    }
    // SAFETY: dlerror gives a C string that is valid until the thread's next call, or null.
    let why = unsafe { libc::dlerror() };
    if why.is_null() {
        return Err("it cannot be opened".to_owned());
    }
    // SAFETY: as above; copied at once.
    Err(unsafe { CStr::from_ptr(why) }.to_string_lossy().into_owned())
}

/// The library, opened and set up once; the loop of its events runs from then on. One that was not there is looked for again:
/// it may have been installed.
///
/// # Errors
/// It is not there, or too old: a sentence.
pub(crate) fn library() -> Result<&'static Functions, String> {
    static LIBRARY: OnceLock<Functions> = OnceLock::new();
    static LOADING: Mutex<()> = Mutex::new(());
    if let Some(functions) = LIBRARY.get() {
        return Ok(functions);
    }
    let _alone = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(functions) = LIBRARY.get() {
        return Ok(functions);
    }
    let functions = load()?;
    Ok(LIBRARY.get_or_init(|| functions))
}

fn load() -> Result<Functions, String> {
    let main = open(c"libvirt.so.0")?;
    // Without it guests' agents are not reached; everything else goes on.
    let agent = open(c"libvirt-qemu.so.0").ok();
    // Without it containers have no links.
    let containers = open(c"libvirt-lxc.so.0").ok();
    // SAFETY: the handles are just opened, and never closed.
    let functions = unsafe { Functions::find(main, agent, containers) }?;
    // SAFETY: called once, before any connection is made, as both want.
    let ready = unsafe { (functions.initialize)() == 0 && (functions.register_loop)() == 0 };
    if !ready {
        return Err("it cannot be set up".to_owned());
    }
    unsafe extern "C" fn silent(_: Ptr, _: Ptr) {}
    // SAFETY: the function touches nothing; without it every error would also be written to standard error.
    unsafe { (functions.set_error_function)(std::ptr::null_mut(), Some(silent)) };
    let run = functions.run_loop;
    let looping =
        std::thread::Builder::new().name("libvirt-events".to_owned()).spawn(move || turn(run));
    looping.map_err(|error| format!("the thread of its events cannot be started: {error}"))?;
    Ok(functions)
}

/// Runs the loop of events. It never ends, as the library is never closed.
fn turn(run: unsafe extern "C" fn() -> c_int) {
    loop {
        // SAFETY: this thread alone runs the loop, which waits in poll(2) until there is something to do.
        if unsafe { run() } < 0 {
            // A signal interrupted it; or it fails each time, and must not take a processor.
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

//! The few functions of libyang that are needed, made safe. All unsafe code of this crate is here.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString, c_char},
    path::PathBuf,
    ptr::{self, NonNull},
    sync::Once,
};

use libyang5_sys as ffi;

use super::{
    Kind,
    complaint::{Complaint, Stage},
};

/// Modules that were read and compiled.
#[derive(Debug)]
pub(super) struct Context {
    raw: NonNull<ffi::ly_ctx>,
}

// SAFETY: libyang keeps nothing of a context in the thread that made it but its list of errors, which is one for each
// thread; a context may be given to another thread.
unsafe impl Send for Context {}
// SAFETY: a compiled context is only read while data are parsed and validated; its dictionary and its lists of errors
// have locks of their own. What changes a context takes `&mut self` here.
unsafe impl Sync for Context {}

/// A parsed tree; freed with the value.
struct Tree(*mut ffi::lyd_node);

impl Drop for Tree {
    fn drop(&mut self) {
        // SAFETY: the tree is ours, or null, which is allowed.
        unsafe { ffi::lyd_free_all(self.0) };
    }
}

impl Context {
    /// A context that looks for modules in these folders, and nowhere else.
    pub(super) fn new(folders: &[PathBuf]) -> Result<Self, String> {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // SAFETY: sets a global, which nothing but this uses.
            // Every error is kept for us to read, none is printed.
            unsafe { ffi::ly_log_options(ffi::LY_LOSTORE) };
        });
        // No plugins are looked for: a static program cannot load any.
        let options = ffi::LY_CTX_NO_YANGLIBRARY
            | ffi::LY_CTX_DISABLE_SEARCHDIR_CWD
            | ffi::LY_CTX_STATIC_PLUGINS_ONLY;
        let mut raw = ptr::null_mut();
        // SAFETY: no folder, and a place for the result.
        let code = unsafe { ffi::ly_ctx_new(ptr::null(), options, &raw mut raw) };
        let raw = NonNull::new(raw)
            .filter(|_| code == ffi::LY_ERR::LY_SUCCESS)
            .ok_or_else(|| format!("libyang cannot begin, code {code}"))?;
        let context = Self { raw };
        for folder in folders {
            let path = c_string(&folder.to_string_lossy())?;
            // SAFETY: the context lives, the text ends with a zero.
            let code = unsafe { ffi::ly_ctx_set_searchdir(raw.as_ptr(), path.as_ptr()) };
            if code != ffi::LY_ERR::LY_SUCCESS && code != ffi::LY_ERR::LY_EEXIST {
                return Err(format!("{}: {}", folder.display(), context.first_message()));
            }
        }
        Ok(context)
    }

    /// Reads a module from the folders, with what it imports; all its features are on. Read before is success.
    pub(super) fn load(&mut self, module: &str) -> Result<(), String> {
        let name = c_string(module)?;
        self.clean();
        let mut features = [c"*".as_ptr(), ptr::null()];
        // SAFETY: the context lives and nobody else reads it (`&mut self`); the texts end with a zero, the list of
        // features with a null pointer.
        let loaded = unsafe {
            ffi::ly_ctx_load_module(
                self.raw.as_ptr(),
                name.as_ptr(),
                ptr::null(),
                features.as_mut_ptr(),
            )
        };
        if loaded.is_null() {
            return Err(self.first_message());
        }
        Ok(())
    }

    /// Whether a module is there and compiled.
    pub(super) fn has(&self, module: &str) -> bool {
        !self.module(module).is_null()
    }

    fn module(&self, module: &str) -> *mut ffi::lys_module {
        let Ok(name) = c_string(module) else { return ptr::null_mut() };
        // SAFETY: the context lives, the text ends with a zero.
        unsafe { ffi::ly_ctx_get_module_implemented(self.raw.as_ptr(), name.as_ptr()) }
    }

    /// Checks a text; for the tree of an operation it holds the operation's own node. Nothing found: it is valid.
    pub(super) fn check(&self, kind: Kind<'_>, modules: &[String], text: &str) -> Vec<Complaint> {
        let Ok(text) = CString::new(text) else {
            return vec![Complaint::new("there is a zero byte in it")];
        };
        self.clean();
        let checked = match kind {
            Kind::Candidate | Kind::Running | Kind::State => self.data(kind, modules, &text),
            Kind::Input(_) => self.operation(ffi::lyd_type::LYD_TYPE_RPC_YANG, &text),
            Kind::Output(_) => self.operation(ffi::lyd_type::LYD_TYPE_REPLY_YANG, &text),
            Kind::Notification(_) => self.operation(ffi::lyd_type::LYD_TYPE_NOTIF_YANG, &text),
        };
        let Err(stage) = checked else { return Vec::new() };
        let mut found = self.complaints(stage);
        if found.is_empty() {
            found.push(Complaint::new("libyang refuses it and does not say why"));
        }
        self.clean();
        found
    }

    fn data(&self, kind: Kind<'_>, modules: &[String], text: &CStr) -> Result<(), Stage> {
        let mut validate = 0;
        if kind == Kind::State {
            // What concerns configuration, which is not in this tree, is sorted out by the caller.
            validate |= ffi::LYD_VALIDATE_MULTI_ERROR;
        } else {
            // Not already when it is parsed: there the error has no path.
            validate |= ffi::LYD_VALIDATE_NO_STATE;
        }
        if kind != Kind::Candidate {
            // A module without data may have none.
            validate |= ffi::LYD_VALIDATE_PRESENT;
        }
        let mut tree = Tree(ptr::null_mut());
        // SAFETY: the context lives, the text ends with a zero, and there is a place for the tree, which is freed by
        // its own value.
        let parsed = unsafe {
            ffi::lyd_parse_data_mem(
                self.raw.as_ptr(),
                text.as_ptr(),
                ffi::LYD_FORMAT::LYD_JSON,
                ffi::LYD_PARSE_STRICT | ffi::LYD_PARSE_ONLY,
                0,
                &raw mut tree.0,
            )
        };
        if parsed != ffi::LY_ERR::LY_SUCCESS {
            return Err(Stage::Form);
        }
        let done = |code| if code == ffi::LY_ERR::LY_SUCCESS { Ok(()) } else { Err(Stage::Rules) };
        if kind != Kind::Candidate {
            // SAFETY: the tree is of this context, and may become another or none.
            let code = unsafe {
                ffi::lyd_validate_all(&raw mut tree.0, self.raw.as_ptr(), validate, ptr::null_mut())
            };
            return done(code);
        }
        // The model's own modules only, but these also when they have no data: other modules of the context belong
        // to other models.
        for module in modules {
            let module = self.module(module);
            if module.is_null() {
                // It was loaded before, or nothing would be checked.
                return Err(Stage::Rules);
            }
            // SAFETY: the tree and the module are of this context.
            let code = unsafe {
                ffi::lyd_validate_module(
                    &raw mut tree.0,
                    module,
                    validate | ffi::LYD_VALIDATE_NOT_FINAL,
                    ptr::null_mut(),
                )
            };
            done(code)?;
        }
        modules.iter().try_for_each(|module| {
            // SAFETY: the tree is of this context, and so is the module, which is not null: it was looked at above.
            let code =
                unsafe { ffi::lyd_validate_module_final(tree.0, self.module(module), validate) };
            done(code)
        })
    }

    fn operation(&self, kind: ffi::lyd_type::Type, text: &CStr) -> Result<(), Stage> {
        let mut input = ptr::null_mut();
        // SAFETY: the text ends with a zero and outlives the input.
        if unsafe { ffi::ly_in_new_memory(text.as_ptr(), &raw mut input) }
            != ffi::LY_ERR::LY_SUCCESS
        {
            return Err(Stage::Form);
        }
        let mut tree = Tree(ptr::null_mut());
        let mut operation = ptr::null_mut();
        // SAFETY: the context and the input live; there are places for both results, of which the second is a part
        // of the first.
        let parsed = unsafe {
            ffi::lyd_parse_op(
                self.raw.as_ptr(),
                ptr::null_mut(),
                input,
                ffi::LYD_FORMAT::LYD_JSON,
                kind,
                ffi::LYD_PARSE_STRICT,
                &raw mut tree.0,
                &raw mut operation,
            )
        };
        // SAFETY: the input is ours and not used any more; the text is not freed with it.
        unsafe { ffi::ly_in_free(input, 0) };
        if parsed != ffi::LY_ERR::LY_SUCCESS {
            return Err(Stage::Form);
        }
        // SAFETY: the tree is one of an operation of this kind, as it was parsed.
        let code = unsafe { ffi::lyd_validate_op(tree.0, ptr::null(), kind, ptr::null_mut()) };
        if code == ffi::LY_ERR::LY_SUCCESS { Ok(()) } else { Err(Stage::Rules) }
    }

    /// Whether the node of a schema path is state; `None` when there is no such node.
    pub(super) fn is_state(&self, schema_path: &str) -> Option<bool> {
        let path = c_string(schema_path).ok()?;
        // SAFETY: the context lives, the text ends with a zero; the node is the context's and is read at once.
        unsafe {
            let node = ffi::lys_find_path(self.raw.as_ptr(), ptr::null(), path.as_ptr(), 0);
            node.as_ref().map(|node| u32::from(node.flags) & ffi::LYS_CONFIG_R != 0)
        }
    }

    fn complaints(&self, stage: Stage) -> Vec<Complaint> {
        let mut found = Vec::new();
        // SAFETY: the list is this thread's, and is not changed while it is read.
        unsafe {
            let mut item = ffi::ly_err_first(self.raw.as_ptr());
            while let Some(error) = item.as_ref() {
                if error.level == ffi::LY_LOG_LEVEL::LY_LLERR {
                    found.push(Complaint {
                        message: text(error.msg),
                        path: text(error.data_path),
                        app_tag: text(error.apptag),
                        stage,
                    });
                }
                item = error.next;
            }
        }
        found
    }

    fn first_message(&self) -> String {
        let found = self.complaints(Stage::Form);
        self.clean();
        // The first one is the cause, those after it say what it led to.
        found.into_iter().next().map_or_else(
            || "libyang does not say why".to_owned(),
            |complaint| complaint.message.trim_end_matches('.').to_owned(),
        )
    }

    fn clean(&self) {
        // SAFETY: frees the list of this thread, of which nothing is kept.
        unsafe { ffi::ly_err_clean(self.raw.as_ptr(), ptr::null_mut()) };
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is ours, and every tree of it is gone: none outlives a call.
        unsafe { ffi::ly_ctx_destroy(self.raw.as_ptr()) };
    }
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| "there is a zero byte in it".to_owned())
}

/// # Safety
/// The pointer is null or a text that ends with a zero and lives during the call.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: as demanded.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

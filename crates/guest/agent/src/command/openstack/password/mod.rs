//! `keyinit` and `password`: a key exchange, then the password of an account, encrypted by its result.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fmt,
    fs::File,
    io::{Seek as _, Write as _},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use serde::Deserialize;
use serde_json::{Value, json};
use vnode_action::{Spec, Stdin};
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    base64,
    replace::{Attributes, prepare},
};
use crate::{
    command::{Command, CommandError, Form},
    context::{Context, Resource},
};

mod cipher;
mod group;
mod hash;
mod lock;
mod shadow;
#[cfg(test)]
mod tests;

use group::Number;
use lock::Lock;
use shadow::Format;

/// How long a key is good, and how often it may be used in vain (R-P5).
const KEY_LIFE: Duration = Duration::from_secs(120);
const KEY_FAILURES: u32 = 3;
/// Channels that may have an exchange open.
const KEYS_MAX: usize = 64;
/// Largest account file.
const FILE_MAX: u64 = 8 << 20;
/// How long a program that sets the password may take: clients wait 30 s.
const PROGRAM_TIME: Duration = Duration::from_secs(20);

const NO_PASSWORD: &str = "Invalid password data received";
const NO_BASE64: &str = "Couldn't decode base64 data";
const NO_KEY: &str = "Password without key exchange";

/// The table `[command.password]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Whose password it is.
    user: String,
    /// A program that sets it instead, fed with `user:password` and a newline: `["chpasswd"]`. For systems whose
    /// shadow file is not what counts, or to hash by the system's own method.
    helper: Option<Vec<String>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { user: "root".to_owned(), helper: None }
    }
}

/// A shared number, waiting for a password. Each channel has its own.
struct Key {
    shared: Number,
    since: SystemTime,
    failures: u32,
}

/// The keys of all channels.
#[derive(Default)]
struct Keys(Mutex<HashMap<String, Key>>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    fn put(&self, channel: &str, key: Key) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|_, other| is_fresh(other, key.since));
        if keys.len() >= KEYS_MAX {
            keys.clear();
        }
        keys.insert(channel.to_owned(), key);
    }

    /// The shared number, while it is good.
    fn get(&self, channel: &str, now: SystemTime) -> Option<Number> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|_, key| is_fresh(key, now));
        keys.get(channel).map(|key| key.shared.clone())
    }

    fn settle(&self, channel: &str, success: bool) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.get_mut(channel) {
            key.failures += 1;
            if success || key.failures >= KEY_FAILURES {
                keys.remove(channel);
            }
        }
    }
}

/// A clock that was set back does not lengthen a key's life.
fn is_fresh(key: &Key, now: SystemTime) -> bool {
    now.duration_since(key.since).is_ok_and(|age| age < KEY_LIFE)
}

fn random(bytes: &mut [u8]) -> rustix::io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(got) => filled += got,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Takes the client's public key, answers ours.
#[derive(Debug)]
pub(super) struct KeyInit;

impl Command for KeyInit {
    fn name(&self) -> &str {
        "keyinit"
    }

    fn form(&self) -> Form {
        Form::Openstack
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        value: Value,
    ) -> BoxFuture<'a, Result<Value, CommandError>> {
        async move {
            let peer = public_key(&value)?;
            let mut bytes = Zeroizing::new([0; 16]);
            let own = loop {
                random(&mut *bytes).map_err(|errno| {
                    CommandError::failed("No random numbers for a key").with_source(errno)
                })?;
                let mut secret = u128::from_be_bytes(*bytes);
                let (own, shared) = (Number::public_key(secret), peer.power(secret));
                secret.zeroize();
                if own.is_weak() || shared.is_weak() {
                    continue;
                }
                let key = Key { shared, since: context.now(), failures: 0 };
                context.state::<Keys>().put(context.channel(), key);
                break own;
            };
            // A client looks for the only quoted text that is all digits.
            Ok(json!({"returncode": "D0", "message": own.digits().as_str()}))
        }
        .boxed()
    }

    fn while_frozen(&self) -> bool {
        true
    }
}

/// The client's number; the texts are Python's, whose the original showed.
fn public_key(value: &Value) -> Result<Number, CommandError> {
    let kind = |kind: &str| {
        CommandError::invalid(format!("long() argument must be a string or a number, not '{kind}'"))
    };
    let number = match value {
        Value::String(text) => {
            let trimmed = text.trim();
            let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
            let number = Number::from_digits(digits).ok_or_else(|| {
                CommandError::invalid(format!("invalid literal for long() with base 10: '{text}'"))
            })?;
            if trimmed.starts_with('-') { number.negated() } else { number }
        }
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) if value < 0 => {
                Number::new(u128::from(value.unsigned_abs())).negated()
            }
            (_, Some(value)) => Number::new(u128::from(value)),
            _ => number
                .as_f64()
                .and_then(Number::from_float)
                .ok_or_else(|| CommandError::invalid("cannot convert float infinity to integer"))?,
        },
        Value::Bool(value) => Number::new(u128::from(*value)),
        Value::Null => return Err(kind("NoneType")),
        Value::Array(_) => return Err(kind("list")),
        Value::Object(_) => return Err(kind("dict")),
    };
    if number.is_weak() {
        return Err(CommandError::invalid("Invalid public key"));
    }
    Ok(number)
}

/// Sets the password.
#[derive(Debug)]
pub(super) struct Password;

impl Command for Password {
    fn name(&self) -> &str {
        "password"
    }

    fn form(&self) -> Form {
        Form::Openstack
    }

    fn run<'a>(
        &'a self,
        context: &'a Context,
        value: Value,
    ) -> BoxFuture<'a, Result<Value, CommandError>> {
        async move {
            let ciphertext = value
                .as_str()
                .and_then(base64::decode)
                .ok_or_else(|| CommandError::invalid(NO_BASE64))?;
            let keys = context.state::<Keys>();
            let shared = keys
                .get(context.channel(), context.now())
                .ok_or_else(|| CommandError::failed(NO_KEY))?;
            let result = async {
                let password = decrypt(&shared, &ciphertext)?;
                set_password(context, &password).await
            };
            let result = result.await;
            keys.settle(context.channel(), result.is_ok());
            result.map(|()| Value::from(""))
        }
        .boxed()
    }

    fn resource(&self) -> Option<Resource> {
        Some(Resource::Accounts)
    }
}

fn decrypt(shared: &Number, ciphertext: &[u8]) -> Result<Zeroizing<String>, CommandError> {
    if ciphertext.is_empty() {
        return Err(CommandError::invalid("string index out of range"));
    }
    if !ciphertext.len().is_multiple_of(16) {
        return Err(CommandError::invalid("Input strings must be a multiple of 16 in length"));
    }
    cipher::password(shared, ciphertext).ok_or_else(|| CommandError::invalid(NO_PASSWORD))
}

/// Sets the password of the configured account.
async fn set_password(context: &Context, password: &str) -> Result<(), CommandError> {
    let settings: Settings = context.options("password")?;
    let user = &settings.user;
    if user.is_empty() || user.contains([':', '\n', '\0']) {
        return Err(CommandError::failed(format!("the settings name no user: `{user}`")));
    }
    match &settings.helper {
        Some(helper) => by_helper(context, helper, user, password).await,
        None => in_file(context, user, password).await,
    }
}

async fn by_helper(
    context: &Context,
    helper: &[String],
    user: &str,
    password: &str,
) -> Result<(), CommandError> {
    let failed =
        |why: String| CommandError::failed(format!("Failed to change password for {user}: {why}"));
    // The program's input, not its arguments: those others can read. Of memory of its own, not a buffer that is
    // copied about.
    let line = Zeroizing::new(format!("{user}:{password}\n"));
    let input = || -> std::io::Result<File> {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::memfd_create("input", flags)?);
        file.write_all(line.as_bytes())?;
        file.rewind()?;
        Ok(file)
    };
    let input = input().map_err(|error| failed("no memory".to_owned()).with_source(error))?;
    let spec =
        Spec::new(helper).stdin(Stdin::Fd(input.into())).capture(4096).time_limit(PROGRAM_TIME);
    let output = context
        .run(spec)
        .await
        .map_err(|error| failed("the program cannot be run".to_owned()).with_source(error))?;
    if output.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().replace(password, "***");
    Err(failed(format!("{:?} : {text}", output.status)))
}

/// Hashes the password and puts the hash into the shadow file.
pub(crate) async fn in_file(
    context: &Context,
    user: &str,
    password: &str,
) -> Result<(), CommandError> {
    let hash = hash::hash(password).map_err(|error| {
        CommandError::failed(format!("Failed to change password for {user}")).with_source(error)
    })?;
    set_hash(context, user, &hash).await
}

/// Replaces the hash in the shadow file.
pub(crate) async fn set_hash(
    context: &Context,
    user: &str,
    hash: &str,
) -> Result<(), CommandError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        CommandError::failed(format!("Failed to change password for {user}")).with_source(error)
    };
    let root = context.root();
    let there = |format: Format| root.stat(format.path()).is_ok();
    let format = [Format::Shadow, Format::Master]
        .into_iter()
        .find(|format| there(*format))
        .ok_or_else(|| CommandError::failed("Unknown password file format"))?;
    let days = context.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
        / (24 * 3600);
    let held = match format {
        Format::Shadow => "etc/shadow.lock",
        Format::Master => "etc/master.passwd.lock",
    };
    let _lock = Lock::take(root, held).await.map_err(|error| failed(error.into()))?;
    let path = format.path();
    let file = root.open(path).map_err(|error| failed(error.into()))?;
    let attributes = Attributes::of(&file).map_err(|error| failed(error.into()))?;
    let text =
        Zeroizing::new(root.read_to_limit(path, FILE_MAX).map_err(|error| failed(error.into()))?);
    let text = shadow::with_password(&text, format, user, hash, days)
        .ok_or_else(|| CommandError::not_found(format!("User {user} not found")))?;
    let etc = root.open_dir("etc").map_err(|error| failed(error.into()))?;
    let name = OsStr::new(path.trim_start_matches("etc/"));
    // Removed and made anew by whoever comes next, should we be killed here.
    let temporary = OsStr::new(".vnode-password.new");
    prepare(&etc, temporary, &text, &attributes).map_err(|error| failed(error.into()))?;
    match format {
        Format::Shadow => {
            etc.rename(temporary, name).map_err(|error| failed(error.into()))?;
            etc.sync().map_err(|error| failed(error.into()))
        }
        Format::Master => rebuild(context, temporary).await,
    }
}

/// FreeBSD: the program checks the file, puts it in its place and makes the databases of it.
async fn rebuild(context: &Context, temporary: &OsStr) -> Result<(), CommandError> {
    let path = std::path::Path::new("/etc").join(temporary);
    let spec = Spec::new(["pwd_mkdb".as_ref(), "-p".as_ref(), path.as_os_str()])
        .capture(4096)
        .time_limit(PROGRAM_TIME);
    match context.run(spec).await {
        Ok(output) if output.success() => Ok(()),
        Ok(_) => Err(CommandError::failed("Rebuilding the passwd database failed")),
        Err(error) => {
            Err(CommandError::failed("Rebuilding the passwd database failed").with_source(error))
        }
    }
}

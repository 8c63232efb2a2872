//! `kmsactivate`: registers with a Red Hat Network server. The public service is gone, so this is built in only with
//! the feature `kmsactivate`; its tests always run.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, Write as _},
    path::Path,
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use serde_json::Value;
use vnode_action::{ExitStatus, Spec, Stdin};
use vnode_beneath::Dir;
use zeroize::Zeroizing;

use crate::{
    command::{Command, CommandError, Form},
    context::{Context, Resource},
};

const SETTINGS: &str = "etc/sysconfig/rhn/up2date";
const SYSTEM_ID: &str = "etc/sysconfig/rhn/systemid";
const TOOL: &str = "usr/sbin/rhnreg_ks";
const TOOL_TIME: Duration = Duration::from_secs(25);
/// Most servers.
const DOMAINS_MAX: usize = 32;
/// The tool takes its key as an argument only, and arguments can be read by everybody. It is a Python program: its
/// interpreter is told to take the arguments from standard input.
const LOADER: &str = "import sys\n\
    sys.argv = sys.stdin.read().split('\\0')\n\
    exec(compile(open(sys.argv[0]).read(), sys.argv[0], 'exec'), \
    {'__name__': '__main__', '__file__': sys.argv[0]})\n";

/// Registers.
#[derive(Debug)]
pub(super) struct KmsActivate;

impl Command for KmsActivate {
    fn name(&self) -> &str {
        "kmsactivate"
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
            if !is_red_hat(context.root()) {
                return Err(CommandError::unsupported("KMS not supported on this OS"));
            }
            let request = Request::read(&value)?;
            let failed = |error| {
                CommandError::failed("Couldn't write the settings of RHN").with_source(error)
            };
            let root = context.root();
            root.mkdir_all("etc/sysconfig/rhn", 0o755).map_err(failed)?;
            root.write_atomic(SETTINGS, settings(&request.domains).as_bytes(), 0o600)
                .map_err(failed)?;
            match root.remove_file(SYSTEM_ID) {
                Err(error) if !error.is_not_found() => return Err(failed(error)),
                _ => {}
            }
            register(context, &request).await?;
            Ok(Value::from(""))
        }
        .boxed()
    }

    fn resource(&self) -> Option<Resource> {
        Some(Resource::Files)
    }
}

struct Request {
    key: Zeroizing<String>,
    profile: String,
    domains: Vec<String>,
}

impl Request {
    fn read(value: &Value) -> Result<Self, CommandError> {
        let Value::Object(members) = value else {
            return Err(CommandError::invalid("Invalid arguments"));
        };
        let get = |name: &str| {
            // A missing member's error is its name in quotes, as Python's.
            members.get(name).ok_or_else(|| CommandError::invalid(format!("'{name}'")))
        };
        let text = |name: &str| {
            let text = get(name)?.as_str().filter(|text| is_word(text));
            text.map(str::to_owned)
                .ok_or_else(|| CommandError::invalid(format!("Invalid value of '{name}'")))
        };
        let key = Zeroizing::new(text("activation_key")?);
        let profile = text("profile")?;
        let domains = match get("domains")? {
            Value::String(one) => vec![one.clone()],
            Value::Array(all) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let is_host = |name: &String| {
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
        };
        if domains.is_empty() || domains.len() > DOMAINS_MAX || !domains.iter().all(is_host) {
            return Err(CommandError::invalid("Invalid value of 'domains'"));
        }
        Ok(Self { key, profile, domains })
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 1024 && !text.chars().any(char::is_control)
}

fn is_red_hat(root: &Dir) -> bool {
    if root.stat("etc/redhat-release").is_ok() {
        return true;
    }
    // A system without the file is another's.
    let text = root.read_to_limit("etc/os-release", 64 << 10).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().filter_map(|line| line.split_once('=')).any(|(name, value)| {
        let mut words = value.trim_matches(['"', '\'']).split_whitespace();
        matches!(name, "ID" | "ID_LIKE") && words.any(|word| word == "rhel" || word == "redhat")
    })
}

/// The whole file, as the original wrote it.
fn settings(domains: &[String]) -> String {
    let urls = |scheme: &str| -> String {
        domains.iter().map(|domain| format!("{scheme}://{domain}/XMLRPC;")).collect()
    };
    let (secure, plain) = (urls("https"), urls("http"));
    let entries: [(&str, &str, &str); 15] = [
        ("versionOverride", "Override the automatically determined system version", ""),
        ("enableProxyAuth", "To use an authenticated proxy or not", "0"),
        (
            "networkRetries",
            "Number of attempts to make at network connections before giving up",
            "5",
        ),
        ("hostedWhitelist", "None", ""),
        ("enableProxy", "Use a HTTP Proxy", "0"),
        ("serverURL", "Remote server URL", &secure),
        ("proxyPassword", "The password to use for an authenticated proxy", ""),
        ("noSSLServerURL", "None", &plain),
        ("proxyUser", "The username for an authenticated proxy", ""),
        (
            "disallowConfChanges",
            "Config options that can not be overwritten by a config update action",
            "noReboot;sslCACert;useNoSSLForPackages;noSSLServerURL;serverURL;disallowConfChanges;",
        ),
        (
            "sslCACert",
            "The CA cert used to verify the ssl server",
            "/usr/share/rhn/RHN-ORG-TRUSTED-SSL-CERT",
        ),
        ("debug", "Whether or not debugging is enabled", "0"),
        ("httpProxy", "HTTP proxy in host:port format, e.g. squid.redhat.com:3128", ""),
        ("systemIdPath", "Location of system id", "/etc/sysconfig/rhn/systemid"),
        ("noReboot", "Disable the reboot action", "0"),
    ];
    let mut text = String::from(
        "# Automatically generated Red Hat Update Agent config file, do not edit.\n# Format: 1.0\n",
    );
    let entries =
        entries.map(|(key, comment, value)| format!("{key}[comment]={comment}\n{key}={value}\n"));
    text.push_str(&entries.join("\n"));
    text
}

async fn register(context: &Context, request: &Request) -> Result<(), CommandError> {
    let failed =
        |status: String| CommandError::failed(format!("Couldn't activate with RHN: {status}"));
    let tool = context.root_path().join(TOOL);
    let prepare = || -> io::Result<(Vec<String>, File)> {
        let interpreter = python_of(&tool)?;
        let mut file =
            File::from(rustix::fs::memfd_create("input", rustix::fs::MemfdFlags::CLOEXEC)?);
        let (key, profile) = (request.key.as_str(), request.profile.as_str());
        let tool = tool.display().to_string();
        let words = [&tool, "--activationkey", key, "--profile", profile, "--force"];
        file.write_all(Zeroizing::new(words.join("\0")).as_bytes())?;
        file.rewind()?;
        Ok((interpreter, file))
    };
    let (interpreter, input) = prepare()
        .map_err(|error| failed("the tool cannot be run".to_owned()).with_source(error))?;
    let spec = Spec::new(interpreter)
        .arg("-c")
        .arg(LOADER)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdin::Fd(input.into()))
        .time_limit(TOOL_TIME);
    let output = context
        .run(spec)
        .await
        .map_err(|error| failed("the tool cannot be run".to_owned()).with_source(error))?;
    match output.status {
        ExitStatus::Code(0) => Ok(()),
        // As `wait` gives it.
        ExitStatus::Code(code) => Err(failed((code << 8).to_string())),
        ExitStatus::Signal(signal) => Err(failed(signal.to_string())),
    }
}

/// The interpreter in the tool's first line, if it is Python.
fn python_of(tool: &Path) -> io::Result<Vec<String>> {
    let mut line = String::new();
    BufReader::new(File::open(tool)?.take(256)).read_line(&mut line)?;
    let words: Vec<String> =
        line.strip_prefix("#!").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    if words
        .iter()
        .any(|word| word.rsplit('/').next().is_some_and(|name| name.starts_with("python")))
    {
        return Ok(words);
    }
    Err(io::Error::other(
        "the tool is no Python program, so its key would show among its arguments",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn guest(red_hat: bool) -> (tempfile::TempDir, Context) {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["etc/sysconfig/rhn", "usr/sbin"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let id = if red_hat { "ID=\"centos\"\nID_LIKE=\"rhel fedora\"\n" } else { "ID=debian\n" };
        std::fs::write(dir.path().join("etc/os-release"), id).unwrap();
        let context = Context::builder(dir.path()).build().unwrap();
        (dir, context)
    }

    fn request() -> Value {
        json!({
            "activation_key": "s3cret-key",
            "profile": "me",
            "domains": ["proxy1.example.com", "proxy2.example.com"],
        })
    }

    #[test]
    fn the_settings_are_those_of_the_original() {
        use sha2::Digest as _;
        let text = settings(&["proxy1.example.com".into(), "proxy2.example.com".into()]);
        assert_eq!(text.len(), 1467);
        let digest: String =
            sha2::Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, "e53fbbb0022356a2b3ff43fc10bee9727aea327775fed120574bdc620ded95b1");
    }

    #[tokio::test]
    async fn what_is_refused() {
        let (_dir, context) = guest(false);
        let error = KmsActivate.run(&context, request()).await.unwrap_err();
        assert_eq!(error.message(), "KMS not supported on this OS");
        let (_dir, context) = guest(true);
        for member in ["activation_key", "profile", "domains"] {
            let mut value = request();
            value.as_object_mut().unwrap().remove(member);
            let error = KmsActivate.run(&context, value).await.unwrap_err();
            assert_eq!(error.message(), format!("'{member}'"));
        }
        for bad in [json!("a\nb=c"), json!([]), json!(["a;b"]), json!(5)] {
            let mut value = request();
            value["domains"] = bad;
            assert!(KmsActivate.run(&context, value).await.is_err());
        }
        let error = KmsActivate.run(&context, request()).await.unwrap_err();
        assert!(error.message().starts_with("Couldn't activate with RHN: "), "{error}");
    }

    #[tokio::test]
    async fn the_tool_is_told_in_secret() {
        let Some(python) = vnode_testkit::find_program("python3") else {
            vnode_testkit::skip("the program `python3` is not installed");
            return;
        };
        let (dir, context) = guest(true);
        let root = dir.path().display();
        let tool = format!(
            "#!{}\nimport sys\nopen('{root}/argv', 'w').write(' '.join(sys.argv[1:]))\n\
             open('{root}/cmdline', 'wb').write(open('/proc/self/cmdline', 'rb').read())\n\
             if __name__ == '__main__': sys.exit(3 if sys.argv[4] == 'bad' else 0)\n",
            python.display()
        );
        std::fs::write(dir.path().join(TOOL), tool).unwrap();
        std::fs::write(dir.path().join(SYSTEM_ID), "old").unwrap();
        KmsActivate.run(&context, request()).await.unwrap();
        let read =
            |name: &str| String::from_utf8(std::fs::read(dir.path().join(name)).unwrap()).unwrap();
        assert_eq!(read("argv"), "--activationkey s3cret-key --profile me --force");
        assert!(!read("cmdline").contains("s3cret"), "{:?}", read("cmdline"));
        assert!(read(SETTINGS).contains("serverURL=https://proxy1.example.com/XMLRPC;"));
        assert!(!dir.path().join(SYSTEM_ID).exists());
        let mut value = request();
        value["profile"] = json!("bad");
        value["domains"] = json!("one.example.com");
        let error = KmsActivate.run(&context, value).await.unwrap_err();
        assert_eq!(error.message(), "Couldn't activate with RHN: 768");
    }
}

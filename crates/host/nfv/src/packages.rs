//! Packages: made, filled, checked, switched on and off, taken away (SOL005, `vnf.md` 6.4).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use futures_util::{Stream, StreamExt};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;
use vnode_beneath::{Dir, Scope};
use vnode_vnfpkg::{Limits, Signature, Trust};

use crate::problem::Problem;
use crate::records::{Artifact, Onboarding, Package, Product};
use crate::service::{Edit, MOST, Nfv, State, new_id};

/// Name of a package's archive in its folder, and of the tree it was unpacked to.
const ARCHIVE: &str = "package";
const TREE: &str = "tree";
/// What an archive is called until all of it is there.
const PART: &str = "package.part";

fn find(state: &State, id: Uuid) -> Result<&Package, Problem> {
    state.packages.get(&id).ok_or_else(|| Problem::not_found(format!("there is no package `{id}`")))
}

pub(crate) fn in_use(state: &State, id: Uuid) -> bool {
    state.instances.values().any(|instance| instance.package == id)
}

impl Nfv {
    fn folder(&self, id: Uuid) -> PathBuf {
        self.inner.options.folder.join(id.to_string())
    }

    /// The archive of an onboarded package.
    pub(crate) fn archive(&self, id: Uuid) -> PathBuf {
        self.folder(id).join(ARCHIVE)
    }

    pub(crate) async fn create_package(
        &self,
        data: Map<String, Value>,
    ) -> Result<Package, Problem> {
        let mut state = self.inner.state.lock().await;
        if state.packages.len() >= MOST {
            return Err(Problem::conflict(format!("there are {MOST} packages; delete some")));
        }
        let package = Package {
            id: new_id(),
            onboarding: Onboarding::Created,
            enabled: false,
            product: None,
            failure: None,
            user_data: data,
        };
        self.edit(&mut state, vec![Edit::Package(package.clone())]).await?;
        Ok(package)
    }

    pub(crate) async fn package(&self, id: Uuid) -> Result<(Package, bool), Problem> {
        let state = self.inner.state.lock().await;
        Ok((find(&state, id)?.clone(), in_use(&state, id)))
    }

    pub(crate) async fn packages(&self) -> Vec<(Package, bool)> {
        let state = self.inner.state.lock().await;
        state.packages.values().map(|p| (p.clone(), in_use(&state, p.id))).collect()
    }

    /// Switches a package on or off, and merges the user's data (RFC 7396: null takes a member away).
    pub(crate) async fn change_package(
        &self,
        id: Uuid,
        enable: Option<bool>,
        data: Map<String, Value>,
    ) -> Result<(), Problem> {
        let mut state = self.inner.state.lock().await;
        let mut package = find(&state, id)?.clone();
        if let Some(enable) = enable {
            if package.onboarding != Onboarding::Onboarded {
                return Err(Problem::conflict(format!("package `{id}` is not onboarded")));
            }
            if package.enabled == enable {
                let word = if enable { "ENABLED" } else { "DISABLED" };
                return Err(Problem::conflict(format!("package `{id}` is {word} already")));
            }
            package.enabled = enable;
        }
        for (key, value) in data {
            if value.is_null() {
                package.user_data.remove(&key);
            } else {
                package.user_data.insert(key, value);
            }
        }
        self.edit(&mut state, vec![Edit::Package(package)]).await
    }

    pub(crate) async fn delete_package(&self, id: Uuid) -> Result<(), Problem> {
        let mut state = self.inner.state.lock().await;
        let package = find(&state, id)?;
        if in_use(&state, id) {
            return Err(Problem::conflict(format!("package `{id}` is in use by an instance")));
        }
        if package.enabled {
            return Err(Problem::conflict(format!("package `{id}` is ENABLED; disable it first")));
        }
        if matches!(package.onboarding, Onboarding::Uploading | Onboarding::Processing) {
            return Err(Problem::conflict(format!("package `{id}` is being onboarded")));
        }
        self.edit(&mut state, vec![Edit::NoPackage(id)]).await?;
        drop(state);
        // The record is gone: what cannot be removed now is swept at the next start.
        if let Err(error) = tokio::fs::remove_dir_all(self.folder(id)).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%id, %error, "northbound: content of a deleted package stays until the next start");
        }
        Ok(())
    }

    /// Takes a package's archive, and checks it in the background.
    ///
    /// Run it as a task of its own: a client that goes away ends the stream, and the record must tell.
    pub(crate) async fn upload<S, B, E>(self, id: Uuid, body: S) -> Result<(), Problem>
    where
        S: Stream<Item = Result<B, E>> + Unpin,
        B: AsRef<[u8]>,
        E: std::error::Error + 'static,
    {
        self.step(id, &[Onboarding::Created, Onboarding::Error], Onboarding::Uploading).await?;
        match self.receive(id, body).await {
            Ok(()) => {
                self.step(id, &[Onboarding::Uploading], Onboarding::Processing).await?;
                tokio::spawn(self.clone().onboard(id));
                Ok(())
            }
            Err(problem) => {
                self.fail(id, problem.clone()).await?;
                Err(problem)
            }
        }
    }

    async fn receive<S, B, E>(&self, id: Uuid, mut body: S) -> Result<(), Problem>
    where
        S: Stream<Item = Result<B, E>> + Unpin,
        B: AsRef<[u8]>,
        E: std::error::Error + 'static,
    {
        let folder = self.folder(id);
        let part = folder.join(PART);
        let fail = |e| Problem::internal("cannot keep the package", &e);
        // An earlier try may have left its tree.
        if let Err(error) = tokio::fs::remove_dir_all(&folder).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(fail(error));
        }
        tokio::fs::create_dir_all(&folder).await.map_err(fail)?;
        let mut file = tokio::fs::File::create(&part).await.map_err(fail)?;
        let most = self.inner.options.largest_package;
        let mut size = 0_u64;
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|e| {
                Problem::bad(format!("the upload broke off: {}", vnode_protocol::chain(&e)))
            })?;
            size += chunk.as_ref().len() as u64;
            if size > most {
                return Err(Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("a package may have {most} bytes at most"),
                ));
            }
            file.write_all(chunk.as_ref()).await.map_err(fail)?;
        }
        file.sync_all().await.map_err(fail)?;
        tokio::fs::rename(&part, folder.join(ARCHIVE)).await.map_err(fail)
    }

    async fn step(&self, id: Uuid, from: &[Onboarding], to: Onboarding) -> Result<(), Problem> {
        let mut state = self.inner.state.lock().await;
        let mut package = find(&state, id)?.clone();
        if !from.contains(&package.onboarding) {
            return Err(Problem::conflict(format!(
                "package `{id}` has its content, or is getting it; only a new one takes an upload"
            )));
        }
        package.onboarding = to;
        package.failure = None;
        self.edit(&mut state, vec![Edit::Package(package)]).await
    }

    async fn fail(&self, id: Uuid, problem: Problem) -> Result<(), Problem> {
        let mut state = self.inner.state.lock().await;
        let mut package = find(&state, id)?.clone();
        package.onboarding = Onboarding::Error;
        package.failure = Some(problem);
        self.edit(&mut state, vec![Edit::Package(package)]).await
    }

    async fn onboard(self, id: Uuid) {
        let folder = self.folder(id);
        let checked = tokio::task::spawn_blocking(move || check(&folder)).await;
        let done = match checked {
            Ok(Ok(product)) => self.onboarded(id, product).await,
            Ok(Err(problem)) => self.fail(id, problem).await,
            Err(error) => {
                self.fail(id, Problem::internal("checking the package ended", &error)).await
            }
        };
        if let Err(problem) = done {
            tracing::warn!(%id, "northbound: a package's state cannot be kept: {}", problem.detail);
        }
    }

    async fn onboarded(&self, id: Uuid, mut product: Product) -> Result<(), Problem> {
        let mut state = self.inner.state.lock().await;
        if product.version.is_empty() {
            product.version = next_revision(&state, &product.name);
            product.vnfd_id = vnfd_id(&product.name, &product.version);
        }
        let twin = state.packages.values().find(|other| {
            other.id != id
                && other.product.as_ref().is_some_and(|there| there.vnfd_id == product.vnfd_id)
        });
        let failure = twin.map(|twin| {
            let (name, version) = (&product.name, &product.version);
            Problem::conflict(format!("package `{}` is `{name}` {version} already", twin.id))
                .coded("package-exists")
        });
        let mut package = find(&state, id)?.clone();
        match failure {
            Some(failure) => {
                package.onboarding = Onboarding::Error;
                package.failure = Some(failure);
            }
            None => {
                package.onboarding = Onboarding::Onboarded;
                package.enabled = true;
                package.product = Some(product);
            }
        }
        self.edit(&mut state, vec![Edit::Package(package)]).await
    }

    /// After a crash: uploads that broke off are errors, checks begin again, folders of nobody go.
    pub(crate) async fn sweep_packages(&self) -> Result<(), Problem> {
        let known = self.packages().await;
        for (package, _) in &known {
            match package.onboarding {
                Onboarding::Uploading => {
                    let why = "the daemon ended while the package was uploaded; upload it again";
                    let status = StatusCode::SERVICE_UNAVAILABLE;
                    self.fail(package.id, Problem::new(status, why).coded("interrupted")).await?;
                }
                Onboarding::Processing => drop(tokio::spawn(self.clone().onboard(package.id))),
                Onboarding::Created | Onboarding::Onboarded | Onboarding::Error => {}
            }
        }
        let fail = |e| Problem::internal("cannot look through the folder of packages", &e);
        let mut entries = tokio::fs::read_dir(&self.inner.options.folder).await.map_err(fail)?;
        while let Some(entry) = entries.next_entry().await.map_err(fail)? {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.parse::<Uuid>().ok());
            if id.is_some_and(|id| known.iter().all(|(package, _)| package.id != id)) {
                tokio::fs::remove_dir_all(entry.path()).await.map_err(fail)?;
            }
        }
        Ok(())
    }

    /// A file of an onboarded package, and its length. The path cannot leave the package.
    pub(crate) async fn open_file(&self, id: Uuid, what: Content) -> Result<(File, u64), Problem> {
        let (package, _) = self.package(id).await?;
        let Some(product) = package.product else {
            return Err(Problem::conflict(format!("package `{id}` is not onboarded")));
        };
        let folder = self.folder(id);
        let blocking = move || {
            let fail = |e: std::io::Error| Problem::internal("cannot read the package", &e);
            let file = match &what {
                Content::Archive => File::open(folder.join(ARCHIVE)).map_err(fail)?,
                Content::Artifact(path) => {
                    if !product.artifacts.iter().any(|artifact| artifact.path == *path) {
                        let what = format!("the package has no artifact `{path}`");
                        return Err(Problem::not_found(what));
                    }
                    let tree = Dir::open_ambient(folder.join(TREE), Scope::Beneath)
                        .map_err(|e| Problem::internal("cannot read the package", &e))?;
                    tree.open(path).map_err(|e| Problem::internal("cannot read the package", &e))?
                }
            };
            let length = file.metadata().map_err(fail)?.len();
            Ok((file, length))
        };
        tokio::task::spawn_blocking(blocking)
            .await
            .map_err(|e| Problem::internal("reading the package ended", &e))?
    }
}

/// What of a package is wanted.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Archive,
    Artifact(String),
}

/// Names of the file that describes the function, by the form of the package.
pub(crate) const DESCRIPTORS: &[&str] = &["lifecycle.json", "vnfd.json"];
/// Names of the manifest.
pub(crate) const MANIFEST_END: &str = ".mf";

fn refused(refused: &vnode_vnfpkg::Refused) -> Problem {
    let status = StatusCode::from_u16(refused.code().status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut problem = Problem::new(status, refused.to_string()).coded(refused.code().text());
    problem.pointer = refused.problems.first().and_then(|p| p.pointer.clone());
    problem
}

/// Both passes: checks the archive, and unpacks it beside itself. Blocks.
fn check(folder: &Path) -> Result<Product, Problem> {
    let fail = |e: &dyn std::error::Error| Problem::internal("cannot read the package", e);
    let limits = Limits::default();
    let archive = File::open(folder.join(ARCHIVE)).map_err(|e| fail(&e))?;
    let package = vnode_vnfpkg::Package::open_in(&archive, &limits, &Trust::default(), folder)
        .map_err(|e| refused(&e))?;
    let tree = folder.join(TREE);
    if let Err(error) = std::fs::remove_dir_all(&tree)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(fail(&error));
    }
    std::fs::create_dir_all(&tree).map_err(|e| fail(&e))?;
    let root = Dir::open_ambient(&tree, Scope::Beneath).map_err(|e| fail(&e))?;
    package.unpack(&archive, &root).map_err(|e| refused(&e))?;
    let mut artifacts = Vec::new();
    for (path, _) in package.files() {
        let file = root.open(path).map_err(|e| fail(&e))?;
        artifacts
            .push(Artifact { path: path.to_owned(), digest: digest(file).map_err(|e| fail(&e))? });
    }
    let descriptor = &package.descriptor;
    // Without one it gets its number when it is among the others.
    let version = descriptor.version.clone().unwrap_or_default();
    let aspects = descriptor.scaling.iter();
    Ok(Product {
        vnfd_id: vnfd_id(&descriptor.name, &version),
        provider: descriptor.vendor.clone().unwrap_or_else(|| "unknown".to_owned()),
        name: descriptor.name.clone(),
        version,
        digest: package.digest.clone(),
        signed: matches!(package.signature, Signature::Verified(_)),
        artifacts,
        aspects: aspects.map(|(name, aspect)| (name.clone(), aspect.max_steps)).collect(),
    })
}

/// `0.0.0+rN` for a package without a version, one more than the last of that name (`vnf.md` 6.4).
fn next_revision(state: &State, name: &str) -> String {
    let products = state.packages.values().filter_map(|package| package.product.as_ref());
    let revisions = products
        .filter(|product| product.name == name)
        .filter_map(|product| product.version.strip_prefix("0.0.0+r")?.parse::<u64>().ok());
    format!("0.0.0+r{}", revisions.max().unwrap_or(0).saturating_add(1))
}

/// The same for the same package on every host (`vnf.md` 6.4).
fn vnfd_id(name: &str, version: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("vnode:vnf:{name}:{version}").as_bytes())
}

fn digest(mut file: File) -> std::io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = [0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => digest.update(&buffer[..read]),
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

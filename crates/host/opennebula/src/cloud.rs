//! The calls of OpenNebula that images need, with types.

use crate::{
    client::{CallError, Client},
    image::{IDENTIFIER, Image, Permissions},
    rpc::{AnswerError, Value},
    xml::{self, Element, XmlError},
};

/// A datastore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datastore {
    pub id: i64,
    pub name: String,
    /// Whether it holds images, not running disks or files.
    pub of_images: bool,
}

/// The images of one cloud.
#[derive(Debug, Clone)]
pub struct Cloud {
    client: Client,
}

impl Cloud {
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The server's version, `6.10.5`.
    ///
    /// # Errors
    /// [`CallError`], here and below.
    pub async fn version(&self) -> Result<String, CallError> {
        self.text("one.system.version", &[]).await
    }

    /// All images, in the server's order. Attributes are kept of those that come from a list only.
    pub async fn images(&self) -> Result<Vec<Image>, CallError> {
        const METHOD: &str = "one.imagepool.info";
        let text = self.text(METHOD, &[(-2).into(), (-1).into(), (-1).into()]).await?;
        let mut images = Vec::new();
        let read = xml::each_child(&text, |element| {
            let mut image = Image::read(element)?;
            if image.attribute(IDENTIFIER).is_none() {
                image.template.clear();
                image.template.shrink_to_fit();
            }
            images.push(image);
            Ok(())
        });
        read.map_err(|error| wrong(METHOD, error))?;
        Ok(images)
    }

    /// One image; `None` when there is none of this number.
    pub async fn image(&self, id: i64) -> Result<Option<Image>, CallError> {
        const METHOD: &str = "one.image.info";
        let text = match self.text(METHOD, &[id.into()]).await {
            Ok(text) => text,
            Err(error) if error.code() == Some(crate::rpc::code::NO_EXISTS) => return Ok(None),
            Err(error) => return Err(error),
        };
        let image = xml::read(&text).and_then(Image::read).map_err(|e| wrong(METHOD, e))?;
        Ok(Some(image))
    }

    /// Registers an image; gives its number while its file is still being copied.
    pub async fn allocate(&self, template: &str, datastore: i64) -> Result<i64, CallError> {
        const METHOD: &str = "one.image.allocate";
        let value =
            self.client.call(METHOD, &[template.into(), datastore.into(), false.into()]).await?;
        match value {
            Value::Int(id) => Ok(id),
            _ => Err(wrong(METHOD, XmlError::Lacks { what: "the number of an image".to_owned() })),
        }
    }

    pub async fn rename(&self, id: i64, name: &str) -> Result<(), CallError> {
        self.done("one.image.rename", &[id.into(), name.into()]).await
    }

    /// Gives an image to a user and a group in one call.
    pub async fn chown(&self, id: i64, uid: i64, gid: i64) -> Result<(), CallError> {
        self.done("one.image.chown", &[id.into(), uid.into(), gid.into()]).await
    }

    pub async fn chmod(&self, id: i64, permissions: Permissions) -> Result<(), CallError> {
        let mut parameters = vec![Value::Int(id)];
        parameters.extend(permissions.bits().map(|bit| Value::Int(i64::from(bit))));
        self.done("one.image.chmod", &parameters).await
    }

    pub async fn enable(&self, id: i64, enable: bool) -> Result<(), CallError> {
        self.done("one.image.enable", &[id.into(), enable.into()]).await
    }

    /// Adds attributes to those of an image, or puts them in place of all.
    pub async fn update(&self, id: i64, template: &str, add: bool) -> Result<(), CallError> {
        let parameters = [id.into(), template.into(), i64::from(add).into()];
        self.done("one.image.update", &parameters).await
    }

    /// Deletes an image, its file too; `force` also while it is locked.
    pub async fn delete(&self, id: i64, force: bool) -> Result<(), CallError> {
        let mut parameters = vec![Value::Int(id)];
        if force {
            parameters.push(true.into());
        }
        self.done("one.image.delete", &parameters).await
    }

    pub async fn datastores(&self) -> Result<Vec<Datastore>, CallError> {
        const METHOD: &str = "one.datastorepool.info";
        let read = |element: &Element| {
            Ok(Datastore {
                id: element.number("ID")?,
                name: element.text_of("NAME").unwrap_or_default().to_owned(),
                // 0 images, 1 system, 2 files.
                of_images: element.number("TYPE")? == 0,
            })
        };
        self.pool(METHOD, read).await
    }

    /// Numbers and names of all groups.
    pub async fn groups(&self) -> Result<Vec<(i64, String)>, CallError> {
        let read = |element: &Element| {
            Ok((element.number("ID")?, element.text_of("NAME").unwrap_or_default().to_owned()))
        };
        self.pool("one.grouppool.info", read).await
    }

    async fn pool<T>(
        &self,
        method: &'static str,
        read: impl Fn(&Element) -> Result<T, XmlError>,
    ) -> Result<Vec<T>, CallError> {
        let text = self.text(method, &[]).await?;
        let mut all = Vec::new();
        let each = xml::each_child(&text, |element| {
            // A pool of groups also has quotas of its own beside the groups.
            if element.child("ID").is_some() {
                all.push(read(&element)?);
            }
            Ok(())
        });
        each.map_err(|error| wrong(method, error))?;
        Ok(all)
    }

    async fn text(&self, method: &'static str, parameters: &[Value]) -> Result<String, CallError> {
        match self.client.call(method, parameters).await? {
            Value::Text(text) => Ok(text),
            _ => Err(wrong(method, XmlError::Lacks { what: "a text".to_owned() })),
        }
    }

    async fn done(&self, method: &'static str, parameters: &[Value]) -> Result<(), CallError> {
        self.client.call(method, parameters).await.map(drop)
    }
}

fn wrong(method: &'static str, error: XmlError) -> CallError {
    CallError::Answer { method, source: AnswerError::Xml(error) }
}

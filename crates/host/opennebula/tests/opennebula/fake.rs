//! A stand-in for OpenNebula's server: real HTTP, images with owners, permissions and states, its rules of names, its
//! error codes; and failures on demand. What it does is section 8 of the specification of signed image lists, as it
//! was recorded from OpenNebula 6.10.5.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use vnode_opennebula::xml::{self, Element, escape};

pub(crate) const SESSION: &str = "oneadmin:secret-word";

/// An image as the server keeps it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept {
    pub id: i64,
    pub name: String,
    pub uid: i64,
    pub gid: i64,
    /// In the order of `one.image.chmod`.
    pub bits: [i64; 9],
    pub state: i64,
    pub running: i64,
    pub datastore: i64,
    pub template: Vec<(String, String)>,
    /// What was copied, once it is.
    pub content: Option<Vec<u8>>,
    /// Looks at it until it is copied.
    looks: u32,
}

impl Kept {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.template.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn octal(&self) -> String {
        self.bits.chunks(3).map(|c| (c[0] * 4 + c[1] * 2 + c[2]).to_string()).collect()
    }
}

/// What happens to a call instead of what should.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// It is refused.
    Refuse(i64, &'static str),
    /// It is done, and its answer never comes.
    Unanswered,
    /// It is done, and its answer ends in the middle.
    Cut,
    /// These bytes are the answer.
    Answer(Vec<u8>),
    /// This status is.
    Status(&'static str),
    /// The answer never ends.
    Endless,
    /// Nothing is said for this long.
    Slow(Duration),
}

#[derive(Debug, Default)]
pub(crate) struct World {
    pub images: BTreeMap<i64, Kept>,
    next: i64,
    /// Methods called, in order.
    pub calls: Vec<String>,
    /// Before 5.8 pools were in ascending order.
    pub ascending: bool,
    /// Looks that an image stays locked for.
    pub locked: u32,
    /// An image whose file is outside of these ends in ERROR.
    pub safe: Vec<PathBuf>,
    /// Copying ends in ERROR with this.
    pub copy_fails: Option<&'static str>,
    /// By method and which call of it, from 1; 0 for every one.
    pub troubles: Vec<(&'static str, usize, Trouble)>,
    /// Every image after each change, with the method that made it.
    pub history: Vec<(String, Vec<Kept>)>,
    /// Deleting a locked image needs `force`.
    pub delete_needs_force: bool,
    /// Nobody answers.
    pub away: bool,
}

#[derive(Debug)]
pub(crate) struct Fake {
    pub address: SocketAddr,
    world: Arc<Mutex<World>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    pub(crate) fn begin() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback");
        let address = listener.local_addr().expect("its number");
        let world = Arc::new(Mutex::new(World { next: 10, locked: 1, ..World::default() }));
        let over = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (world, over) = (Arc::clone(&world), Arc::clone(&over));
            move || {
                for stream in listener.incoming() {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    let (world, over) = (Arc::clone(&world), Arc::clone(&over));
                    let Ok(stream) = stream else { continue };
                    std::thread::spawn(move || serve(stream, &world, &over));
                }
            }
        });
        Self { address, world, over, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/RPC2", self.address)
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no thread of the server panicked")
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection; one that is refused says it has ended.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("the server did not panic");
            }
        }
    }
}

fn serve(mut stream: TcpStream, world: &Mutex<World>, over: &AtomicBool) {
    drop(stream.set_nodelay(true));
    while !over.load(Ordering::SeqCst) {
        let Some(body) = request(&mut stream) else { return };
        let mut locked = world.lock().expect("no thread of the server panicked");
        if locked.away {
            return;
        }
        let (answer, trouble) = answer(&mut locked, &body);
        drop(locked);
        let whole = |body: &[u8]| {
            let mut all = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
                body.len()
            )
            .into_bytes();
            all.extend_from_slice(body);
            all
        };
        let sent = match trouble {
            None | Some(Trouble::Refuse(..)) => stream.write_all(&whole(answer.as_bytes())),
            Some(Trouble::Unanswered) => return,
            Some(Trouble::Cut) => {
                let all = whole(answer.as_bytes());
                drop(stream.write_all(&all[..all.len() - answer.len() / 2]));
                return;
            }
            Some(Trouble::Answer(bytes)) => stream.write_all(&whole(&bytes)),
            Some(Trouble::Status(line)) => {
                stream.write_all(format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n").as_bytes())
            }
            Some(Trouble::Slow(time)) => {
                std::thread::sleep(time);
                stream.write_all(&whole(answer.as_bytes()))
            }
            Some(Trouble::Endless) => {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"));
                // Ends when the other side has had enough.
                while !over.load(Ordering::SeqCst) && stream.write_all(&[b'<'; 65536]).is_ok() {}
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// One request's body; `None` at the end of the connection.
fn request(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 || head.len() > 64 << 10 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    let mut body = vec![0; length.trim().parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    String::from_utf8(body).ok()
}

type Reply = Result<String, (i64, String)>;

fn answer(world: &mut World, body: &str) -> (String, Option<Trouble>) {
    let call = xml::read(body).expect("a call is XML");
    let method = call.text_of("methodName").expect("a call has a method").to_owned();
    let parameters: Vec<&Element> = call
        .child("params")
        .map(|params| params.all("param").filter_map(|p| p.child("value")).collect())
        .unwrap_or_default();
    let parameters: Vec<String> = parameters
        .iter()
        .map(|value| value.children.first().map_or(&value.text, |typed| &typed.text).clone())
        .collect();
    world.calls.push(method.clone());
    let nth = world.calls.iter().filter(|name| **name == method).count();
    let trouble = world
        .troubles
        .iter()
        .find(|(name, when, _)| *name == method && (*when == 0 || *when == nth))
        .map(|(_, _, trouble)| trouble.clone());
    let reply = match &trouble {
        Some(Trouble::Refuse(code, text)) => Err((*code, (*text).to_owned())),
        _ if parameters.first().map(String::as_str) != Some(SESSION) => {
            Err((256, "User couldn't be authenticated, aborting.".to_owned()))
        }
        _ => {
            let before: Vec<Kept> = world.images.values().cloned().collect();
            let reply = done(world, &method, &parameters[1..]);
            let after: Vec<Kept> = world.images.values().cloned().collect();
            if before != after {
                world.history.push((method.clone(), after));
            }
            reply
        }
    };
    let items = match reply {
        Ok(value) => format!("<value><boolean>1</boolean></value>{value}<value><i4>0</i4></value>"),
        Err((code, text)) => format!(
            "<value><boolean>0</boolean></value><value><string>[{method}] {}</string></value>\
             <value><i4>{code}</i4></value><value><i4>-1</i4></value><value><i4>-1</i4></value>",
            escape(&text)
        ),
    };
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<methodResponse>\r\n<params>\r\n<param><value><array><data>\r\n\
         {items}\r\n</data></array></value></param>\r\n</params>\r\n</methodResponse>\r\n"
    );
    (text, trouble)
}

fn text(value: &str) -> String {
    format!("<value><string>{}</string></value>", escape(value))
}

fn number(value: i64) -> String {
    format!("<value><i4>{value}</i4></value>")
}

fn done(world: &mut World, method: &str, parameters: &[String]) -> Reply {
    let id: i64 = parameters.first().and_then(|p| p.parse().ok()).unwrap_or(-1);
    let at = |n: usize| parameters.get(n).map(String::as_str).unwrap_or_default();
    let int = |n: usize| at(n).parse::<i64>().expect("a number");
    match method {
        "one.system.version" => Ok(text("6.10.5")),
        "one.datastorepool.info" => Ok(text(
            "<DATASTORE_POOL>\
             <DATASTORE><ID>0</ID><NAME>system</NAME><TYPE>1</TYPE></DATASTORE>\
             <DATASTORE><ID>1</ID><NAME>default</NAME><TYPE>0</TYPE></DATASTORE>\
             <DATASTORE><ID>105</ID><NAME>vo-images</NAME><TYPE>0</TYPE></DATASTORE></DATASTORE_POOL>",
        )),
        "one.grouppool.info" => Ok(text(
            "<GROUP_POOL><GROUP><ID>0</ID><NAME>oneadmin</NAME></GROUP>\
             <GROUP><ID>1</ID><NAME>users</NAME></GROUP>\
             <QUOTAS><ID>1</ID></QUOTAS><DEFAULT_GROUP_QUOTAS/></GROUP_POOL>",
        )),
        "one.imagepool.info" => {
            let mut all: Vec<&Kept> = world.images.values().collect();
            if !world.ascending {
                all.reverse();
            }
            let all: String = all.into_iter().map(described).collect();
            Ok(text(&format!("<IMAGE_POOL>{all}</IMAGE_POOL>")))
        }
        "one.image.allocate" => allocate(world, at(0), int(1)),
        "one.image.info" => {
            let failing = world.copy_fails;
            let safe = world.safe.clone();
            let image = find(world, id)?;
            if image.state == 4 {
                image.looks = image.looks.saturating_sub(1);
                if image.looks == 0 {
                    copied(image, failing, &safe);
                }
            }
            Ok(text(&described(find(world, id)?)))
        }
        _ => {
            let others: Vec<Kept> = world.images.values().filter(|i| i.id != id).cloned().collect();
            let force = world.delete_needs_force && at(1) != "1";
            let image = find(world, id)?;
            match method {
                "one.image.rename" => {
                    let name = at(1);
                    name_allowed(name).map_err(|text| (2048, text))?;
                    if others.iter().any(|i| i.uid == image.uid && i.name == name) {
                        return Err((2048, "NAME is already taken by another image".to_owned()));
                    }
                    image.name = name.to_owned();
                }
                "one.image.chown" => {
                    let (uid, gid) = (int(1), int(2));
                    if uid >= 0 {
                        if others.iter().any(|i| i.uid == uid && i.name == image.name) {
                            return Err((512, "NAME is already taken by another image".to_owned()));
                        }
                        image.uid = uid;
                    }
                    if gid >= 0 {
                        image.gid = gid;
                    }
                }
                "one.image.chmod" => {
                    for n in 0..9 {
                        if int(n + 1) >= 0 {
                            image.bits[n] = int(n + 1);
                        }
                    }
                }
                "one.image.enable" => match (at(1), image.state) {
                    ("1", 3) => image.state = if image.running > 0 { 2 } else { 1 },
                    ("1", 1) | ("0", 3) => {}
                    ("0", 1 | 5) => image.state = 3,
                    _ => return Err((8192, "Could not change the image's state".to_owned())),
                },
                "one.image.update" => {
                    let new = template(at(1))?;
                    if at(2) == "0" {
                        image.template = new;
                    } else {
                        for (name, value) in new {
                            image.template.retain(|(own, _)| *own != name);
                            image.template.push((name, value));
                        }
                    }
                }
                "one.image.delete" => {
                    if image.running > 0 || (image.state == 4 && force) {
                        return Err((2048, "Cannot delete an image in this state".to_owned()));
                    }
                    world.images.remove(&id);
                }
                other => return Err((4096, format!("no method {other}"))),
            }
            Ok(number(id))
        }
    }
}

fn find(world: &mut World, id: i64) -> Result<&mut Kept, (i64, String)> {
    world.images.get_mut(&id).ok_or_else(|| (1024, format!("Error getting image [{id}].")))
}

fn allocate(world: &mut World, given: &str, datastore: i64) -> Reply {
    let mut values = template(given)?;
    if ![1, 105].contains(&datastore) {
        return Err((1024, format!("Error getting datastore [{datastore}].")));
    }
    let mut take = |name: &str| {
        let at = values.iter().position(|(own, _)| own == name)?;
        Some(values.remove(at).1)
    };
    let name = take("NAME").unwrap_or_default();
    let path = take("PATH").unwrap_or_default();
    name_allowed(&name).map_err(|text| (16384, text))?;
    if world.images.values().any(|image| image.uid == 0 && image.name == name) {
        return Err((16384, "NAME is already taken by another image".to_owned()));
    }
    if !std::path::Path::new(&path).exists() {
        return Err((8192, format!("Cannot determine Image SIZE. Datastore driver: {path}")));
    }
    if values.iter().any(|(_, value)| value.contains("]]>")) {
        return Err((16384, "Error inserting in the database".to_owned()));
    }
    values.retain(|(own, _)| !matches!(own.as_str(), "TYPE" | "DRIVER" | "FORMAT"));
    values.push(("PATH_OF_THE_TEST".to_owned(), path));
    world.next += 1;
    let id = world.next;
    let image = Kept {
        id,
        name,
        uid: 0,
        gid: 0,
        bits: [1, 1, 0, 0, 0, 0, 0, 0, 0],
        state: 4,
        running: 0,
        datastore,
        template: values,
        content: None,
        looks: world.locked,
    };
    world.images.insert(id, image);
    if world.locked == 0 {
        let (failing, safe) = (world.copy_fails, world.safe.clone());
        copied(find(world, id)?, failing, &safe);
    }
    Ok(number(id))
}

/// The end of copying.
fn copied(image: &mut Kept, failing: Option<&str>, safe: &[PathBuf]) {
    let at = image.template.iter().position(|(name, _)| name == "PATH_OF_THE_TEST");
    let path = at.map(|at| image.template.remove(at).1).unwrap_or_default();
    let unsafe_path = !safe.is_empty() && !safe.iter().any(|s| PathBuf::from(&path).starts_with(s));
    let error = match (failing, std::fs::read(&path)) {
        (Some(text), _) => Some(text.to_owned()),
        _ if unsafe_path => Some(format!("Not allowed to copy images from {path}")),
        (None, Ok(content)) => {
            image.content = Some(content);
            None
        }
        (None, Err(error)) => Some(error.to_string()),
    };
    match error {
        Some(error) => {
            image.state = 5;
            image.template.push(("ERROR".to_owned(), error));
        }
        None => image.state = 1,
    }
}

/// Templates as XML; those of the other form are not sent by us, and refused as unreadable.
fn template(given: &str) -> Result<Vec<(String, String)>, (i64, String)> {
    let root =
        xml::read(given).map_err(|error| (8192, format!("Cannot parse template: {error}")))?;
    Ok(root.children.into_iter().map(|child| (child.name, child.text)).collect())
}

fn name_allowed(name: &str) -> Result<(), String> {
    let wrong = |c: char| "&|:\\\";/'#{}$<>\t\n\u{b}\u{c}\r".contains(c);
    if name.is_empty() || name.chars().count() > 128 || name.contains(wrong) {
        return Err(format!("Invalid NAME {name:?}"));
    }
    Ok(())
}

/// As the server prints it: values of the template as character data.
fn described(image: &Kept) -> String {
    let who = ["OWNER", "GROUP", "OTHER"];
    let bits: String = image
        .bits
        .iter()
        .enumerate()
        .map(|(n, bit)| {
            let name = format!("{}_{}", who[n / 3], ["U", "M", "A"][n % 3]);
            format!("<{name}>{bit}</{name}>")
        })
        .collect();
    let values: String = image
        .template
        .iter()
        .map(|(name, value)| format!("<{name}><![CDATA[{value}]]></{name}>"))
        .collect();
    format!(
        "<IMAGE><ID>{}</ID><UID>{}</UID><GID>{}</GID><UNAME>u</UNAME><GNAME>g</GNAME><NAME>{}</NAME>\
         <PERMISSIONS>{bits}</PERMISSIONS><TYPE>0</TYPE><PERSISTENT>0</PERSISTENT><REGTIME>1</REGTIME>\
         <SOURCE/><SIZE>1</SIZE><STATE>{}</STATE><RUNNING_VMS>{}</RUNNING_VMS><CLONING_OPS>0</CLONING_OPS>\
         <DATASTORE_ID>{}</DATASTORE_ID><VMS/><TEMPLATE>{values}</TEMPLATE></IMAGE>",
        image.id,
        image.uid,
        image.gid,
        escape(&image.name),
        image.state,
        image.running,
        image.datastore,
    )
}

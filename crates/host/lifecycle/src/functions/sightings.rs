//! Processes of containers, seen by the one listener of this host's kernel, and told to whom they belong.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::{OnceCell, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use vnode_processes::{Connector, Sighting, Told, Word, proc};

use crate::inner::Inner;
use crate::registry::{NodeEntry, lock};

/// Words that may wait for a node; one that is slower is told to look for itself.
const WAITING: usize = 256;
/// Sightings in one word: far below a line, whatever their names are.
const TOGETHER: usize = 64;
/// Between two looks that all are asked for because a process had gone before it could be told whose it was.
const MISSED: Duration = Duration::from_secs(1);
/// What the kernel calls the agent's program.
const AGENT: &str = "vnode-agent";

/// Who wants to know of the processes of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    /// Whether the kernel tells us; asked when the first node wants to know.
    open: OnceCell<bool>,
    ears: Arc<Ears>,
}

#[derive(Debug, Default)]
struct Ears {
    by_namespace: Mutex<HashMap<proc::Namespace, Vec<Weak<Ear>>>>,
    broken: AtomicBool,
}

/// One node that listens.
#[derive(Debug)]
pub(super) struct Ear {
    node: Weak<NodeEntry>,
    /// There while an agent attends.
    words: Mutex<Option<mpsc::Sender<Word>>>,
    lost: AtomicBool,
}

/// Words for one agent that attends.
#[derive(Debug)]
pub(super) struct Words<'a> {
    ear: &'a Ear,
    waiting: mpsc::Receiver<Word>,
}

impl Ear {
    pub(super) fn new(node: &Arc<NodeEntry>) -> Self {
        Self { node: Arc::downgrade(node), words: Mutex::new(None), lost: AtomicBool::new(false) }
    }

    /// From now on words are kept for an agent.
    pub(super) fn words(&self) -> Words<'_> {
        let (sender, waiting) = mpsc::channel(WAITING);
        *lock(&self.words) = Some(sender);
        Words { ear: self, waiting }
    }

    fn tell(&self, word: Word) {
        if let Some(words) = &*lock(&self.words)
            && words.try_send(word).is_err()
        {
            self.lost.store(true, Ordering::SeqCst);
        }
    }

    /// A service that begins is asked; one that is attended has been.
    fn begins(&self) {
        if lock(&self.words).is_none()
            && let Some(node) = self.node.upgrade()
        {
            super::poke(&node);
        }
    }
}

impl Words<'_> {
    /// The next one; `None`: no more will come, for the kernel has stopped telling us.
    pub(super) async fn next(&mut self) -> Option<Word> {
        let word = self.waiting.recv().await?;
        // What came before the gap says nothing that a look at all does not.
        Some(if self.ear.lost.swap(false, Ordering::SeqCst) { Word::Lost } else { word })
    }
}

impl Drop for Words<'_> {
    fn drop(&mut self) {
        *lock(&self.ear.words) = None;
        self.ear.lost.store(false, Ordering::SeqCst);
    }
}

impl Sightings {
    /// Has `ear` hear of the processes in the namespace of `first`; `false`: the kernel does not tell us.
    pub(super) async fn listen(&self, inner: &Arc<Inner>, first: i32, ear: &Arc<Ear>) -> bool {
        let open = self.open.get_or_init(|| async {
            match Connector::open().await {
                Ok(connector) => {
                    let (ears, stop) = (Arc::clone(&self.ears), inner.stop.clone());
                    inner.tasks.spawn(async move { ears.serve(connector, stop).await });
                    true
                }
                Err(error) => {
                    tracing::info!(%error, "no process connector here: agents in containers poll");
                    false
                }
            }
        });
        if !*open.await || self.ears.broken.load(Ordering::SeqCst) {
            return false;
        }
        let Some(namespace) = proc::namespace(first) else { return false };
        let mut ears = lock(&self.ears.by_namespace);
        let same = |known: &Weak<Ear>| std::ptr::eq(known.as_ptr(), Arc::as_ptr(ear));
        ears.retain(|known, all| {
            all.retain(|other| other.strong_count() > 0 && (*known == namespace || !same(other)));
            !all.is_empty()
        });
        let all = ears.entry(namespace).or_default();
        if !all.iter().any(same) {
            all.push(Arc::downgrade(ear));
        }
        true
    }
}

impl Ears {
    async fn serve(&self, connector: Connector, stop: CancellationToken) {
        let mut told = Vec::new();
        let mut looked = Instant::now();
        let mut missed = false;
        loop {
            tokio::select! {
                heard = connector.next(&mut told) => if let Err(error) = heard {
                    tracing::error!(%error, "the process connector is broken: agents in containers poll");
                    self.broken.store(true, Ordering::SeqCst);
                    // Whose words end attends again, without us.
                    self.each(|ear| *lock(&ear.words) = None);
                    return;
                },
                () = sleep_until(looked + MISSED), if missed => {}
                () = stop.cancelled() => return,
            }
            missed |= self.sort(told.drain(..));
            if missed && looked.elapsed() >= MISSED {
                self.each(|ear| ear.tell(Word::Missed));
                (looked, missed) = (Instant::now(), false);
            }
        }
    }

    /// Tells each event to whom it belongs; whether there was one of which that cannot be said any more.
    fn sort(&self, told: impl Iterator<Item = Told>) -> bool {
        let mut missed = false;
        let mut seen: HashMap<proc::Namespace, Vec<Sighting>> = HashMap::new();
        for told in told {
            match told {
                Told::Lost => self.each(|ear| ear.tell(Word::Lost)),
                Told::Changed(pid) => match proc::namespace(pid) {
                    None => missed = true,
                    Some(namespace) if self.listens(namespace) => match Sighting::of(pid) {
                        None => self.of(namespace, |ear| ear.tell(Word::Missed)),
                        Some(sighting) => {
                            if sighting.comm == AGENT && serves(pid) {
                                self.of(namespace, Ear::begins);
                            }
                            seen.entry(namespace).or_default().push(sighting);
                        }
                    },
                    Some(_) => {}
                },
            }
        }
        for (namespace, sightings) in seen {
            for some in sightings.chunks(TOGETHER) {
                self.of(namespace, |ear| ear.tell(Word::Look(some.to_vec())));
            }
        }
        missed
    }

    fn listens(&self, namespace: proc::Namespace) -> bool {
        lock(&self.by_namespace).contains_key(&namespace)
    }

    fn of(&self, namespace: proc::Namespace, tell: impl Fn(&Ear)) {
        let all = lock(&self.by_namespace).get(&namespace).cloned().unwrap_or_default();
        all.iter().filter_map(Weak::upgrade).for_each(|ear| tell(&ear));
    }

    fn each(&self, tell: impl Fn(&Ear)) {
        let all: Vec<_> = lock(&self.by_namespace).values().flatten().cloned().collect();
        all.iter().filter_map(Weak::upgrade).for_each(|ear| tell(&ear));
    }
}

/// Whether it is the agent's service of network functions, not one of its clients: we are one ourselves.
fn serves(pid: i32) -> bool {
    proc::command_line(pid).iter().any(|word| word == b"serve")
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test starts what is to be seen")]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A shell that is the first process of its own namespace, and what ends both.
    struct Apart {
        unshare: Child,
        first: i32,
    }

    impl Apart {
        fn new() -> Option<Self> {
            let mut command = Command::new("unshare");
            command.args(["--pid", "--fork", "--kill-child", "sh"]).stdin(Stdio::piped());
            let unshare = command.spawn().ok()?;
            let path = format!("/proc/{0}/task/{0}/children", unshare.id());
            for _ in 0..6000 {
                let children = std::fs::read_to_string(&path).unwrap_or_default();
                if let Some(first) = children.split_whitespace().next() {
                    return Some(Self { unshare, first: first.parse().expect("a number") });
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            None
        }

        fn say(&mut self, line: &str) {
            let input = self.unshare.stdin.as_mut().expect("piped");
            writeln!(input, "{line}").expect("the shell reads");
        }
    }

    impl Drop for Apart {
        fn drop(&mut self) {
            // It may have ended.
            let _ = self.unshare.kill();
            let _ = self.unshare.wait();
        }
    }

    fn ears(pid: i32) -> (Arc<Ears>, Arc<Ear>) {
        let ears = Arc::new(Ears::default());
        let ear = Arc::new(Ear {
            node: Weak::new(),
            words: Mutex::new(None),
            lost: AtomicBool::new(false),
        });
        let namespace = proc::namespace(pid).expect("it lives");
        lock(&ears.by_namespace).insert(namespace, vec![Arc::downgrade(&ear)]);
        (ears, ear)
    }

    #[tokio::test]
    async fn pw_34_a_process_of_a_namespace_is_told_to_it_by_its_own_number() {
        let connector = match Connector::open().await {
            Ok(connector) => connector,
            Err(error) => return println!("skipped: no process connector here: {error}"),
        };
        let Some(mut apart) = Apart::new() else {
            return println!("skipped: no namespaces of process numbers here");
        };
        let (ears, ear) = ears(apart.first);
        let mut words = ear.words();
        let (stop, serving) = (CancellationToken::new(), Arc::clone(&ears));
        let task = tokio::spawn({
            let stop = stop.clone();
            async move { serving.serve(connector, stop).await }
        });
        // It lives until its pipe is dropped, so nobody can be too slow to see it.
        let (reader, held) = std::io::pipe().expect("a pipe");
        let cat = format!("/bin/cat /proc/{}/fd/{} &", std::process::id(), reader.as_raw_fd());
        apart.say(&cat);
        let mut seen = Vec::new();
        while !seen.iter().any(|one: &Sighting| one.comm == "cat") {
            match words.next().await.expect("it goes on") {
                Word::Look(all) => seen.extend(all),
                // Another process, of the shell's beginning.
                Word::Missed => {}
                // The kernel had more to tell than room for it.
                Word::Lost => apart.say(&cat),
            }
        }
        drop(held);
        // Among the first of its namespace, whatever it is here.
        assert!(seen.iter().all(|one| (1..1000).contains(&one.pid)), "{seen:?}");
        stop.cancel();
        task.await.expect("it ends");
    }

    #[tokio::test]
    async fn who_is_slow_is_told_to_look_at_all() {
        let (ears, ear) = ears(std::process::id().cast_signed());
        let mut words = ear.words();
        for _ in 0..=WAITING {
            ears.each(|ear| ear.tell(Word::Missed));
        }
        assert_eq!(words.next().await, Some(Word::Lost));
        assert_eq!(words.next().await, Some(Word::Missed));
        drop(words);
        // Nobody attends: nothing waits for the next.
        ears.each(|ear| ear.tell(Word::Missed));
        let mut words = ear.words();
        ears.each(|ear| ear.tell(Word::Lost));
        assert_eq!(words.next().await, Some(Word::Lost));
    }
}

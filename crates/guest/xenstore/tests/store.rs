//! One list of tests against the store in this process and against Xen's own daemon (R-T1, R-T2).
#![allow(clippy::unwrap_used)] // helpers of tests, which clippy does not take for tests

use std::{collections::HashSet, path::PathBuf, time::Duration};

use vnode_testkit::{Xenstored, skip};
use vnode_xenstore::{
    Access, Client, Errno, Error, Event, Transaction,
    memory::{Limits, Server},
};

const NONE: Transaction = Transaction::NONE;

/// A store of either kind, and where its clients connect.
enum Store {
    Memory { _server: Server, dir: tempfile::TempDir },
    Real(Xenstored),
}

impl Store {
    fn memory() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::new(Limits::default());
        server.introduce(5);
        server.listen(&dir.path().join("socket"), 0).unwrap();
        Self::Memory { _server: server, dir }
    }

    fn socket(&self) -> PathBuf {
        match self {
            Self::Memory { dir, .. } => dir.path().join("socket"),
            Self::Real(daemon) => daemon.socket(),
        }
    }

    async fn client(&self) -> Client {
        Client::connect(&Access::Socket(self.socket())).await.unwrap()
    }
}

/// Makes two tests of one body: with the store in this process, and with the real daemon.
macro_rules! both {
    ($($(#[$doc:meta])* async fn $name:ident($store:ident) $body:block)+) => {
        $(
            $(#[$doc])*
            async fn $name($store: &Store) $body
        )+
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::Store::memory()).await;
            })+
        }
        mod xenstored {
            $(#[tokio::test]
            async fn $name() {
                if let Some(why) = super::Xenstored::missing() {
                    super::skip(&why);
                    return;
                }
                super::$name(&super::Store::Real(super::Xenstored::start())).await;
            })+
        }
    };
}

fn errno<T: std::fmt::Debug>(result: Result<T, Error>) -> Errno {
    result.unwrap_err().errno().expect("the daemon's answer")
}

fn event(path: &str, token: &str) -> Event {
    Event { path: path.to_owned(), token: token.to_owned() }
}

/// Everything the connection was told until now: a watch set last marks the end.
async fn events(client: &mut Client) -> Vec<Event> {
    client.watch("/", "end").await.unwrap();
    let mut events = Vec::new();
    loop {
        let next = client.next_event().await.unwrap();
        if next.token == "end" {
            client.unwatch("/", "end").await.unwrap();
            return events;
        }
        events.push(next);
    }
}

both! {
    async fn a_written_value_is_read(store) {
        let mut client = store.client().await;
        client.write(NONE, "data/x", b"value").await.unwrap();
        assert_eq!(client.read(NONE, "data/x").await.unwrap(), b"value");
        assert_eq!(client.read(NONE, "/local/domain/0/data/x").await.unwrap(), b"value");
        client.write(NONE, "data/x", b"").await.unwrap();
        assert_eq!(client.read(NONE, "data/x").await.unwrap(), b"");
        let odd = b"\0\xff{}\0";
        client.write(NONE, "data/x", odd).await.unwrap();
        assert_eq!(client.read(NONE, "data/x").await.unwrap(), odd);
        assert_eq!(errno(client.read(NONE, "data/none").await), Errno::NoEntry);
    }

    async fn folders_are_listed_in_the_order_they_were_made(store) {
        let mut client = store.client().await;
        client.mkdir(NONE, "data/host").await.unwrap();
        assert_eq!(client.list(NONE, "data/host").await.unwrap(), Vec::<String>::new());
        for name in ["b", "a", "c"] {
            client.write(NONE, &format!("data/host/{name}"), b"").await.unwrap();
        }
        assert_eq!(client.list(NONE, "data/host").await.unwrap(), ["b", "a", "c"]);
        client.mkdir(NONE, "data/host").await.unwrap();
        client.rm(NONE, "data/host/a").await.unwrap();
        assert_eq!(client.list(NONE, "data/host").await.unwrap(), ["b", "c"]);
        assert_eq!(errno(client.list(NONE, "data/none").await), Errno::NoEntry);
        assert!(client.list(NONE, "/").await.unwrap().contains(&"local".to_owned()));
    }

    async fn removing_what_is_missing(store) {
        let mut client = store.client().await;
        client.write(NONE, "data/host/1", b"x").await.unwrap();
        client.rm(NONE, "data/host/2").await.unwrap();
        assert_eq!(errno(client.rm(NONE, "none/none").await), Errno::NoEntry);
        client.rm(NONE, "data").await.unwrap();
        assert_eq!(errno(client.read(NONE, "data/host/1").await), Errno::NoEntry);
        assert_eq!(errno(client.rm(NONE, "/").await), Errno::Invalid);
    }

    async fn paths_that_are_none(store) {
        let mut client = store.client().await;
        for bad in ["data//host", "data/host/", "data/h ost", ""] {
            assert_eq!(errno(client.read(NONE, bad).await), Errno::Invalid, "{bad:?}");
            assert_eq!(errno(client.write(NONE, bad, b"x").await), Errno::Invalid, "{bad:?}");
        }
    }

    async fn a_watch_tells_the_path_first_and_then_every_change(store) {
        let mut client = store.client().await;
        let mut other = store.client().await;
        client.mkdir(NONE, "data/host").await.unwrap();
        client.watch("data/host", "tok").await.unwrap();
        assert_eq!(client.next_event().await.unwrap(), event("data/host", "tok"));
        other.write(NONE, "data/host/1", b"a").await.unwrap();
        assert_eq!(client.next_event().await.unwrap(), event("data/host/1", "tok"));
        other.write(NONE, "data/host/1", b"b").await.unwrap();
        assert_eq!(client.next_event().await.unwrap(), event("data/host/1", "tok"));
        other.rm(NONE, "data/host/1").await.unwrap();
        assert_eq!(client.next_event().await.unwrap(), event("data/host/1", "tok"));
        other.write(NONE, "data/elsewhere", b"b").await.unwrap();
        assert_eq!(events(&mut client).await, []);
    }

    async fn an_absolute_watch_tells_absolute_paths(store) {
        let mut client = store.client().await;
        client.watch("/local/domain/5", "t").await.unwrap();
        assert_eq!(client.next_event().await.unwrap(), event("/local/domain/5", "t"));
        client.write(NONE, "/local/domain/5/data/x/y", b"").await.unwrap();
        let all = events(&mut client).await;
        assert!(all.contains(&event("/local/domain/5/data/x/y", "t")), "{all:?}");
        client.rm(NONE, "/local/domain/5/data/x").await.unwrap();
        let all = events(&mut client).await;
        assert_eq!(all, [event("/local/domain/5/data/x", "t")]);
    }

    async fn a_watch_below_what_is_removed_is_told(store) {
        let mut client = store.client().await;
        client.write(NONE, "data/a/b", b"").await.unwrap();
        client.watch("data/a/b", "t").await.unwrap();
        assert_eq!(client.next_event().await.unwrap(), event("data/a/b", "t"));
        client.rm(NONE, "data").await.unwrap();
        assert_eq!(events(&mut client).await, [event("data/a/b", "t")]);
    }

    async fn watches_are_known_by_path_and_token(store) {
        let mut client = store.client().await;
        client.watch("data", "one").await.unwrap();
        assert_eq!(errno(client.watch("data", "one").await), Errno::Exists);
        client.watch("data", "two").await.unwrap();
        client.unwatch("data", "two").await.unwrap();
        assert_eq!(errno(client.unwatch("data", "two").await), Errno::NoEntry);
        events(&mut client).await;
        client.write(NONE, "data/x", b"").await.unwrap();
        let told: HashSet<String> = events(&mut client).await.into_iter().map(|e| e.token).collect();
        assert_eq!(told, HashSet::from(["one".to_owned()]));
    }

    async fn events_between_question_and_answer_are_kept(store) {
        let mut client = store.client().await;
        client.watch("data", "t").await.unwrap();
        // Its own change comes before the answer of the daemon, or after; either way it is told once.
        client.write(NONE, "data/own", b"x").await.unwrap();
        assert_eq!(client.read(NONE, "data/own").await.unwrap(), b"x");
        let all = events(&mut client).await;
        assert_eq!(all.iter().filter(|e| **e == event("data/own", "t")).count(), 1, "{all:?}");
    }

    async fn a_transaction_is_seen_when_it_is_committed(store) {
        let mut client = store.client().await;
        let mut other = store.client().await;
        other.write(NONE, "data/host/1", b"request").await.unwrap();
        client.watch("data", "t").await.unwrap();
        events(&mut client).await;
        let t = client.start().await.unwrap();
        client.write(t, "data/guest/1", b"response").await.unwrap();
        client.rm(t, "data/host/1").await.unwrap();
        assert_eq!(client.read(t, "data/guest/1").await.unwrap(), b"response");
        assert_eq!(errno(other.read(NONE, "data/guest/1").await), Errno::NoEntry);
        assert_eq!(other.read(NONE, "data/host/1").await.unwrap(), b"request");
        client.commit(t).await.unwrap();
        assert_eq!(other.read(NONE, "data/guest/1").await.unwrap(), b"response");
        assert_eq!(errno(other.read(NONE, "data/host/1").await), Errno::NoEntry);
        assert!(events(&mut client).await.contains(&event("data/guest/1", "t")));
        assert_eq!(errno(client.commit(t).await), Errno::NoEntry);
    }

    async fn an_aborted_transaction_leaves_nothing(store) {
        let mut client = store.client().await;
        let t = client.start().await.unwrap();
        client.write(t, "data/x", b"x").await.unwrap();
        client.abort(t).await.unwrap();
        assert_eq!(errno(client.read(NONE, "data/x").await), Errno::NoEntry);
        assert_eq!(errno(client.read(t, "data/x").await), Errno::NoEntry);
    }

    /// What a transaction has read and another has changed since: `EAGAIN`.
    async fn a_transaction_that_met_a_change_is_done_again(store) {
        let mut client = store.client().await;
        let mut other = store.client().await;
        other.write(NONE, "data/x", b"1").await.unwrap();
        let t = client.start().await.unwrap();
        assert_eq!(client.read(t, "data/x").await.unwrap(), b"1");
        client.write(t, "data/x", b"2").await.unwrap();
        other.write(NONE, "data/x", b"3").await.unwrap();
        assert_eq!(errno(client.commit(t).await), Errno::Again);
        assert_eq!(client.read(NONE, "data/x").await.unwrap(), b"3");
        let t = client.start().await.unwrap();
        client.write(t, "data/x", b"4").await.unwrap();
        client.commit(t).await.unwrap();
        assert_eq!(other.read(NONE, "data/x").await.unwrap(), b"4");
    }

    /// A list longer than a message comes in parts; R-X12.
    async fn a_long_list_comes_in_parts(store) {
        let mut client = store.client().await;
        let names: Vec<String> =
            (0..300).map(|n| format!("00000000-0000-0000-0000-{n:012}")).collect();
        for name in &names {
            client.write(NONE, &format!("data/host/{name}"), b"").await.unwrap();
        }
        assert_eq!(client.list(NONE, "data/host").await.unwrap(), names);
    }

    /// Of domain 0 only: the real daemon asks the hypervisor about others.
    async fn permissions_are_read_and_set(store) {
        let mut client = store.client().await;
        client.write(NONE, "data/x", b"").await.unwrap();
        assert_eq!(client.permissions(NONE, "data/x").await.unwrap(), ["n0"]);
        client.set_permissions(NONE, "data/x", &["r0", "b0"]).await.unwrap();
        assert_eq!(client.permissions(NONE, "data/x").await.unwrap(), ["r0", "b0"]);
        client.write(NONE, "data/x/below", b"").await.unwrap();
        assert_eq!(client.permissions(NONE, "data/x/below").await.unwrap(), ["r0", "b0"]);
        assert_eq!(errno(client.set_permissions(NONE, "data/x", &["q5"]).await), Errno::Invalid);
        assert_eq!(errno(client.permissions(NONE, "data/none").await), Errno::NoEntry);
    }

    async fn the_home_of_a_domain(store) {
        let mut client = store.client().await;
        assert_eq!(client.domain_path(7).await.unwrap(), "/local/domain/7");
    }

    /// More than a message holds is not sent: the daemon would drop the connection.
    async fn a_message_that_is_too_long_is_not_sent(store) {
        let mut client = store.client().await;
        let long = vec![b'x'; 4096 - "data/x".len()];
        let error = client.write(NONE, "data/x", &long).await.unwrap_err();
        assert!(matches!(error, Error::TooLong { bytes: 4097, .. }), "{error}");
        assert!(!error.is_broken());
        client.write(NONE, "data/x", &long[1..]).await.unwrap();
        assert_eq!(client.read(NONE, "data/x").await.unwrap(), long[1..]);
    }

    /// What the daemon does with one that is sent all the same.
    async fn a_message_that_is_too_long_ends_the_connection(store) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        use vnode_xenstore::wire::{Kind, Message};
        let mut stream = tokio::net::UnixStream::connect(store.socket()).await.unwrap();
        let message = Message::new(Kind::Write, 1, 0, vec![b'x'; 4097]);
        // The daemon may drop the connection before it has read all.
        let _ = stream.write_all(&message.encode()).await;
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest));
        assert!(matches!(read.await.unwrap(), Ok(0) | Err(_)), "{rest:?}");
    }

    async fn a_dropped_request_spends_the_connection(store) {
        let mut client = store.client().await;
        client.write(NONE, "data/x", b"1").await.unwrap();
        {
            let read = client.read(NONE, "data/x");
            tokio::pin!(read);
            // Polled once: the question is sent, the answer not awaited.
            let once = std::future::poll_fn(|cx| {
                std::task::Poll::Ready(std::future::Future::poll(read.as_mut(), cx).is_ready())
            });
            if once.await {
                return;
            }
        }
        assert!(matches!(client.read(NONE, "data/x").await, Err(Error::Interrupted)));
        assert!(matches!(client.next_event().await, Err(Error::Interrupted)));
    }
}

/// What only the store in this process can show: a domain that is not 0.
mod domain {
    use vnode_xenstore::memory::Faults;

    use super::*;

    async fn guest_and_host() -> (Server, tempfile::TempDir, Client, Client) {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::new(Limits::default());
        server.introduce(5);
        server.listen(&dir.path().join("dom0"), 0).unwrap();
        server.listen(&dir.path().join("dom5"), 5).unwrap();
        let host = Client::connect(&Access::Socket(dir.path().join("dom0"))).await.unwrap();
        let guest = Client::connect(&Access::Socket(dir.path().join("dom5"))).await.unwrap();
        (server, dir, host, guest)
    }

    #[tokio::test]
    async fn relative_paths_start_at_its_home() {
        let (_server, _dir, mut host, mut guest) = guest_and_host().await;
        host.write(NONE, "/local/domain/5/data/host/1", b"x").await.unwrap();
        assert_eq!(guest.read(NONE, "data/host/1").await.unwrap(), b"x");
        assert_eq!(guest.read(NONE, "domid").await.unwrap(), b"5");
        guest.watch("data/host", "t").await.unwrap();
        assert_eq!(guest.next_event().await.unwrap(), event("data/host", "t"));
        host.write(NONE, "/local/domain/5/data/host/2", b"x").await.unwrap();
        assert_eq!(guest.next_event().await.unwrap(), event("data/host/2", "t"));
    }

    #[tokio::test]
    async fn it_owns_what_is_made_below_its_folders() {
        let (_server, _dir, mut host, mut guest) = guest_and_host().await;
        host.write(NONE, "/local/domain/5/data/host/1", b"x").await.unwrap();
        assert_eq!(host.permissions(NONE, "/local/domain/5/data/host/1").await.unwrap()[0], "n5");
        guest.rm(NONE, "data/host/1").await.unwrap();
        guest.write(NONE, "data/guest/1", b"y").await.unwrap();
        assert_eq!(guest.permissions(NONE, "data/guest/1").await.unwrap()[0], "n5");
        guest.set_permissions(NONE, "data/guest/1", &["n5", "r0", "b7"]).await.unwrap();
        let permissions = guest.permissions(NONE, "data/guest/1").await.unwrap();
        assert_eq!(permissions, ["n5", "r0", "b7"]);
    }

    #[tokio::test]
    async fn it_may_not_touch_what_is_not_its_own() {
        let (_server, _dir, mut host, mut guest) = guest_and_host().await;
        assert_eq!(errno(guest.write(NONE, "name", b"x").await), Errno::Access);
        assert_eq!(errno(guest.write(NONE, "/tool/x", b"x").await), Errno::Access);
        assert_eq!(errno(guest.list(NONE, "/local").await), Errno::Access);
        host.write(NONE, "/local/domain/6/data/x", b"secret").await.unwrap();
        assert_eq!(errno(guest.read(NONE, "/local/domain/6/data/x").await), Errno::Access);
        assert_eq!(errno(guest.read(NONE, "/local/domain/6/data/none").await), Errno::Access);
        assert_eq!(errno(guest.read(NONE, "none").await), Errno::NoEntry, "its home it may read");
        guest.watch("/local/domain/6", "t").await.unwrap();
        events_of_own_watch(&mut guest).await;
        host.write(NONE, "/local/domain/6/data/x", b"other").await.unwrap();
        guest.write(NONE, "data/mark", b"").await.unwrap();
        guest.watch("data", "end").await.unwrap();
        assert_eq!(guest.next_event().await.unwrap().token, "end", "not told what it may not read");
        assert_eq!(
            errno(guest.set_permissions(NONE, "data/mark", &["n6"]).await),
            Errno::NotPermitted
        );
    }

    async fn events_of_own_watch(guest: &mut Client) {
        assert_eq!(guest.next_event().await.unwrap().token, "t");
    }

    #[tokio::test]
    async fn a_node_is_smaller_than_2048_bytes() {
        let (_server, _dir, mut host, mut guest) = guest_and_host().await;
        // Record header 24, two permissions of 8.
        let fits = vec![b'x'; 2047 - 24 - 16];
        guest.write(NONE, "data/guest/1", &fits).await.unwrap();
        let more = vec![b'x'; 2048 - 24 - 16];
        assert_eq!(errno(guest.write(NONE, "data/guest/1", &more).await), Errno::NoSpace);
        assert_eq!(errno(guest.write(NONE, "data/guest/2", &more).await), Errno::NoSpace);
        assert_eq!(errno(guest.read(NONE, "data/guest/2").await), Errno::NoEntry);
        host.write(NONE, "/local/domain/5/data/guest/1", &more).await.unwrap();
    }

    /// About 54 responses with ids of 36 characters, then the list itself is full.
    #[tokio::test]
    async fn the_list_of_children_counts_too() {
        let (_server, _dir, _host, mut guest) = guest_and_host().await;
        let mut made = 0;
        let refused = loop {
            let path = format!("data/guest/00000000-0000-0000-0000-{made:012}");
            match guest.write(NONE, &path, b"{}").await {
                Ok(()) => made += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(refused.errno(), Some(Errno::NoSpace));
        assert_eq!(made, (2047 - 24 - 16) / 37);
    }

    #[tokio::test]
    async fn it_may_own_1000_nodes() {
        let (server, _dir, _host, mut guest) = guest_and_host().await;
        let mut refused = None;
        'all: for folder in 0..40 {
            for node in 0..40 {
                let path = format!("data/{folder}/{node}");
                if let Err(error) = guest.write(NONE, &path, b"").await {
                    refused = error.errno();
                    break 'all;
                }
            }
        }
        assert_eq!(refused, Some(Errno::NoSpace));
        assert_eq!(server.nodes_of(5), 1000);
    }

    #[tokio::test]
    async fn it_may_have_128_watches_and_10_transactions() {
        let (_server, _dir, _host, mut guest) = guest_and_host().await;
        for n in 0..128 {
            guest.watch("data", &n.to_string()).await.unwrap();
        }
        assert_eq!(errno(guest.watch("data", "more").await), Errno::TooBig);
        for _ in 0..10 {
            guest.start().await.unwrap();
        }
        assert_eq!(errno(guest.start().await), Errno::NoSpace);
        guest.reset_watches().await.unwrap();
        guest.watch("data", "more").await.unwrap();
        guest.start().await.unwrap();
    }

    /// XS-11, the client's side.
    #[tokio::test]
    async fn xs_11_an_answer_with_another_id_is_taken() {
        let (server, _dir, _host, mut guest) = guest_and_host().await;
        server.set_faults(Faults { other_request_ids: true, ..Faults::default() });
        guest.write(NONE, "data/x", b"1").await.unwrap();
        assert_eq!(guest.read(NONE, "data/x").await.unwrap(), b"1");
        assert_eq!(errno(guest.read(NONE, "data/y").await), Errno::NoEntry);
    }

    #[tokio::test]
    async fn a_commit_can_be_made_to_fail() {
        let (server, _dir, _host, mut guest) = guest_and_host().await;
        server.set_faults(Faults { failing_commits: 1, ..Faults::default() });
        let t = guest.start().await.unwrap();
        guest.write(t, "data/x", b"1").await.unwrap();
        assert_eq!(errno(guest.commit(t).await), Errno::Again);
        let t = guest.start().await.unwrap();
        guest.write(t, "data/x", b"1").await.unwrap();
        guest.commit(t).await.unwrap();
    }

    /// The device's path: opened by name, read by readiness. A terminal in raw mode stands in for the device.
    #[tokio::test]
    async fn a_device_is_opened_and_spoken_to() {
        let pty =
            rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY)
                .unwrap();
        rustix::pty::grantpt(&pty).unwrap();
        rustix::pty::unlockpt(&pty).unwrap();
        let mut raw = rustix::termios::tcgetattr(&pty).unwrap();
        raw.make_raw();
        rustix::termios::tcsetattr(&pty, rustix::termios::OptionalActions::Now, &raw).unwrap();
        let name = rustix::pty::ptsname(&pty, Vec::new()).unwrap().into_string().unwrap();
        let server = Server::new(Limits::default());
        server.introduce(5);
        let device = Access::at(name.as_ref());
        assert_eq!(device, Access::Device(name.into()));
        let client = Client::connect(&device).await.unwrap();
        let mut client = client.patience(Duration::from_secs(60));
        // The other end is read and written by threads, as a kernel would.
        let (near, far) = tokio::net::UnixStream::pair().unwrap();
        server.attach(Box::new(near), 5);
        let far = far.into_std().unwrap();
        far.set_nonblocking(false).unwrap();
        let pty = std::fs::File::from(pty);
        let (mut a, mut b) = (pty.try_clone().unwrap(), far.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut a, &mut b));
        let (mut c, mut d) = (far, pty);
        std::thread::spawn(move || std::io::copy(&mut c, &mut d));
        client.write(NONE, "data/x", b"by the device").await.unwrap();
        assert_eq!(client.read(NONE, "data/x").await.unwrap(), b"by the device");
        client.watch("data", "t").await.unwrap();
        assert_eq!(client.next_event().await.unwrap(), event("data", "t"));
        assert_eq!(errno(client.write(NONE, "name", b"x").await), Errno::Access);
    }
}

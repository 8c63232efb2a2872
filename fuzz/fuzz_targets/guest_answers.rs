//! What an agent in a guest answers, read by the host: no panic, no hang, no more bytes than were granted, in either
//! form, however the program, the file and the fact that were asked for are answered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokio::io::AsyncReadExt;
use vnode_guest::{ExecSpec, Guest, Options, native, qga};

/// The first window, and what a reader has granted again of it.
const MOST: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    for line in bytes.split(|byte| *byte == b'\n') {
        qga::fuzz(line);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime on this thread").block_on(async {
        // Requests 1 and 2: the bytes bear their numbers by the seeds' good will.
        let from = std::io::Cursor::new(bytes.to_vec());
        let guest =
            Guest::Native(native::Client::new(from, tokio::io::sink(), 1, Options::default()));
        if let Ok(mut exec) =
            guest.exec(ExecSpec { argv: vec!["x".into()], ..ExecSpec::default() }).await
        {
            let mut printed = Vec::new();
            if let Some(stdout) = exec.stdout.take() {
                let read = stdout.take(MOST as u64 + 1).read_to_end(&mut printed).await;
                assert!(read.is_ok() && printed.len() <= MOST.max(bytes.len()));
            }
            drop(exec.wait().await);
        }
        drop(guest.read_file("/x").await);
        let from = std::io::Cursor::new(bytes.to_vec());
        let stream = tokio::io::join(from, tokio::io::sink());
        drop(vnode_guest::probe(stream).await);
    });
});

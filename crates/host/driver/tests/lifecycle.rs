//! Life of a container node, with real ones.

mod bed;

use std::time::Duration;

use bed::{exec, exit_of, run};
use vnode_driver::*;

#[test]
fn t22_a_created_node_is_stopped_boots_and_ends_without_a_trace() {
    run(|bed| async move {
        let spec = bed.sh("a", "exit 7");
        let node = bed.create(&spec).await;
        assert_eq!(node.status().phase, Phase::Stopped);
        node.netns().unwrap();
        node.boot(&spec).await.unwrap();
        let exit = exit_of(&node).await;
        assert_eq!((exit.ended, exit.code), (Ended::Exited, Some(7)));
        assert_eq!(node.status().boots, 1);
        bed.destroy(&spec).await;
        assert!(!bed.path("a").exists());
        // T-51: twice is once.
        bed.destroy(&spec).await;
    });
}

#[test]
fn t44_exec_gives_status_streams_and_environment() {
    run(|bed| async move {
        let spec = bed.spec("a");
        let node = bed.boot(&spec).await;
        let (code, out, err) = exec(&node, "echo out; echo err >&2; hostname; exit 3").await;
        assert_eq!((code, out.as_str(), err.as_str()), (3, "out\na\n", "err\n"));
        let (code, out, _) = exec(&node, "kill -9 $$").await;
        assert_eq!((code, out.as_str()), (137, ""));
        node.halt(Duration::from_millis(100)).await.unwrap();
        let error = node.exec(&ExecSpec { argv: vec!["true".into()], ..Default::default() }).await;
        assert!(matches!(error, Err(Error::NotRunning { .. })), "{error:?}");
    });
}

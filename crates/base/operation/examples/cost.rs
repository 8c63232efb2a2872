//! What the engine costs beside the work of its steps: plans of empty steps on a store in a file.
//! `cargo run --release -p vnode-operation --example cost`

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use vnode_operation::{Engine, Options, Plan, Runner, Step, StepContext, StepError};

struct Nothing;

impl Runner for Nothing {
    fn apply<'a>(
        &'a self,
        _context: &'a StepContext,
        _step: &'a Step,
    ) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async { Ok(()) })
    }

    fn invert<'a>(
        &'a self,
        _context: &'a StepContext,
        _step: &'a Step,
    ) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("store.redb");
    let began = Instant::now();
    let store = vnode_store::open(&path)?;
    println!("store made in {:?}", began.elapsed());
    let mut commits: Vec<Duration> = Vec::new();
    for number in 0..200_u32 {
        let change = vnode_store::Change::put(format!("key/{}", number % 50), vec![7; 500]);
        let began = Instant::now();
        store.commit(vec![change]).await?;
        commits.push(began.elapsed());
    }
    commits.sort_unstable();
    println!("durable commit: median {:?}, slowest {:?}", commits[100], commits[199]);
    let began = Instant::now();
    for number in 0..200_u32 {
        let change = vnode_store::Change::put(format!("key/{}", number % 50), vec![7; 500]);
        store.commit_lazily(vec![change]).await?;
    }
    println!("lazy commit: {:?}", began.elapsed() / 200);
    let events =
        vnode_event::Log::open(Arc::clone(&store), vnode_event::Options::default()).await?;
    let began = Instant::now();
    for _ in 0..10_000 {
        events.append("node.booted", "lab/first/node/r1", None, serde_json::Value::Null);
    }
    println!("event: {:?}", began.elapsed() / 10_000);
    let engine = Engine::new(Arc::clone(&store), events, Options::default());
    engine.register("nothing", Arc::new(Nothing));
    for count in [1_u32, 100, 1000, 5000, 20_000] {
        let mut plan = Plan::new("nothing", "nothing");
        let root = plan.push(Step::new("nothing.root", "root"));
        for number in 1..count {
            let step = Step::new("nothing.step", format!("step {number} of some node"));
            plan.push(step.needs([if number % 3 == 0 { number - 1 } else { root }]).group("group"));
        }
        let began = Instant::now();
        let id = engine.submit(plan).await?;
        let written = began.elapsed();
        engine.wait(id).await?;
        let all = began.elapsed();
        println!(
            "{count} steps: plan written in {written:?}, ended after {all:?}, {:?} a step",
            all / count
        );
    }
    engine.stop().await;
    drop(engine);
    drop(store);
    let began = Instant::now();
    drop(vnode_store::open(&path)?);
    println!("store opened in {:?}, {} bytes", began.elapsed(), std::fs::metadata(&path)?.len());
    Ok(())
}

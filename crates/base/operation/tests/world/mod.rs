//! A world of named things that steps make and inverses take away, and that notices a wrong order.
#![allow(dead_code, reason = "each test target uses its own part")]

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use vnode_event::Log;
use vnode_operation::{
    Engine, OperationId, Options, Outcome, Plan, Runner, Step, StepContext, StepError,
};
use vnode_store::{Change, Store};

/// What a step does beside its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    FailBefore,
    FailAfter,
    /// Never returns, and does not heed cancellation.
    HangBefore,
    HangAfter,
    /// Returns when cancelled.
    WaitForCancel,
    PanicAfter,
    /// The inverse fails, always.
    InverseFails,
    /// The inverse fails once.
    InverseFailsOnce,
    /// The inverse never returns.
    InverseHangs,
}

#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) things: Mutex<BTreeSet<u32>>,
    pub(crate) trouble: Mutex<HashMap<u32, Trouble>>,
    /// Things seen in a wrong order.
    pub(crate) wrong: Mutex<Vec<String>>,
    pub(crate) applied: AtomicUsize,
    pub(crate) inverted: AtomicUsize,
    pub(crate) at_once: AtomicUsize,
    pub(crate) most_at_once: AtomicUsize,
    pub(crate) hanging: tokio::sync::Notify,
}

impl World {
    pub(crate) fn things(&self) -> BTreeSet<u32> {
        self.things.lock().unwrap().clone()
    }

    pub(crate) fn give_trouble(&self, step: u32, trouble: Trouble) {
        self.trouble.lock().unwrap().insert(step, trouble);
    }

    fn trouble(&self, step: u32) -> Option<Trouble> {
        self.trouble.lock().unwrap().get(&step).copied()
    }

    pub(crate) fn assert_no_wrong_order(&self) {
        let wrong = self.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

pub(crate) struct Builder(pub(crate) Arc<World>);

impl Runner for Builder {
    fn apply<'a>(
        &'a self,
        context: &'a StepContext,
        step: &'a Step,
    ) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            let world = &self.0;
            let now = world.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            world.most_at_once.fetch_max(now, Ordering::SeqCst);
            let _leave = Leave(world);
            world.applied.fetch_add(1, Ordering::SeqCst);
            let trouble = world.trouble(step.id);
            match trouble {
                Some(Trouble::FailBefore) => return Err(StepError::new("no luck").code("luck")),
                Some(Trouble::HangBefore) => {
                    world.hanging.notify_one();
                    std::future::pending::<()>().await;
                }
                _ => {}
            }
            tokio::task::yield_now().await;
            {
                let mut things = world.things.lock().unwrap();
                for before in &step.needs {
                    if !things.contains(before) {
                        let text = format!("{} made before {before}", step.id);
                        world.wrong.lock().unwrap().push(text);
                    }
                }
                things.insert(step.id);
            }
            match trouble {
                Some(Trouble::FailAfter) => Err(StepError::new("no luck after all")),
                Some(Trouble::HangAfter) => {
                    world.hanging.notify_one();
                    std::future::pending().await
                }
                Some(Trouble::WaitForCancel) => {
                    world.hanging.notify_one();
                    context.cancellation().cancelled().await;
                    Err(StepError::cancelled())
                }
                Some(Trouble::PanicAfter) => panic!("a bug in step {}", step.id),
                _ => Ok(()),
            }
        })
    }

    fn invert<'a>(
        &'a self,
        context: &'a StepContext,
        step: &'a Step,
    ) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            let world = &self.0;
            world.inverted.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            match world.trouble(step.id) {
                Some(Trouble::InverseFails) => return Err(StepError::new("stuck")),
                Some(Trouble::InverseHangs) => std::future::pending::<()>().await,
                Some(Trouble::InverseFailsOnce) => {
                    world.trouble.lock().unwrap().remove(&step.id);
                    return Err(StepError::new("busy"));
                }
                _ => {}
            }
            let mut things = world.things.lock().unwrap();
            for dependent in &context.plan().steps {
                let built_on_it = dependent.needs.contains(&step.id);
                if built_on_it && things.contains(&dependent.id) {
                    let text = format!("{} taken away under {}", step.id, dependent.id);
                    world.wrong.lock().unwrap().push(text);
                }
            }
            things.remove(&step.id);
            Ok(())
        })
    }

    fn begin<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Vec<Change>, StepError>> {
        Box::pin(async move { Ok(vec![Change::create(&plan.subject, b"creating".to_vec())]) })
    }

    fn finish<'a>(
        &'a self,
        _id: OperationId,
        plan: &'a Plan,
        outcome: &'a Outcome,
        _: &'a [u32],
    ) -> BoxFuture<'a, Result<Vec<Change>, StepError>> {
        Box::pin(async move {
            Ok(match outcome {
                Outcome::Completed | Outcome::Partly { .. } => {
                    vec![Change::put(&plan.subject, b"created".to_vec())]
                }
                _ => vec![Change::delete(&plan.subject)],
            })
        })
    }
}

struct Leave<'a>(&'a World);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn options() -> Options {
    Options { workers: 4, grace: Duration::from_millis(50), keep: 8, inverse_retries: 1 }
}

/// An engine on `store` that builds in `world`.
pub(crate) async fn engine(store: &Arc<dyn Store>, world: &Arc<World>) -> Engine {
    let events =
        Log::open(Arc::clone(store), vnode_event::Options::default()).await.expect("events open");
    let engine = Engine::new(Arc::clone(store), events, options());
    engine.register("build", Arc::new(Builder(Arc::clone(world))));
    engine
}

/// 0 ─▶ 1 ─▶ 3 ─▶ 5, 0 ─▶ 2 ─▶ 4 ─▶ 5, 6 alone: enough shape for order to matter.
pub(crate) fn house() -> Plan {
    let mut plan = Plan::new("build", "house");
    let needs: [&[u32]; 7] = [&[], &[0], &[0], &[1], &[2], &[3, 4], &[]];
    for (id, needs) in needs.into_iter().enumerate() {
        let step = Step::new("build.part", format!("part {id}")).needs(needs.iter().copied());
        plan.push(step.deadline(Duration::from_secs(30)));
    }
    plan
}

pub(crate) fn all(plan: &Plan) -> BTreeSet<u32> {
    plan.steps.iter().map(|step| step.id).collect()
}

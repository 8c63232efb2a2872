//! Plans in a fake world: what is there in the end, whatever goes wrong at whichever step.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod world;

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use vnode_operation::{
    Error, FailureKind, OperationState, Outcome, Plan, Recovery, Step, StepState,
};
use vnode_store::Store;
use world::{Trouble, World, all, engine, house};

async fn subject(store: &Arc<dyn Store>) -> Option<Vec<u8>> {
    store.get("house").await.unwrap().map(|entry| entry.value)
}

async fn unfinished(store: &Arc<dyn Store>) -> usize {
    store.list("operation/plan/").await.unwrap().len()
}

#[tokio::test]
async fn a_plan_is_completed_in_order_with_its_records() {
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    let engine = engine(&store, &world).await;
    let id = engine.submit(house()).await.unwrap();
    let mut follow = engine.follow(id).await.unwrap();
    assert_eq!(engine.wait(id).await.unwrap(), Outcome::Completed);
    assert_eq!(world.things(), all(&house()));
    world.assert_no_wrong_order();
    assert_eq!(subject(&store).await.unwrap(), b"created");
    assert_eq!(unfinished(&store).await, 0);
    let mut last = None;
    while let Some(summary) = follow.next().await {
        last = Some(summary);
    }
    let last = last.expect("a follower sees at least the end");
    assert_eq!(last.state, OperationState::Completed);
    assert_eq!((last.progress.done, last.progress.total), (7, 7));
    let status = engine.status(id).await.unwrap();
    assert!(status.steps.iter().all(|step| step.state == StepState::Done && step.ended.is_some()));
    let text = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<vnode_operation::Status>(&text).unwrap(), status);
    assert_eq!(engine.list().await.unwrap().len(), 1);
    assert_eq!(engine.step_stats()["build.part"].done, 7);
}

#[tokio::test]
async fn a_failure_at_any_step_before_or_after_its_effect_leaves_the_world_as_it_was() {
    for step in 0..7 {
        for trouble in [Trouble::FailBefore, Trouble::FailAfter, Trouble::PanicAfter] {
            let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
            world.give_trouble(step, trouble);
            let engine = engine(&store, &world).await;
            let (_, outcome) = engine.perform(house()).await.unwrap();
            let Outcome::RolledBack { cause, errors } = outcome else {
                panic!("step {step}, {trouble:?}: {outcome:?}");
            };
            assert_eq!(cause.step, Some(step));
            assert_eq!(errors, []);
            let panicked = trouble == Trouble::PanicAfter;
            assert_eq!(cause.error.kind == FailureKind::Panicked, panicked);
            assert_eq!(world.things(), BTreeSet::new(), "step {step}, {trouble:?}");
            world.assert_no_wrong_order();
            assert_eq!(subject(&store).await, None);
            assert_eq!(unfinished(&store).await, 0);
        }
    }
}

#[tokio::test]
async fn a_crash_at_any_step_before_or_after_its_effect_is_rolled_back_or_gone_on_with() {
    for recovery in [Recovery::RollBack, Recovery::GoOn] {
        for step in 0..7 {
            for trouble in [Trouble::HangBefore, Trouble::HangAfter] {
                let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
                world.give_trouble(step, trouble);
                let first = engine(&store, &world).await;
                let id = first.submit(Plan { recovery, ..house() }).await.unwrap();
                world.hanging.notified().await;
                first.stop().await;
                assert_eq!(unfinished(&store).await, 1);
                assert_eq!(subject(&store).await.unwrap(), b"creating");

                world.trouble.lock().unwrap().clear();
                let second = engine(&store, &world).await;
                let recovered = second.recover().await.unwrap();
                assert_eq!(recovered.operations, [id]);
                let outcome = second.wait(id).await.unwrap();
                world.assert_no_wrong_order();
                assert_eq!(unfinished(&store).await, 0);
                match recovery {
                    Recovery::RollBack => {
                        assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome:?}");
                        assert_eq!(world.things(), BTreeSet::new());
                        assert_eq!(subject(&store).await, None);
                        assert_eq!(world.inverted.load(Ordering::SeqCst), 7, "of every step");
                    }
                    Recovery::GoOn => {
                        assert_eq!(outcome, Outcome::Completed);
                        assert_eq!(world.things(), all(&house()));
                        assert_eq!(subject(&store).await.unwrap(), b"created");
                    }
                }
                assert!(second.status(id).await.unwrap().summary.recovered);
                second.stop().await;
            }
        }
    }
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_roll_back_is_rolled_back_to_the_end() {
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    world.give_trouble(5, Trouble::FailAfter);
    world.give_trouble(1, Trouble::InverseHangs);
    let first = engine(&store, &world).await;
    let id = first.submit(house()).await.unwrap();
    while world.things().contains(&2) || world.things().is_empty() {
        tokio::task::yield_now().await;
    }
    first.stop().await;
    world.trouble.lock().unwrap().clear();
    let second = engine(&store, &world).await;
    second.recover().await.unwrap();
    assert!(matches!(second.wait(id).await.unwrap(), Outcome::RolledBack { .. }));
    assert_eq!(world.things(), BTreeSet::new());
    world.assert_no_wrong_order();
}

#[tokio::test]
async fn an_inverse_that_fails_once_is_tried_again() {
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    world.give_trouble(5, Trouble::FailAfter);
    world.give_trouble(1, Trouble::InverseFailsOnce);
    let engine = engine(&store, &world).await;
    let (_, outcome) = engine.perform(house()).await.unwrap();
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome:?}");
    assert_eq!(world.things(), BTreeSet::new());
}

#[tokio::test]
async fn what_an_inverse_leaves_is_named_and_all_else_is_undone() {
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    world.give_trouble(5, Trouble::FailAfter);
    world.give_trouble(3, Trouble::InverseFails);
    let engine = engine(&store, &world).await;
    let (id, outcome) = engine.perform(house()).await.unwrap();
    let Outcome::Failed { cause, errors, left } = outcome else { panic!("{outcome:?}") };
    assert_eq!(cause.step, Some(5));
    assert_eq!(errors.len(), 1);
    assert_eq!(left, ["part 3"]);
    assert_eq!(world.things(), BTreeSet::from([3]));
    let status = engine.status(id).await.unwrap();
    assert_eq!(status.steps[3].state, StepState::UndoFailed);
    assert_eq!(status.counts["undo-failed"], 1);
}

#[tokio::test]
async fn a_cancelled_plan_is_rolled_back() {
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    world.give_trouble(4, Trouble::WaitForCancel);
    let engine = engine(&store, &world).await;
    let id = engine.submit(house()).await.unwrap();
    world.hanging.notified().await;
    engine.cancel(id).await.unwrap();
    assert_eq!(engine.wait(id).await.unwrap(), Outcome::Cancelled { left: vec![] });
    assert_eq!(world.things(), BTreeSet::new());
    world.assert_no_wrong_order();
    assert!(matches!(engine.cancel(id).await, Err(Error::Ended { .. })));
}

#[tokio::test]
async fn a_step_that_does_not_heed_its_cancellation_is_dropped_and_undone() {
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    world.give_trouble(4, Trouble::HangAfter);
    let engine = engine(&store, &world).await;
    let id = engine.submit(house()).await.unwrap();
    world.hanging.notified().await;
    engine.cancel(id).await.unwrap();
    assert_eq!(engine.wait(id).await.unwrap(), Outcome::Cancelled { left: vec![] });
    assert_eq!(world.things(), BTreeSet::new());
}

#[tokio::test]
async fn a_cancelled_plan_that_goes_on_stops_and_names_what_is_not_done() {
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    world.give_trouble(0, Trouble::WaitForCancel);
    let engine = engine(&store, &world).await;
    let id = engine.submit(Plan { recovery: Recovery::GoOn, ..house() }).await.unwrap();
    world.hanging.notified().await;
    while !world.things().contains(&6) {
        tokio::task::yield_now().await;
    }
    engine.cancel(id).await.unwrap();
    let Outcome::Cancelled { left } = engine.wait(id).await.unwrap() else { panic!() };
    assert_eq!(left, ["part 0", "part 1", "part 2", "part 3", "part 4", "part 5"]);
    assert_eq!(world.inverted.load(Ordering::SeqCst), 0);
    assert_eq!(world.things(), BTreeSet::from([0, 6]));
}

#[tokio::test]
async fn a_passed_deadline_is_an_error_of_its_own_kind() {
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    for trouble in [Trouble::HangAfter, Trouble::WaitForCancel] {
        world.give_trouble(2, trouble);
        let engine = engine(&store, &world).await;
        let mut plan = house();
        plan.steps[2].deadline = Duration::from_millis(20);
        let (_, outcome) = engine.perform(plan).await.unwrap();
        assert!(outcome.is_deadline(), "{outcome:?}");
        assert_eq!(world.things(), BTreeSet::new());
    }
}

/// Groups a, b and c of three steps each; b's first needs a's last, c stands alone but comes after b.
fn street() -> Plan {
    let mut plan = Plan::new("build", "house");
    for (house, group) in ["a", "b", "c"].into_iter().enumerate() {
        for part in 0..3 {
            let id = (house * 3 + part) as u32;
            let mut step = Step::new("build.part", format!("{group}{part}")).group(group).isolate();
            if part > 0 {
                step = step.needs([id - 1]);
            }
            match id {
                3 => step = step.needs([2]),
                6 => step = step.after([5]),
                _ => {}
            }
            plan.push(step);
        }
    }
    plan
}

#[tokio::test]
async fn an_isolated_failure_undoes_its_group_and_what_needs_it_and_nothing_else() {
    for (step, left) in
        [(4, vec![0, 1, 2, 6, 7, 8]), (1, vec![6, 7, 8]), (7, vec![0, 1, 2, 3, 4, 5])]
    {
        for trouble in [Trouble::FailBefore, Trouble::FailAfter] {
            let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
            world.give_trouble(step, trouble);
            let engine = engine(&store, &world).await;
            let (id, outcome) = engine.perform(street()).await.unwrap();
            let Outcome::Partly { errors, left: stuck } = outcome else { panic!("{outcome:?}") };
            assert_eq!(errors.len(), 1);
            assert_eq!(errors[0].step, Some(step));
            assert_eq!(stuck, Vec::<String>::new());
            assert_eq!(world.things(), BTreeSet::from_iter(left.iter().copied()), "step {step}");
            world.assert_no_wrong_order();
            assert_eq!(subject(&store).await.unwrap(), b"created");
            let status = engine.status(id).await.unwrap();
            let done =
                |state| matches!(state, StepState::Done | StepState::Skipped | StepState::Undone);
            assert!(status.steps.iter().all(|step| done(step.state)), "{status:?}");
        }
    }
}

#[tokio::test]
async fn a_built_dependent_of_an_isolated_group_is_undone_first() {
    // Group b hangs on a step of a that is done before a's last step fails.
    let mut plan = street();
    plan.steps[3].needs = vec![0];
    plan.steps[2].after = vec![5];
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    world.give_trouble(2, Trouble::FailAfter);
    let engine = engine(&store, &world).await;
    let (_, outcome) = engine.perform(plan).await.unwrap();
    assert!(matches!(outcome, Outcome::Partly { .. }), "{outcome:?}");
    assert_eq!(world.things(), BTreeSet::from([6, 7, 8]));
    world.assert_no_wrong_order();
}

#[tokio::test]
async fn plans_that_cannot_work_are_refused_before_anything() {
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    let engine = engine(&store, &world).await;
    let mut cycle = house();
    cycle.steps[0].needs = vec![5];
    let mut unknown = house();
    unknown.steps[0].after = vec![99];
    let mut twice = house();
    twice.steps[3].id = 1;
    let mut itself = house();
    itself.steps[6].needs = vec![6];
    let kind = Plan { kind: "other".to_owned(), ..house() };
    for plan in [cycle, unknown, twice, itself, kind] {
        let error = engine.submit(plan).await.unwrap_err();
        assert!(matches!(error, Error::Plan { .. }), "{error}");
    }
    assert_eq!(unfinished(&store).await, 0);
    assert_eq!(world.applied.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_second_operation_on_the_same_subject_is_refused_as_a_conflict() {
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    let engine = engine(&store, &world).await;
    engine.perform(house()).await.unwrap();
    let error = engine.submit(house()).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert_eq!(unfinished(&store).await, 0);
    assert_eq!(world.applied.load(Ordering::SeqCst), 7);
}

#[tokio::test]
async fn ended_operations_are_kept_up_to_a_number() {
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    let engine = engine(&store, &world).await;
    let mut ids = Vec::new();
    for round in 0..12 {
        let plan = Plan { subject: format!("house {round}"), ..house() };
        ids.push(engine.perform(plan).await.unwrap().0);
    }
    let kept: Vec<_> = engine.list().await.unwrap().iter().map(|summary| summary.id).collect();
    assert_eq!(kept, ids.iter().rev().take(8).copied().collect::<Vec<_>>());
    assert!(matches!(engine.status(ids[0]).await, Err(Error::NotFound { .. })));
    assert!(engine.wait(ids[11]).await.unwrap().is_completed());
    assert_eq!(store.list("operation/steps/").await.unwrap().len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_steps_stay_within_their_workers() {
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    let engine = engine(&store, &world).await;
    let mut plan = Plan::new("build", "house");
    let root = plan.push(Step::new("build.root", "root"));
    for _ in 0..2000 {
        let first = plan.push(Step::new("build.first", "first").needs([root]));
        plan.push(Step::new("build.second", "second").needs([first]));
    }
    let commits = commits(&store);
    let (id, outcome) = engine.perform(plan.clone()).await.unwrap();
    assert_eq!(outcome, Outcome::Completed);
    assert_eq!(world.things().len(), 4001);
    assert!(world.most_at_once.load(Ordering::SeqCst) <= 4);
    assert_eq!(engine.status(id).await.unwrap().counts["done"], 4001);
    world.assert_no_wrong_order();
    drop(commits);

    world.give_trouble(4000, Trouble::FailAfter);
    world.things.lock().unwrap().clear();
    let (_, outcome) = engine.perform(Plan { subject: "other".to_owned(), ..plan }).await.unwrap();
    assert!(matches!(outcome, Outcome::RolledBack { .. }));
    assert_eq!(world.things().len(), 0);
}

fn commits(store: &Arc<dyn Store>) -> vnode_store::Watch {
    store.watch("operation/")
}

#[tokio::test]
async fn a_plan_of_any_size_is_written_twice() {
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    let engine = engine(&store, &world).await;
    let mut watch = store.watch("operation/");
    engine.perform(house()).await.unwrap();
    for _ in 0..2 {
        watch.next().await.unwrap();
    }
    let more = tokio::time::timeout(Duration::from_millis(20), watch.next()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn steps_that_only_wait_take_no_worker() {
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    let engine = engine(&store, &world).await;
    let mut plan = Plan::new("build", "house");
    for id in 0..8 {
        world.give_trouble(id, Trouble::WaitForCancel);
        plan.push(Step::new("build.wait", "wait").waits());
    }
    plan.push(Step::new("build.part", "work"));
    let id = engine.submit(plan).await.unwrap();
    while world.things().len() < 9 {
        tokio::task::yield_now().await;
    }
    engine.cancel(id).await.unwrap();
    assert_eq!(engine.wait(id).await.unwrap(), Outcome::Cancelled { left: vec![] });
    assert_eq!(world.things(), BTreeSet::new());
}

#[tokio::test]
async fn the_caller_of_submit_may_go_away() {
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    let engine = engine(&store, &world).await;
    {
        let mut submit = Box::pin(engine.submit(house()));
        let _ = futures_util::FutureExt::now_or_never(submit.as_mut());
    }
    while subject(&store).await.as_deref() != Some(b"created".as_slice()) {
        tokio::task::yield_now().await;
    }
    assert!(engine.drain(Duration::from_secs(10)).await);
    assert_eq!(engine.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn events_tell_begin_failure_and_end() {
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    let events =
        vnode_event::Log::open(Arc::clone(&store), vnode_event::Options::default()).await.unwrap();
    let mut seen = events.subscribe(None);
    let engine =
        vnode_operation::Engine::new(Arc::clone(&store), Arc::clone(&events), world::options());
    engine.register("build", Arc::new(world::Builder(Arc::clone(&world))));
    world.give_trouble(3, Trouble::FailBefore);
    let (id, _) = engine.perform(house()).await.unwrap();
    for kind in ["operation.started", "operation.step-failed", "operation.rolled-back"] {
        let event = seen.next().await.unwrap();
        assert_eq!(event.kind, kind);
        assert_eq!(event.operation.as_deref(), Some(id.to_string().as_str()));
        assert_eq!(event.subject, "house");
    }
}

#[tokio::test]
async fn t31_plans_that_cannot_be_read_are_named_and_the_others_recovered() {
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    for (subject, trouble) in [("one", 0), ("two", 0)] {
        world.give_trouble(trouble, Trouble::HangAfter);
        let first = engine(&store, &world).await;
        first.submit(Plan { subject: subject.to_owned(), ..house() }).await.unwrap();
        world.hanging.notified().await;
        first.stop().await;
    }
    world.trouble.lock().unwrap().clear();
    let (key, entry) = store.list("operation/plan/").await.unwrap().remove(0);
    let mut bytes = entry.value;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    store.commit(vec![vnode_store::Change::put(key.clone(), bytes.clone())]).await.unwrap();
    let second = engine(&store, &world).await;
    let recovered = second.recover().await.unwrap();
    assert_eq!(recovered.operations.len(), 1);
    assert_eq!(recovered.unreadable.len(), 1);
    assert_eq!(recovered.unreadable[0].0, key);
    second.wait(recovered.operations[0]).await.unwrap();
    // Kept for whoever looks into it.
    assert_eq!(store.get(&key).await.unwrap().unwrap().value, bytes);
    assert_eq!(store.get("one").await.unwrap().unwrap().value, b"creating");
    assert_eq!(store.get("two").await.unwrap(), None);
}

/// A runner whose records cannot be made.
struct Clumsy;

impl vnode_operation::Runner for Clumsy {
    fn apply<'a>(
        &'a self,
        _context: &'a vnode_operation::StepContext,
        _step: &'a Step,
    ) -> futures_util::future::BoxFuture<'a, Result<(), vnode_operation::StepError>> {
        Box::pin(async { Ok(()) })
    }

    fn invert<'a>(
        &'a self,
        _context: &'a vnode_operation::StepContext,
        _step: &'a Step,
    ) -> futures_util::future::BoxFuture<'a, Result<(), vnode_operation::StepError>> {
        Box::pin(async { Ok(()) })
    }

    fn finish<'a>(
        &'a self,
        _id: vnode_operation::OperationId,
        _plan: &'a Plan,
        outcome: &'a Outcome,
        _: &'a [u32],
    ) -> futures_util::future::BoxFuture<
        'a,
        Result<Vec<vnode_store::Change>, vnode_operation::StepError>,
    > {
        Box::pin(async move {
            assert!(!outcome.is_completed(), "a bug in the records");
            Ok(Vec::new())
        })
    }
}

#[tokio::test]
async fn a_panic_in_making_the_records_of_the_end_rolls_back() {
    let (store, world) = (vnode_store::memory(), Arc::new(World::default()));
    let engine = engine(&store, &world).await;
    engine.register("clumsy", Arc::new(Clumsy));
    let mut plan = Plan::new("clumsy", "house");
    plan.push(Step::new("clumsy.step", "step"));
    let (id, outcome) = engine.perform(plan).await.unwrap();
    let Outcome::RolledBack { cause, .. } = outcome else { panic!("{outcome:?}") };
    assert!(cause.error.text.contains("a bug in the records"), "{}", cause.error.text);
    assert_eq!(engine.status(id).await.unwrap().steps[0].state, StepState::Undone);
    assert_eq!(unfinished(&store).await, 0);
}
